"""The old dialects: each version is defaulted as itself, then converted, and comes back as it was."""

from typing import Any

import pytest

from localset.apis.deprecation import deprecation_warning
from localset.apis.resources import BY_NAME, Resource
from localset.apis.scheme import FieldValidation, decode, default, encode
from localset.machinery.errors import StatusError
from localset.machinery.labels import selector_of
from localset.machinery.metadata import copy_of

SETS = BY_NAME["statefulsets.apps"]
BUDGETS = BY_NAME["poddisruptionbudgets.policy"]
TEMPLATE = {"metadata": {"labels": {"app": "zk"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def stored(resource: Resource, version: str, obj: dict[str, Any]) -> dict[str, Any]:
    before = copy_of(obj)
    decoded = decode(resource, version, obj, FieldValidation.STRICT)
    assert obj == before, "the input must stay as it was"
    assert decoded.warnings == []
    return decoded.object


def zk(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "zk"}, "spec": {"template": copy_of(TEMPLATE), **spec}}


@pytest.mark.parametrize(
    ("version", "given_strategy", "wanted"),
    [
        ("v1", None, {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ("v1", {"type": "RollingUpdate"}, {"type": "RollingUpdate"}),
        (
            "v1",
            {"type": "RollingUpdate", "rollingUpdate": {}},
            {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        ),
        ("v1", {"type": "OnDelete"}, {"type": "OnDelete"}),
        ("v1beta2", None, {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ("v1beta1", None, {"type": "OnDelete"}),
        ("v1beta1", {}, {"type": "OnDelete"}),
        ("v1beta1", {"type": "RollingUpdate"}, {"type": "RollingUpdate"}),
    ],
)
def test_the_update_strategy_is_defaulted_as_the_version_says(version: str, given_strategy: Any, wanted: Any) -> None:
    spec = {} if given_strategy is None else {"updateStrategy": given_strategy}
    assert stored(SETS, version, zk(**spec))["spec"]["updateStrategy"] == wanted


def test_v1beta1_takes_selector_and_labels_from_the_template_and_v1_does_not() -> None:
    old = stored(SETS, "v1beta1", zk())
    assert old["apiVersion"] == "apps/v1"
    assert old["spec"]["selector"] == {"matchLabels": {"app": "zk"}}
    assert old["metadata"]["labels"] == {"app": "zk"}
    new = stored(SETS, "v1", zk())
    assert "selector" not in new["spec"]
    assert "labels" not in new["metadata"]
    given_labels = {**zk(), "metadata": {"name": "zk", "labels": {"mine": "1"}}}
    assert stored(SETS, "v1beta1", given_labels)["metadata"]["labels"] == {"mine": "1"}


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
def test_a_set_read_in_a_version_and_written_back_is_unchanged(version: str) -> None:
    before = stored(SETS, "v1beta1", zk(replicas=0, volumeClaimTemplates=[{"metadata": {"name": "d"}}]))
    assert before["spec"]["volumeClaimTemplates"][0]["kind"] == "PersistentVolumeClaim"
    shown = encode(SETS, version, before)
    assert shown["apiVersion"] == f"apps/{version}"
    after = stored(SETS, version, shown)
    after.pop("status", None)
    assert after == before
    assert default(SETS, before) == before


def test_an_empty_selector_of_a_budget_keeps_the_meaning_of_its_version() -> None:
    pod = {"app": "zk"}
    empty: dict[str, Any] = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}}
    old, new = stored(BUDGETS, "v1beta1", empty), stored(BUDGETS, "v1", empty)
    assert not selector_of(old["spec"]["selector"]).matches(pod)
    assert selector_of(new["spec"]["selector"]).matches(pod)
    assert encode(BUDGETS, "v1beta1", old)["spec"]["selector"] == {}
    for stored_one in (old, new):
        assert stored(BUDGETS, "v1beta1", encode(BUDGETS, "v1beta1", stored_one)) == stored_one
    without = stored(BUDGETS, "v1beta1", {"metadata": {"name": "b"}, "spec": {"minAvailable": 1}})
    assert selector_of(without["spec"].get("selector")).is_nothing


@pytest.mark.parametrize(
    ("resource", "version", "text"),
    [
        (
            SETS,
            "v1beta1",
            "apps/v1beta1 StatefulSet is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 StatefulSet",
        ),
        (SETS, "v1", None),
    ],
)
def test_old_versions_are_told_to_be_old(resource: Resource, version: str, text: str | None) -> None:
    assert deprecation_warning(resource, version) == text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"apiVersion": "apps/v1beta1"},
            "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
        ),
        (
            {"kind": "Foo"},
            'Foo in version "v1" cannot be handled as a StatefulSet: no kind "Foo" is registered for version "apps/v1"',
        ),
        (
            {"apiVersion": "v1", "kind": "Secret"},
            'Secret in version "v1" cannot be handled as a StatefulSet: converting (v1.Secret) to (apps.StatefulSet): '
            "unknown conversion",
        ),
        (
            [],
            "the object provided is unrecognized (must be of type StatefulSet): json: cannot unmarshal array into Go "
            "value of type v1.StatefulSet",
        ),
    ],
)
def test_a_body_of_another_kind_or_version_is_refused(body: Any, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        decode(SETS, "v1", body, FieldValidation.IGNORE)
    assert (caught.value.code, caught.value.message) == (400, message)


def test_unknown_fields_are_refused_warned_about_or_dropped() -> None:
    body = zk(bogus=1, serviceName="s")
    body["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    paths = ['unknown field "spec.template.spec.containers[0].imagee"', 'unknown field "spec.bogus"']
    with pytest.raises(StatusError) as caught:
        decode(SETS, "v1", body, FieldValidation.STRICT)
    start = 'StatefulSet in version "v1" cannot be handled as a StatefulSet: strict decoding error: '
    assert caught.value.message == start + ", ".join(paths)
    warned, silent = (decode(SETS, "v1", body, v) for v in (FieldValidation.WARN, FieldValidation.IGNORE))
    assert warned.warnings == paths
    assert silent.warnings == []
    assert "bogus" not in silent.object["spec"]
