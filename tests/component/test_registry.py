"""The registry as a Client: writes, conflicts, no-ops, watches."""

import asyncio
import copy

import pytest

from localset.base.clock import SystemClock
from localset.client.client import PatchType, WatchType
from localset.machinery.errors import StatusError
from localset.registry.bootstrap import bootstrap
from localset.registry.registry import Registry
from localset.registry.settings import RegistrySettings
from localset.store.store import Store


def config_map(name="a", namespace="default", **more):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **more.pop("metadata", {})},
        **more,
    }


def pod(name="p", **metadata):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"containers": [{"name": "c", "image": "host", "command": ["true"]}]},
    }


def service(name, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80, "name": "web"}], "selector": {"app": "x"}, **spec},
    }


async def take(events, count):
    return [await asyncio.wait_for(anext(events), 5) for _ in range(count)]


async def test_a_created_object_has_identity_and_version(registry):
    made = await registry.create("configmaps", config_map(data={"k": "v"}))
    assert made["apiVersion"] == "v1"
    assert made["kind"] == "ConfigMap"
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert await registry.get("configmaps", "default", "a") == made


async def test_generated_names_differ(registry):
    names = set()
    for _ in range(5):
        obj = config_map()
        obj["metadata"] = {"generateName": "x-", "namespace": "default"}
        names.add((await registry.create("configmaps", obj))["metadata"]["name"])
    assert len(names) == 5
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_the_same_name_twice_is_refused(registry):
    await registry.create("configmaps", config_map())
    with pytest.raises(StatusError, match='configmaps "a" already exists') as caught:
        await registry.create("configmaps", config_map())
    assert caught.value.reason == "AlreadyExists"


async def test_an_absent_namespace_is_refused(registry):
    with pytest.raises(StatusError, match='namespaces "nowhere" not found'):
        await registry.create("configmaps", config_map(namespace="nowhere"))


async def test_of_fifty_concurrent_puts_with_one_version_one_wins(registry):
    made = await registry.create("configmaps", config_map())
    writes = [registry.update("configmaps", {**made, "data": {"n": str(i)}}) for i in range(50)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(r, dict) for r in results) == 1
    assert {r.reason for r in results if isinstance(r, StatusError)} == {"Conflict"}


async def test_fifty_concurrent_patches_all_arrive(registry):
    await registry.create("configmaps", config_map())
    await asyncio.gather(
        *(registry.patch("configmaps", "default", "a", {"data": {f"k{i}": "v"}}, PatchType.MERGE) for i in range(50))
    )
    assert len((await registry.get("configmaps", "default", "a"))["data"]) == 50


async def test_a_write_that_changes_nothing_gets_no_version_and_no_event(registry):
    made = await registry.create("configmaps", config_map(data={"k": "v"}))
    events = registry.watch("configmaps", resource_version=made["metadata"]["resourceVersion"])
    same = await registry.update("configmaps", made)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    await registry.patch("configmaps", "default", "a", {"data": {"k": "v"}}, PatchType.MERGE)
    await registry.patch("configmaps", "default", "a", {"data": {"k": "w"}}, PatchType.MERGE)
    (event,) = await take(events, 1)
    assert event.object["data"] == {"k": "w"}
    await events.aclose()


async def test_a_watch_without_version_begins_with_what_exists(registry):
    await registry.create("configmaps", config_map("a"))
    await registry.create("configmaps", config_map("b"))
    events = registry.watch("configmaps", "default", resource_version="")
    assert [(e.type, e.object["metadata"]["name"]) for e in await take(events, 2)] == [
        (WatchType.ADDED, "a"),
        (WatchType.ADDED, "b"),
    ]
    await events.aclose()


async def test_selector_edges_look_like_creation_and_removal(registry):
    start = registry.resource_version
    events = registry.watch("configmaps", resource_version=start, label_selector="app=x")
    await registry.create("configmaps", config_map())
    await registry.patch("configmaps", "default", "a", {"metadata": {"labels": {"app": "x"}}}, PatchType.MERGE)
    left = await registry.patch("configmaps", "default", "a", {"metadata": {"labels": {"app": "y"}}}, PatchType.MERGE)
    added, deleted = await take(events, 2)
    assert added.type is WatchType.ADDED
    assert deleted.type is WatchType.DELETED
    assert deleted.object["metadata"]["labels"] == {"app": "x"}
    assert deleted.object["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
    await events.aclose()


@pytest.mark.parametrize("version", ["1", "99999999999999"])
async def test_a_version_that_is_not_held_is_expired(registry, version):
    events = registry.watch("configmaps", resource_version=version)
    with pytest.raises(StatusError) as caught:
        await anext(events)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


async def test_pods_start_pending_with_an_account_and_a_class(registry):
    made = await registry.create("pods", pod())
    assert made["status"]["phase"] == "Pending"
    assert made["status"]["qosClass"] == "BestEffort"
    assert made["spec"]["serviceAccountName"] == "default"


async def test_pods_beyond_the_limit_are_refused_as_by_a_quota(store, clock):
    registry = Registry(store, clock, RegistrySettings(max_processes=2))
    await bootstrap(registry)
    results = await asyncio.gather(*(registry.create("pods", pod(f"p{i}")) for i in range(4)), return_exceptions=True)
    refused = [r for r in results if isinstance(r, StatusError)]
    assert len(refused) == 2
    assert all(r.code == 403 and "exceeded quota" in r.message for r in refused)


async def test_binding_assigns_once(registry):
    await registry.create("pods", pod())
    patch = [{"op": "add", "path": "/spec/nodeName", "value": "one"}]
    bound = await registry.patch("pods", "default", "p", patch, PatchType.JSON, subresource="binding")
    assert bound["spec"]["nodeName"] == "one"
    assert {(c["type"], c["status"]) for c in bound["status"]["conditions"]} == {("PodScheduled", "True")}
    assert await registry.bind_pod("default", "p", "one") == bound
    with pytest.raises(StatusError, match='already assigned to node "one"'):
        await registry.bind_pod("default", "p", "two")


async def test_services_get_distinct_sticky_addresses_and_headless_ones_none(registry):
    first = await registry.create("services", service("first"))
    second = await registry.create("services", service("second"))
    headless = await registry.create("services", service("headless", clusterIP="None"))
    address = first["spec"]["clusterIP"]
    assert address.startswith("127.")
    assert address != second["spec"]["clusterIP"]
    assert headless["spec"]["clusterIP"] == "None"
    await registry.delete("services", "default", "first")
    again = await registry.create("services", service("first"))
    assert again["spec"]["clusterIP"] == address
    kept = await registry.update("services", service("first", sessionAffinity="None"))
    assert kept["spec"]["clusterIP"] == address


async def test_claims_get_the_default_class_and_protection(registry):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = await registry.create("persistentvolumeclaims", claim)
    assert made["spec"]["storageClassName"] == "standard"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert made["status"]["phase"] == "Pending"


async def test_bootstrap_is_idempotent_and_leaves_changes_alone(registry):
    await registry.delete("storageclasses.storage.k8s.io", "", "standard")
    await bootstrap(registry)
    names = [c["metadata"]["name"] for c in (await registry.list("storageclasses.storage.k8s.io")).items]
    assert names == ["retain"]


async def test_everything_is_there_after_a_restart(tmp_path, clock):
    store = Store.open(tmp_path / "state.db", clock)
    registry = Registry(store, clock)
    await bootstrap(registry)
    made = await registry.create("configmaps", config_map(data={"k": "v"}))
    await store.aclose()
    store = Store.open(tmp_path / "state.db", SystemClock())
    assert await Registry(store, clock).get("configmaps", "default", "a") == made
    await store.aclose()


async def test_old_events_go_when_new_ones_come(store, clock):
    registry = Registry(store, clock, RegistrySettings(max_events=3))
    await bootstrap(registry)
    for i in range(8):
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"e{i}", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "Test",
            "message": "m",
            "type": "Normal",
        }
        await registry.create("events", event)
    names = [e["metadata"]["name"] for e in (await registry.list("events")).items]
    assert names == ["e5", "e6", "e7"]


async def test_an_update_changes_nothing_in_the_state_before(registry):
    """What an update keeps is shared between the two states, so that whoever prepares it must make new parts."""
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [version]}
    api = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    resource = "customresourcedefinitions.apiextensions.k8s.io"
    old = await registry.create(resource, {**api, "metadata": {"name": "things.example.org"}, "spec": spec})
    before = copy.deepcopy(old)
    versions = [{**version, "storage": False}, {**version, "name": "v2"}]
    new = await registry.update(resource, {**old, "spec": {**old["spec"], "versions": versions}})
    assert new["status"]["storedVersions"] == ["v1", "v2"]
    assert old == before
    await registry.update_status(resource, {**new, "status": {**new["status"], "conditions": []}})
    assert old == before
