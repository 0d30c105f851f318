"""Server-side apply through the real application: the recorded session, and what recordings do not show."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from localset.client.client import PatchType
from tests.component.apiserver_house import House, open_house, open_registry
from tests.pure.fixtures_of_kubernetes import DIRECTORY

APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}
JSON = {"Content-Type": "application/json-patch+json"}
MAPS = "/api/v1/namespaces/default/configmaps"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        yield opened


async def apply(house: House, path: str, config: Any, manager: str = "one", query: str = "") -> tuple[int, Any]:
    return await house.call("PATCH", f"{path}?fieldManager={manager}{query}", config, headers=APPLY)


def config_map(data: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **metadata}, "data": data}


def stateful_set(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "host"}]}}
    base = {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "c"}, "spec": {**base, **spec}}


def owners(obj: Any) -> dict[tuple[str, str, str], Any]:
    entries = obj["metadata"].get("managedFields", [])
    return {(e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"] for e in entries}


# --- The recording ---------------------------------------------------------------------------------------------------

NOT_AS_1_20 = {
    # An empty map that is said is owned now.
    "first-omits-shared": 200, "update-takes-over": 200, "patch-merge-owner": 200, "patch-no-manager": 200,
    "no-name": 200,
    # 500 is no answer to a client's mistake.
    "yaml-bool-name": 400, "other-kind": 400, "unknown-field": 400, "wrong-type": 400, "sts/duplicate-key": 400,
    "json-ct": 415,
    # Scale owns spec.replicas.
    "sts/after-scale": 200, "sts/replicas-conflict": 409, "sts/replicas-left-to-scaler": 200, "sts/sidecar": 200,
    "sts/sidecar-removed": 200,
    "sts/immutable": 422,
    # The main resource does not touch status.
    "sts/status-ignored": 200, "sts/apply-status": 200, "finish": 200,
    # protocol is TCP when nobody says it, and a Service's selector is atomic.
    "svc/create-port-no-protocol": 201, "svc/create": 200,
}  # fmt: skip


async def test_the_recorded_session_goes_as_it_went_on_a_real_server(house: House) -> None:
    path = DIRECTORY / "ssa.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not beside this checkout")
    compared = 0
    for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()[1:]):
        request, recorded = record["req"], record["res"]
        body = request.get("body", request.get("text"))
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **request.get("headers", {})}
        async with house.session.request(request["method"], request["path"], data=data, headers=headers) as response:
            status, answer = response.status, await response.json()
        name = record["id"].removeprefix("ssa/")
        if record.get("setup"):
            continue
        assert status == NOT_AS_1_20.get(name, recorded["status"]), (name, answer)
        if name in NOT_AS_1_20:
            continue
        compared += 1
        told = recorded["body"]
        if status >= 400:
            assert (name, answer["message"]) == (name, told["message"])
            assert answer.get("details", {}).get("causes") == told.get("details", {}).get("causes")
        elif told["kind"] != "Scale":
            assert (name, owners(answer)) == (name, owners(told))
            assert answer.get("data") == told.get("data")
    assert compared == 34


# --- What it does not show -------------------------------------------------------------------------------------------


async def test_a_value_that_another_manager_owns_is_a_conflict_until_forced(house: House) -> None:
    assert (await apply(house, f"{MAPS}/c", config_map({"a": "1"})))[0] == 201
    status, refusal = await apply(house, f"{MAPS}/c", config_map({"a": "2"}), "two")
    assert (status, refusal["message"]) == (409, 'Apply failed with 1 conflict: conflict with "one": .data.a')
    status, forced = await apply(house, f"{MAPS}/c", config_map({"a": "2"}), "two", "&force=true")
    assert (status, owners(forced)) == (200, {("two", "Apply", ""): {"f:data": {"f:a": {}}}})


async def test_an_apply_that_changes_nothing_is_no_write_and_no_new_time(house: House) -> None:
    _, before = await apply(house, f"{SETS}/c", stateful_set())
    status, after = await apply(house, f"{SETS}/c", stateful_set())
    assert (status, after) == (200, before)


async def test_scale_owns_replicas_and_may_be_applied_itself(house: House) -> None:
    await apply(house, f"{SETS}/c", stateful_set(replicas=1))
    await house.call("PATCH", f"{SETS}/c/scale?fieldManager=hpa", {"spec": {"replicas": 2}}, headers=MERGE)
    _, stored = await house.call("GET", f"{SETS}/c")
    assert owners(stored)["hpa", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(stored)["one", "Apply", ""]["f:spec"]
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "c"}, "spec": {"replicas": 3}}
    status, refusal = await apply(house, f"{SETS}/c/scale", scale, "ssa")
    assert (status, refusal["details"]["causes"][0]["field"]) == (409, ".spec.replicas")
    status, scaled = await apply(house, f"{SETS}/c/scale", scale, "ssa", "&force=true")
    assert (status, scaled["spec"]) == (200, {"replicas": 3})
    assert (await apply(house, f"{SETS}/c", stateful_set()))[0] == 200
    assert (await house.call("GET", f"{SETS}/c"))[1]["spec"]["replicas"] == 3


async def test_status_is_owned_through_its_subresource_alone(house: House) -> None:
    config = {**stateful_set(), "status": {"replicas": 7}}
    _, made = await apply(house, f"{SETS}/c", config)
    assert "f:status" not in owners(made)["one", "Apply", ""]
    status, shown = await apply(house, f"{SETS}/c/status", {**config, "spec": {"replicas": 9}}, "status")
    assert (status, shown["spec"]["replicas"], shown["status"]["replicas"]) == (200, 1, 7)
    assert owners(shown)["status", "Apply", "status"] == {"f:status": {"f:replicas": {}}}


async def test_the_houses_own_writes_are_not_tracked_and_drop_no_owner(house: House) -> None:
    _, made = await apply(house, f"{SETS}/c", stateful_set())
    stored = await house.registry.get("statefulsets.apps", "default", "c")
    await house.registry.update_status("statefulsets.apps", {**stored, "status": {"replicas": 1}})
    await house.registry.patch(
        "statefulsets.apps", "default", "c", {"metadata": {"labels": {"x": "y"}}}, PatchType.MERGE
    )
    bare = {key: value for key, value in stored["metadata"].items() if key not in {"managedFields", "resourceVersion"}}
    await house.registry.update("statefulsets.apps", {**stored, "metadata": bare})
    assert owners(await house.registry.get("statefulsets.apps", "default", "c")) == owners(made)
    copied = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}}
    metadata = {"name": "h", "namespace": "default", "managedFields": made["metadata"]["managedFields"]}
    own = await house.registry.create("configmaps", {**copied, "metadata": metadata})
    assert "managedFields" not in own["metadata"]
    _, labelled = await house.call("PATCH", f"{MAPS}/h", {"metadata": {"labels": {"a": "b"}}}, headers=MERGE)
    assert "managedFields" not in labelled["metadata"]
    _, refusal = await apply(house, f"{MAPS}/h", {**copied, "metadata": {"name": "h"}, "data": {"a": "2"}})
    assert refusal["message"].endswith('conflict with "before-first-apply" using v1: .data.a')


async def test_managed_fields_may_be_rewritten_reset_and_are_not_lost_by_a_put_without_them(house: House) -> None:
    _, made = await house.call("POST", f"{MAPS}?fieldManager=maker", config_map({"a": "1"}))
    entry = {**made["metadata"]["managedFields"][0], "manager": "kubectl", "operation": "Apply"}
    rewrite = [{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]
    _, rewritten = await house.call("PATCH", f"{MAPS}/c", rewrite, headers=JSON)
    assert list(owners(rewritten)) == [("kubectl", "Apply", "")]
    _, put = await house.call("PUT", f"{MAPS}/c?fieldManager=putter", config_map({"a": "1", "b": "2"}))
    assert owners(put)["putter", "Update", ""] == {"f:data": {"f:b": {}}}
    assert ("kubectl", "Apply", "") in owners(put)
    nonsense = config_map({"a": "1"}, managedFields=[{"manager": "x", "operation": "Steal"}])
    _, kept = await house.call("PUT", f"{MAPS}/c?fieldManager=putter", nonsense)
    assert ("kubectl", "Apply", "") in owners(kept)
    _, reset = await house.call("PATCH", f"{MAPS}/c", {"metadata": {"managedFields": [{}]}}, headers=MERGE)
    assert "managedFields" not in reset["metadata"]


async def test_kubectl_takes_over_what_it_applied_from_the_client(house: House) -> None:
    manifest = config_map({"a": "1", "b": "1"})
    last = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(manifest)}
    applied = config_map({"a": "1", "b": "1"}, annotations=last)
    await house.call("POST", f"{MAPS}?fieldManager=kubectl-client-side-apply", applied)
    status, _ = await apply(house, f"{MAPS}/c", config_map({"a": "2"}), "other")
    assert status == 409
    status, taken = await apply(house, f"{MAPS}/c", config_map({"a": "2"}), "kubectl")
    annotation = taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert (status, taken["data"], json.loads(annotation)["data"]) == (200, {"a": "2", "b": "1"}, {"a": "2"})


async def test_old_versions_share_owners_with_the_storage_version(house: House) -> None:
    old = {**stateful_set(replicas=1), "apiVersion": "apps/v1beta1"}
    path = f"{SETS}/c".replace("/v1/", "/v1beta1/")
    assert (await apply(house, path, old))[0] == 201
    status, refusal = await apply(house, f"{SETS}/c", stateful_set(replicas=2), "two")
    assert (status, refusal["details"]["causes"][0]["field"]) == (409, ".spec.replicas")
    assert (await apply(house, f"{SETS}/c", old))[1]["message"] == (
        "Incorrect version specified in apply patch. Specified patch version: apps/v1beta1, expected: apps/v1"
    )
    _, moved = await apply(house, f"{SETS}/c", stateful_set(replicas=2))
    assert [entry["apiVersion"] for entry in moved["metadata"]["managedFields"]] == ["apps/v1"]


@pytest.mark.parametrize(("validation", "status"), [("Strict", 400), ("Warn", 201), ("Ignore", 201)])
async def test_keys_that_stand_twice_are_judged_by_field_validation(house: House, validation: str, status: int) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', a: '2'}\n"
    query = f"?fieldManager=m&fieldValidation={validation}"
    async with house.session.patch(f"{MAPS}/c{query}", data=text, headers=APPLY) as response:
        assert response.status == status
        assert ("already set" in response.headers.get("Warning", "")) is (validation == "Warn")


async def test_force_is_for_apply_alone_and_apply_needs_a_manager(house: House) -> None:
    status, refusal = await house.call("PATCH", f"{MAPS}/c?force=true", {}, headers=MERGE)
    assert (status, refusal["details"]["causes"][0]["field"]) == (422, "force")
    status, refusal = await house.call("PATCH", f"{MAPS}/c", config_map({}), headers=APPLY)
    assert (status, refusal["details"]["causes"][0]["reason"]) == (422, "FieldValueRequired")
    status, refusal = await apply(house, f"{MAPS}/c", config_map({}), "a%07b")
    assert (status, "invalid character U+0007 (at position 1)" in refusal["message"]) == (422, True)


async def test_patches_that_would_grow_without_bound_are_refused(house: House) -> None:
    await house.call("POST", MAPS, config_map({"a": "x" * 1000}))
    doubling = [{"op": "copy", "from": "/data", "path": f"/x{i}"} for i in range(9_000)]
    assert (await house.call("PATCH", f"{MAPS}/c", doubling, headers=JSON))[0] == 422
    deeper = [{"op": "add", "path": "/x", "value": {}}]
    deeper += [{"op": "add", "path": "/x" + "/y" * depth, "value": {}} for depth in range(1, 300)]
    assert (await house.call("PATCH", f"{MAPS}/c", deeper, headers=JSON))[0] == 422


async def test_custom_resources_merge_by_their_own_schema(house: House) -> None:
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port"],
        "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}}},
    }
    spec = {"type": "object", "properties": {"ports": ports, "size": {"type": "integer"}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await apply(house, f"{definitions}/widgets.example.com", definition))[0] == 201
    conditions = [{"type": kind, "status": "True", "reason": "r"} for kind in ("NamesAccepted", "Established")]
    established = {"status": {"acceptedNames": names, "conditions": conditions}}
    await house.call("PATCH", f"{definitions}/widgets.example.com/status", established, headers=MERGE)
    path = "/apis/example.com/v1/namespaces/default/widgets/w"

    def widget(**spec: Any) -> dict[str, Any]:
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}

    status, made = await apply(house, path, widget(ports=[{"port": 1}], size=1))
    assert (status, owners(made)["one", "Apply", ""]) == (
        201,
        {"f:spec": {"f:ports": {'k:{"port":1}': {".": {}, "f:port": {}}}, "f:size": {}}},
    )
    status, both = await apply(house, path, widget(ports=[{"port": 2}]), "two")
    assert (status, both["spec"]["ports"]) == (200, [{"port": 1}, {"port": 2}])
    status, refusal = await apply(house, path, widget(size=2), "two")
    assert (status, refusal["details"]["causes"][0]["field"]) == (409, ".spec.size")
    status, refusal = await apply(house, path, widget(bogus=2), "two")
    assert (status, ".spec.bogus: field not declared in schema" in refusal["message"]) == (400, True)
    strategic = {"Content-Type": "application/strategic-merge-patch+json"}
    assert (await house.call("PATCH", path, {}, headers=strategic))[0] == 415
