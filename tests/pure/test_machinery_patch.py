"""JSON patches, merge patches and the patch of `apply`, held to recorded answers where the fixtures are at hand."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.machinery.errors import StatusError
from localset.machinery.metadata import copy_of
from localset.machinery.patch import (
    apply_json_patch,
    apply_merge_patch,
    create_merge_patch,
    same_json,
    three_way_merge_patch,
)

FIXTURES = Path(__file__).parents[3] / "shared" / "kube-api-fixtures" / "patch.jsonl"
# Refused by the registry's rules or the decoder, or accepted by 1.20 only (kube-api.md 5.2).
NOT_OURS = {"directive-is-data", "array", "bad-json", "number-label", "add-escape", "wrong-type-result"}
NEWER_IS_STRICTER = {"replace-absent"}
SCALARS = st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3))
KEYS = st.sampled_from(["a", "b", "c"])
# Without nulls: a merge patch cannot say them.
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3)),
    max_size=3,
)


def _refused(doc, ops, code=422):
    with pytest.raises(StatusError) as caught:
        apply_json_patch(doc, ops)
    assert caught.value.code == code
    return caught.value.message


def _comparable(obj):
    """Return what patches here can change, without what the server stamps."""
    metadata = {k: obj["metadata"].get(k) for k in ("labels", "annotations", "finalizers")}
    containers = [(c["name"], c["image"]) for c in obj["template"]["spec"]["containers"]]
    return {k: v or None for k, v in metadata.items()}, containers


@pytest.mark.skipif(not FIXTURES.exists(), reason="the fixtures are not beside this checkout")
@pytest.mark.parametrize(("kind", "apply"), [("json", apply_json_patch), ("merge", apply_merge_patch)])
def test_every_recorded_patch_gives_what_the_server_gave(kind, apply):
    records = {r["id"]: r for r in map(json.loads, FIXTURES.read_text().splitlines()[1:])}
    original = records["patch/orig"]["res"]["body"]
    seen = 0
    for name, record in records.items():
        if not name.startswith(f"patch/{kind}/") or name.rpartition("/")[2] in NOT_OURS:
            continue
        seen += 1
        patch, answer = record["req"]["body"], record["res"]
        if answer["status"] != 200 or name.rpartition("/")[2] in NEWER_IS_STRICTER:
            with pytest.raises(StatusError) as caught:
                apply(original, patch)
            if answer["status"] != 200:
                assert (caught.value.code, caught.value.message) == (answer["status"], answer["body"]["message"]), name
        else:
            assert _comparable(apply(original, patch)) == _comparable(answer["body"]), name
    assert seen > 3


def test_json_patch_operations_do_what_the_rfc_says():
    doc = {"a": {"b/c": 1, "~": 2}, "l": [1, 2]}
    ops = [
        {"op": "test", "path": "/a/b~1c", "value": 1},
        {"op": "add", "path": "/l/-", "value": 3},
        {"op": "add", "path": "/l/0", "value": 0},
        {"op": "remove", "path": "/l/1"},
        {"op": "copy", "from": "/a", "path": "/k"},
        {"op": "move", "from": "/a/~0", "path": "/m"},
        {"op": "replace", "path": "/k/~0", "value": {"x": []}},
    ]
    assert apply_json_patch(doc, ops) == {"a": {"b/c": 1}, "l": [0, 2, 3], "k": {"b/c": 1, "~": {"x": []}}, "m": 2}
    assert doc == {"a": {"b/c": 1, "~": 2}, "l": [1, 2]}
    assert apply_json_patch(doc, [{"op": "replace", "path": "", "value": 7}]) == 7


@pytest.mark.parametrize(
    "op",
    [
        {"op": "remove", "path": "/x"},
        {"op": "remove", "path": "/l/2"},
        {"op": "remove", "path": "/l/-"},
        {"op": "remove", "path": "/l/01"},
        {"op": "remove", "path": "/l/²"},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/l/3", "value": 1},
        {"op": "add", "path": "/l"},
        {"op": "add", "path": "l", "value": 1},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "test", "path": "/l/0", "value": True},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "frob", "path": "/a"},
        {"op": "copy", "path": "/a"},
        {},
        "add",
    ],
)
def test_an_operation_that_fails_refuses_the_patch(op):
    _refused({"a": {}, "l": [1, 2]}, [op])


def test_a_patch_that_is_no_list_or_too_long_is_refused():
    assert "cannot unmarshal object" in _refused({}, {"op": "add"}, 400)
    _refused({}, [{"op": "test", "path": "/a", "value": None}] * 10_001, 413)
    assert apply_json_patch({}, [{"op": "test", "path": "/a", "value": None}]) == {}


def test_true_is_not_one():
    assert not same_json(True, 1)
    assert not same_json({"a": [0]}, {"a": [False]})
    assert create_merge_patch({"a": 1}, {"a": True}) == {"a": True}


def test_a_merge_patch_deletes_by_null_and_replaces_lists():
    doc = {"a": {"x": 1, "y": [1, 2]}, "b": 2}
    assert apply_merge_patch(doc, {"a": {"x": None, "y": [3]}, "c": {"d": None}}) == {"a": {"y": [3]}, "b": 2, "c": {}}
    assert doc == {"a": {"x": 1, "y": [1, 2]}, "b": 2}


@given(DOCUMENTS, DOCUMENTS)
def test_a_created_merge_patch_makes_the_one_of_the_other(original, modified):
    before = copy_of([original, modified])
    patch = create_merge_patch(original, modified)
    assert same_json(apply_merge_patch(original, patch), modified)
    assert (patch == {}) is same_json(original, modified)
    assert [original, modified] == before


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_a_second_apply_has_nothing_to_do(last_applied, modified, current):
    patched = apply_merge_patch(current, three_way_merge_patch(last_applied, modified, current))
    assert three_way_merge_patch(modified, modified, patched) == {}
    assert three_way_merge_patch(last_applied, modified, patched) == {}


def test_apply_deletes_only_what_it_had_applied():
    last = {"spec": {"a": 1, "b": 2}, "metadata": {"labels": {"x": "1"}}}
    wanted = {"spec": {"a": 1}, "metadata": {"labels": {"x": "2"}}}
    live = {"spec": {"a": 1, "b": 2, "c": 3}, "metadata": {"labels": {"x": "1", "other": "y"}, "uid": "u"}}
    assert three_way_merge_patch(last, wanted, live) == {"spec": {"b": None}, "metadata": {"labels": {"x": "2"}}}
