"""What a live Pod may gain as ephemeral containers, and what a new Pod may not bring."""

from typing import Any

import pytest

from localset.apis.ephemeral import change_causes, take_containers_only
from localset.apis.podspec import template_causes
from localset.apis.scheme import strategy_of
from localset.machinery.metadata import Object, copy_of

OLD: Object = {
    "metadata": {"name": "p", "resourceVersion": "7", "labels": {"a": "b"}},
    "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "ephemeralContainers": [{"name": "first", "image": "busybox"}],
    },
    "status": {"phase": "Running"},
}
FIRST = OLD["spec"]["ephemeralContainers"][0]
COMPLETE = {"terminationMessagePolicy": "File", "imagePullPolicy": "Always", "image": "busybox"}


def asked(*containers: dict[str, Any]) -> list[str]:
    new = copy_of(OLD)
    new["spec"]["ephemeralContainers"] = [copy_of(c) for c in containers]
    return [f"{cause.field}: {cause.message}" for cause in change_causes(new, OLD)]


@pytest.mark.parametrize(
    ("containers", "cause"),
    [
        ([FIRST, {"name": "c"}], 'spec.ephemeralContainers[1].name: Duplicate value: "c"'),
        ([FIRST, {"name": "d", "ports": [{"containerPort": 1}]}], "[1].ports: Forbidden: cannot be set for"),
        ([FIRST, {"name": "d", "targetContainerName": "x"}], '[1].targetContainerName: Not found: "x"'),
        ([], 'spec.ephemeralContainers: Forbidden: existing ephemeral containers "first" may not be removed'),
        ([{**FIRST, "image": "j"}], 'existing ephemeral containers "first" may not be changed'),
    ],
)
def test_what_cannot_be_asked_for_is_named(containers: list[dict[str, Any]], cause: str) -> None:
    assert [text for text in asked(*({**COMPLETE, **c} if c is not FIRST else c for c in containers)) if cause in text]


def test_one_more_is_taken_and_nothing_else_of_the_request() -> None:
    added = {**COMPLETE, "name": "d", "targetContainerName": "c", "stdin": True, "tty": True}
    new: Object = {"metadata": {"name": "p", "resourceVersion": "6"}, "spec": {"ephemeralContainers": [FIRST, added]}}
    take_containers_only(new, OLD)
    assert (new["metadata"]["labels"], new["metadata"]["resourceVersion"]) == ({"a": "b"}, "6")
    assert (new["status"], new["spec"]["containers"]) == (OLD["status"], OLD["spec"]["containers"])
    assert [c["name"] for c in new["spec"]["ephemeralContainers"]] == ["first", "d"]
    assert not [cause for cause in change_causes(new, OLD) if "ephemeralContainers[1]" in cause.field]


def test_neither_a_new_pod_nor_a_template_may_have_any() -> None:
    assert "spec.ephemeralContainers" in [cause.field for cause in strategy_of("pods").validate(copy_of(OLD))]
    causes = template_causes({"spec": OLD["spec"]}, "spec.template", set())
    assert "spec.template.spec.ephemeralContainers" in [cause.field for cause in causes]
