"""Decode, default and validate as a real API server (1.20.2) answered.

Where newer servers or localset answer differently on purpose, a table says so.
"""

import re
from typing import Any

import pytest

from localset.apis.resources import RESOURCES, Resource
from localset.apis.scheme import FieldValidation, decode, encode, patch_schema, strategy_of
from localset.machinery.errors import StatusError, raise_if
from localset.machinery.metadata import copy_of
from localset.machinery.strategic_patch import apply_strategic_patch
from tests.pure.fixtures_of_kubernetes import record, records

FILES = ("crud.jsonl", "names.jsonl", "statefulset.jsonl", "statefulset-versions.jsonl")
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/(?:namespaces/[^/]+/)?(?P<plural>[a-z]+)(?:\?.*)?$"
)

OUR_OWN_ANSWER = {
    # A set's PodSpec is refused when the set is made, not by an event when the Pod is.
    "statefulset/create/no-containers": 422,
    "statefulset/create/container-no-image": 422,
    "statefulset/create/container-dup": 422,
    "statefulset/create/container-bad-name": 422,
    "statefulset/create/dangling-mount": 422,
    "statefulset/create/vct-bad": 422,
    # Newer servers want a DNS label (semantics 1.1.3).
    "names/statefulset-dot.dot": 422,
    "names/statefulset-aaaaaaaaaaaa": 422,
}
REGISTRY = {
    # The registry's part: names that it makes, namespaces, admission.
    "names/generateName", "names/generateName-long", "names/annotations-too-big", "statefulset/create/no-name",
    "statefulset/create/ns-given-other",
}  # fmt: skip
FILLED_BY_ADMISSION = {
    ".spec.finalizers", ".spec", ".spec.taints", ".spec.tolerations", ".spec.priority", ".spec.preemptionPolicy",
    ".status",
    ".spec.clusterIP", ".spec.clusterIPs", ".spec.ports[0].nodePort", ".spec.storageClassName",
    ".metadata.finalizers", ".eventTime",
}  # fmt: skip
SERVER_FIELDS = {"managedFields", "uid", "resourceVersion", "creationTimestamp", "namespace", "selfLink"}


def resource_at(path: str) -> tuple[Resource, str] | None:
    match = PATH.match(path)
    if match is None:
        return None
    found = [r for r in RESOURCES if (r.group, r.plural) == (match["group"] or "", match["plural"])]
    if not found or found[0].is_refused or match["version"] not in found[0].versions:
        return None
    return found[0], match["version"]


def creates() -> list[Any]:
    found = []
    for file in FILES:
        for param in records(file, ""):
            recorded = param.values[0]
            if not recorded or (
                recorded["req"]["method"] == "POST"
                and resource_at(recorded["req"]["path"])
                and isinstance(recorded["req"].get("body"), dict)
                and recorded["res"]["status"] != 409
            ):
                found.append(param)
    return found


def answer(resource: Resource, version: str, body: dict[str, Any]) -> tuple[int, Any]:
    try:
        obj = copy_of(decode(resource, version, body, FieldValidation.IGNORE).object)
        strategy = strategy_of(resource.name)
        if resource.namespaced:
            obj["metadata"].setdefault("namespace", "fx-crud")
        strategy.prepare_create(obj)
        raise_if(resource.kind, resource.group, obj["metadata"].get("name", ""), strategy.validate(obj))
    except StatusError as error:
        return error.code, error
    return 201, encode(resource, version, obj)


def missing(wanted: Any, got: Any, path: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = []
        for key, value in wanted.items():
            if key in SERVER_FIELDS:
                continue
            if key in got:
                found += missing(value, got[key], f"{path}.{key}")
            elif value is not None:
                found.append(f"{path}.{key}")
        return found
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        return [m for i, (w, g) in enumerate(zip(wanted, got, strict=True)) for m in missing(w, g, f"{path}[{i}]")]
    return [] if wanted == got else [f"{path}: {wanted!r} became {got!r}"]


def causes(status: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cause["reason"], cause["field"]) for cause in status.get("details", {}).get("causes", [])]


@pytest.mark.parametrize("recorded", creates())
def test_a_create_is_answered_as_recorded(recorded: dict[str, Any]) -> None:
    found = resource_at(recorded["req"]["path"])
    assert found is not None
    if recorded["id"] in REGISTRY:
        pytest.skip("the registry's part")
    resource, version = found
    code, got = answer(resource, version, recorded["req"]["body"])
    wanted = recorded["res"]
    if recorded["id"] in OUR_OWN_ANSWER:
        assert code == OUR_OWN_ANSWER[recorded["id"]]
        return
    assert code == wanted["status"], str(got)
    if code == 422:
        assert causes(got.to_status()) == causes(wanted["body"])
    elif code == 201:
        assert [m for m in missing(wanted["body"], got, "") if m not in FILLED_BY_ADMISSION] == []


@pytest.mark.parametrize("recorded", records("statefulset.jsonl", "statefulset/update/"))
def test_a_patch_of_a_set_is_answered_as_recorded(recorded: dict[str, Any]) -> None:
    if recorded["req"]["method"] != "PATCH" or recorded["id"].endswith(("/history", "/name")):
        pytest.skip("no patch, or newer servers differ, or the registry's part")
    resource, version = RESOURCES_BY_NAME["statefulsets.apps"], "v1"
    live = record("statefulset.jsonl", "statefulset/update/orig")["res"]["body"]
    old = decode(resource, version, live, FieldValidation.IGNORE).object
    patched = apply_strategic_patch(
        encode(resource, version, old), recorded["req"]["body"], patch_schema(resource, version)
    )
    new = copy_of(decode(resource, version, patched, FieldValidation.IGNORE).object)
    strategy = strategy_of(resource.name)
    strategy.prepare_update(new, old)
    found = strategy.validate_update(new, old)
    wanted = recorded["res"]
    once = list(dict.fromkeys(causes(wanted["body"])))  # 1.20 checks the spec twice
    assert [(c.reason, c.field) for c in found] == once
    if wanted["status"] == 200:
        assert new["status"] == old["status"]
        changes_spec = "spec" in recorded["req"]["body"]
        assert new["metadata"]["generation"] == old["metadata"]["generation"] + changes_spec


RESOURCES_BY_NAME = {resource.name: resource for resource in RESOURCES}
