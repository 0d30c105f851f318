"""Strategic merge patches: a table of our own, and what a real API server answered."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.apis.schema.types import PatchRules, patch_rules
from localset.machinery.errors import StatusError
from localset.machinery.metadata import copy_of
from localset.machinery.strategic_patch import apply_strategic_patch
from tests.pure.fixtures_of_kubernetes import record, records

POD = patch_rules("", "v1", "Pod")
TEMPLATE = PatchRules(
    {
        "p": {
            "metadata": {"r": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            "template": {"r": "io.k8s.api.core.v1.PodTemplateSpec"},
        }
    }
)
DEFAULTS = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}


A, B, C = {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}


@pytest.mark.parametrize(
    ("live", "patch", "wanted"),
    [
        ([A, B], [{"name": "b", "image": "b:2"}], [A, {"name": "b", "image": "b:2"}]),
        ([A, B], [C], [C, A, B]),
        ([A, B], [{"name": "a", "$patch": "delete"}], [B]),
        ([A, B], [{"name": "z", "$patch": "delete"}], [A, B]),
        ([A, B], [{"$patch": "replace"}, C], [C]),
        ([A, B], [{"name": "a", "image": "lost", "$patch": "replace"}], []),
        ([A, B], [{"name": "a", "image": None}], [{"name": "a"}, B]),
    ],
)
def test_keyed_lists_merge_by_name(
    live: list[dict[str, Any]], patch: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> None:
    before = pod(*live)
    kept = copy_of(before)
    after = apply_strategic_patch(before, {"spec": {"containers": patch}}, POD)
    assert after == pod(*wanted)
    assert before == kept, "the document must stay as it was"


@pytest.mark.parametrize(
    ("order", "patch", "wanted"),
    [
        (["b", "a", "c"], [C], "bac"),
        (["b", "c"], [C], "abc"),
        (["c", "a", "b"], None, "cab"),
        (["b", "a"], [{"name": "a", "$patch": "delete"}], "b"),
    ],
)
def test_set_element_order_decides_the_sequence(order: list[str], patch: Any, wanted: str) -> None:
    spec: dict[str, Any] = {"$setElementOrder/containers": [{"name": n} for n in order]}
    live = [A, B] if patch else [A, B, C]
    if patch:
        spec["containers"] = patch
    after = apply_strategic_patch(pod(*live), {"spec": spec}, POD)
    assert "".join(c["name"] for c in after["spec"]["containers"]) == wanted


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"spec": {"containers": [{"image": "i"}]}}, "map: map[image:i] does not contain declared merge key: name"),
        ({"metadata": {"labels": {"$patch": "odd"}}}, "unknown patch type: odd in map: map[$patch:odd]"),
        ({"spec": {"$setElementOrder/bogus": []}}, 'unable to find api field for the json field "bogus"'),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [C]}},
            "The order in patch list:\n[map[image:c:1 name:c]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
        (
            {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]}},
            "invalid patch format of retainKeys",
        ),
        ([1], "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused_in_the_servers_words(patch: Any, message: str) -> None:
    live = pod(A, B, volumes=[{"name": "v", "emptyDir": {}}])
    live["metadata"]["labels"] = {"l": "1"}
    with pytest.raises(StatusError) as caught:
        apply_strategic_patch(live, patch, POD)
    assert (caught.value.code, caught.value.message) == (400, message)


def test_rollout_undo_replaces_the_whole_template() -> None:
    live = {"spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [A, B]}}}}
    patch = {"spec": {"template": {"$patch": "replace", "spec": {"containers": [C]}}}}
    after = apply_strategic_patch(live, patch, patch_rules("apps", "v1", "StatefulSet"))
    assert after == {"spec": {"replicas": 3, "template": {"spec": {"containers": [C]}}}}


def test_an_owner_reference_is_released_by_its_uid() -> None:
    owners = [{"uid": "1", "name": "x"}, {"uid": "2", "name": "y"}]
    live = {"metadata": {"ownerReferences": owners, "uid": "p"}}
    patch = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "1"}], "uid": "p"}}
    assert apply_strategic_patch(live, patch, POD)["metadata"] == {"ownerReferences": owners[1:], "uid": "p"}


def test_a_budgets_selector_is_replaced_not_merged() -> None:
    live = {"spec": {"selector": {"matchLabels": {"a": "1"}}}}
    patch = {"spec": {"selector": {"matchLabels": {"b": "2"}}}}
    assert apply_strategic_patch(live, patch, patch_rules("policy", "v1", "PodDisruptionBudget")) == patch


def test_directives_never_stay_in_the_document() -> None:
    new = {
        "name": "n",
        "env": [{"name": "E", "$patch": "merge"}],
        "$setElementOrder/env": [{"name": "E"}],
        "args": None,
    }
    after = apply_strategic_patch({"spec": {}}, {"spec": {"containers": [new]}}, POD)
    assert after == {"spec": {"containers": [{"name": "n", "env": [{"name": "E"}]}]}}


@pytest.mark.parametrize("recorded", records("patch.jsonl", "patch/smp/"))
def test_it_answers_as_a_real_server_did(recorded: dict[str, Any]) -> None:
    patch, answer = recorded["req"].get("body"), recorded["res"]
    if not isinstance(patch, dict) or recorded["req"]["path"].endswith("/status"):
        pytest.skip("not a question for the patch alone")
    original = record("patch.jsonl", "patch/orig")["res"]["body"]
    if answer["status"] in {400, 500} and answer["body"]["message"].startswith(
        ("map:", "unknown patch", "invalid patch", "The order", "unable")
    ):
        with pytest.raises(StatusError) as caught:
            apply_strategic_patch(original, patch, TEMPLATE)
        wanted = answer["body"]["message"].replace("in struct PodSpec ", "")
        assert caught.value.message == wanted
        return
    after = apply_strategic_patch(original, patch, TEMPLATE)
    if answer["status"] != 200:
        return  # what the schema or the registry refuses later
    wanted = answer["body"]
    for field in ("labels", "annotations", "finalizers"):
        assert (after["metadata"].get(field) or None) == wanted["metadata"].get(field), field
    assert after["template"]["metadata"].get("labels") == wanted["template"]["metadata"].get("labels")
    assert _undefaulted(after["template"]["spec"]) == _undefaulted(wanted["template"]["spec"])


def _undefaulted(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a PodSpec without what only defaulting adds, and without unknown fields."""
    spec = copy_of(spec)
    for field in ("bogus", "restartPolicy", "terminationGracePeriodSeconds", "dnsPolicy", "securityContext"):
        spec.pop(field, None)
    spec.pop("schedulerName", None)
    for container in spec["containers"]:
        for field in DEFAULTS:
            container.pop(field, None)
        for port in container.get("ports") or []:
            port.pop("protocol", None)
    for volume in spec.get("volumes") or []:
        if "hostPath" in volume:
            volume["hostPath"].pop("type", None)
    return spec


names = st.sampled_from("abcdef")
containers = st.lists(names, unique=True, max_size=6).map(lambda found: [{"name": n, "image": n} for n in found])


@given(containers, containers)
def test_merging_keeps_every_name_once_and_twice_is_like_once(
    live: list[dict[str, Any]], patch: list[dict[str, Any]]
) -> None:
    change = {"spec": {"containers": patch}}
    once = apply_strategic_patch(pod(*live), change, POD)
    found = [c["name"] for c in once["spec"]["containers"]]
    assert sorted(found) == sorted({c["name"] for c in [*live, *patch]})
    assert apply_strategic_patch(once, change, POD) == once


@given(containers, st.permutations("abcdef"))
def test_an_order_that_names_all_is_the_order(live: list[dict[str, Any]], order: list[str]) -> None:
    change = {"spec": {"$setElementOrder/containers": [{"name": n} for n in order]}}
    after = apply_strategic_patch(pod(*live), change, POD)
    assert [c["name"] for c in after["spec"]["containers"]] == [n for n in order if any(c["name"] == n for c in live)]


@pytest.mark.parametrize(("version", "strategies"), [("v1", ("replace",)), ("v1beta1", ())])
def test_the_selector_of_an_old_budget_is_merged(version: str, strategies: tuple[str, ...]) -> None:
    rule = patch_rules("policy", version, "PodDisruptionBudget").lookup(("spec", "selector"))
    assert rule is not None
    assert rule.strategies == strategies
