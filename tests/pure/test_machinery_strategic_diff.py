"""Strategic patches that are made must do, when they are applied, what they were made for."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localset.apis.schema.types import patch_rules
from localset.machinery.strategic_diff import three_way_patch, two_way_patch
from localset.machinery.strategic_patch import apply_strategic_patch

RULES = patch_rules("apps", "v1", "StatefulSet")
NAMES = st.sampled_from("abcd")


def _container(name: str, image: str, env: list[str], args: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "image": image}
    if env:
        found["env"] = [{"name": key, "value": image} for key in env]
    if args:
        found["args"] = args
    return found


CONTAINERS = st.lists(
    st.builds(_container, NAMES, NAMES, st.lists(NAMES, unique=True, max_size=3), st.lists(NAMES, max_size=2)),
    unique_by=lambda container: container["name"],
    min_size=1,
    max_size=4,
)
VOLUMES = st.lists(
    st.builds(
        lambda name, source: {"name": name, **source},
        NAMES,
        st.sampled_from(({"emptyDir": {}}, {"configMap": {"name": "x"}}, {"emptyDir": {"medium": "Memory"}})),
    ),
    unique_by=lambda volume: volume["name"],
    max_size=3,
)
LABELS = st.dictionaries(NAMES, NAMES, max_size=3)


def _set(containers: list[Any], volumes: list[Any], labels: dict[str, str], finalizers: list[str]) -> dict[str, Any]:
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers, "volumes": volumes}}
    metadata = {"name": "web", "finalizers": finalizers}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {"template": template}}


SETS = st.builds(_set, CONTAINERS, VOLUMES, LABELS, st.lists(NAMES, unique=True, max_size=3))


def _without_empty(value: Any) -> Any:
    """Return `value` without empty lists: a patch that deletes every element leaves one."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item != []}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


@given(SETS, SETS)
def test_a_patch_between_two_objects_makes_the_second_of_the_first(first: Any, second: Any) -> None:
    patch = two_way_patch(first, second, RULES)
    assert _without_empty(apply_strategic_patch(first, copy.deepcopy(patch), RULES)) == _without_empty(second)
    assert two_way_patch(second, second, RULES) == {}


@given(SETS, SETS)
def test_what_was_applied_last_and_is_live_becomes_what_is_applied_now(last: Any, now: Any) -> None:
    patch = three_way_patch(last, now, last, RULES)
    assert _without_empty(apply_strategic_patch(last, copy.deepcopy(patch), RULES)) == _without_empty(now)
    assert three_way_patch(now, now, now, RULES) == {}


@given(SETS, SETS)
def test_what_others_added_stays(last: Any, now: Any) -> None:
    live = copy.deepcopy(last)
    live["spec"]["replicas"] = 3
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "s"})
    patch = three_way_patch(last, now, live, RULES)
    after = apply_strategic_patch(live, copy.deepcopy(patch), RULES)
    assert after["spec"]["replicas"] == 3
    assert {"name": "sidecar", "image": "s"} in after["spec"]["template"]["spec"]["containers"]
