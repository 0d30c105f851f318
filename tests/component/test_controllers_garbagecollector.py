"""The garbage collector and the disruption controller on the real registry."""

import asyncio

import pytest

from localset.client.client import DeleteOptions, PatchType, Propagation
from localset.client.informer import InformerFactory
from localset.controllers.disruption.controller import DisruptionController
from localset.controllers.garbagecollector.controller import GarbageCollector
from localset.controllers.statefulset.controller import StatefulSetController
from localset.machinery.errors import StatusError
from localset.machinery.metadata import owner_reference

BUDGETS = "poddisruptionbudgets.policy"


@pytest.fixture
async def informers(registry, clock):
    factory = InformerFactory(registry, clock)
    yield factory
    await factory.aclose()


@pytest.fixture
async def collector(registry, clock, informers):
    made = GarbageCollector(registry, clock, informers)
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def disruption(registry, clock, informers):
    made = DisruptionController(registry, clock, informers)
    await made.start()
    yield made
    await made.aclose()


def config_map(name, *owners, **metadata):
    references = [owner_reference(owner, "v1", owner["kind"]) for owner in owners]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": name, "ownerReferences": references, **metadata},
    }


async def reach(client, resource, predicate, namespace="default"):
    """Return once `predicate(names → objects)` holds, woken by the watch."""
    async with asyncio.timeout(5):
        while True:
            listed = await client.list(resource, namespace)
            objects = {o["metadata"]["name"]: o for o in listed.items}
            if predicate(objects):
                return objects
            stream = client.watch(resource, namespace, resource_version=listed.resource_version)
            await anext(stream)
            await stream.aclose()


async def test_dependents_and_theirs_go_with_their_owner(registry, collector):
    owner = await registry.create("configmaps", config_map("owner"))
    child = await registry.create("configmaps", config_map("child", owner))
    await registry.create("configmaps", config_map("grandchild", child))
    await registry.create("configmaps", config_map("stranger"))
    await registry.delete("configmaps", "default", "owner")
    left = await reach(registry, "configmaps", lambda o: "grandchild" not in o)
    assert set(left) == {"stranger"}


async def test_a_dependent_with_another_owner_stays_and_loses_the_dead_reference(registry, collector):
    one = await registry.create("configmaps", config_map("one"))
    two = await registry.create("configmaps", config_map("two"))
    shared = config_map("shared", one)
    shared["metadata"]["ownerReferences"].append({**owner_reference(two, "v1", "ConfigMap"), "controller": False})
    await registry.create("configmaps", shared)
    await registry.delete("configmaps", "default", "one")
    left = await reach(registry, "configmaps", lambda o: len(o["shared"]["metadata"]["ownerReferences"]) == 1)
    assert left["shared"]["metadata"]["ownerReferences"][0]["name"] == "two"


async def test_an_owner_of_another_uid_counts_as_absent(registry, collector):
    owner = await registry.create("configmaps", config_map("owner"))
    impostor = {**owner, "metadata": {**owner["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}
    await registry.create("configmaps", config_map("child", impostor))
    assert set(await reach(registry, "configmaps", lambda o: "child" not in o)) == {"owner"}


async def test_an_owner_of_a_kind_that_is_not_served_is_left_alone(registry, collector):
    child = config_map("child")
    child["metadata"]["ownerReferences"] = [
        {"apiVersion": "example.org/v1", "kind": "Thing", "name": "x", "uid": "11111111-0000-0000-0000-000000000000"}
    ]
    await registry.create("configmaps", child)
    owner = await registry.create("configmaps", config_map("owner"))
    await registry.create("configmaps", config_map("sentinel", owner))
    await registry.delete("configmaps", "default", "owner")
    assert "child" in await reach(registry, "configmaps", lambda o: "sentinel" not in o)


async def test_foreground_deletion_ends_only_after_the_blocking_dependents(registry, collector):
    owner = await registry.create("configmaps", config_map("owner"))
    await registry.create("configmaps", config_map("slow", owner, finalizers=["example.org/hold"]))
    await registry.delete("configmaps", "default", "owner", DeleteOptions(propagation=Propagation.FOREGROUND))
    held = await reach(registry, "configmaps", lambda o: "deletionTimestamp" in o["slow"]["metadata"])
    assert held["owner"]["metadata"]["finalizers"] == ["foregroundDeletion"]
    await registry.patch("configmaps", "default", "slow", {"metadata": {"finalizers": None}}, PatchType.MERGE)
    await reach(registry, "configmaps", lambda o: not o)


async def test_orphan_deletion_leaves_the_dependents_without_a_reference(registry, collector):
    owner = await registry.create("configmaps", config_map("owner"))
    await registry.create("configmaps", config_map("child", owner))
    await registry.delete("configmaps", "default", "owner", DeleteOptions(propagation=Propagation.ORPHAN))
    left = await reach(registry, "configmaps", lambda o: "owner" not in o)
    assert not left["child"]["metadata"].get("ownerReferences")


async def test_what_lost_its_owner_while_nobody_looked_is_collected_at_the_start(registry, clock, informers):
    owner = await registry.create("configmaps", config_map("owner"))
    await registry.create("configmaps", config_map("child", owner))
    await registry.delete("configmaps", "default", "owner")
    late = GarbageCollector(registry, clock, informers)
    await late.start()
    try:
        await reach(registry, "configmaps", lambda o: not o)
    finally:
        await late.aclose()


def pod(name):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "labels": {"app": "zk"}},
        "spec": {"containers": [{"name": "c", "image": "host"}]},
    }


async def test_a_budget_follows_its_pods_and_is_not_written_again_without_need(registry, disruption):
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "zk"}}}
    body = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": spec}
    await registry.create(BUDGETS, {**body, "metadata": {"namespace": "default", "name": "zk"}})
    for name in ("a", "b"):
        await registry.create("pods", pod(name))
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await registry.patch("pods", "default", name, ready, PatchType.MERGE, subresource="status")
    found = await reach(registry, BUDGETS, lambda o: o["zk"]["status"]["disruptionsAllowed"] == 1)
    assert found["zk"]["status"]["expectedPods"] == 2
    before = found["zk"]["metadata"]["resourceVersion"]
    await registry.patch("pods", "default", "a", {"metadata": {"labels": {"more": "x"}}}, PatchType.MERGE)
    await registry.delete("pods", "default", "b")
    after = await reach(registry, BUDGETS, lambda o: o["zk"]["status"]["disruptionsAllowed"] == 0)
    assert int(after["zk"]["metadata"]["resourceVersion"]) > int(before)


async def test_a_pod_is_never_collected_before_the_store_itself_says_that_the_owner_is_gone(registry, collector):
    owner = await registry.create("configmaps", config_map("owner"))
    for index in range(20):
        await registry.create("configmaps", config_map(f"child-{index}", owner))
    with pytest.raises(StatusError):
        await registry.get("configmaps", "default", "child-20")
    assert len((await registry.list("configmaps", "default")).items) == 21


async def test_deleting_a_set_takes_its_pods_and_revisions_and_leaves_its_claims(registry, clock, informers, collector):
    sets = StatefulSetController(registry, clock, informers)
    await sets.start()
    labels = {"app": "web"}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    claim["spec"]["resources"] = {"requests": {"storage": "1Gi"}}
    spec = {
        "replicas": 3,
        "podManagementPolicy": "Parallel",
        "serviceName": "web",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "host"}]}},
        "volumeClaimTemplates": [claim],
    }
    metadata = {"namespace": "default", "name": "web"}
    try:
        await registry.create(
            "statefulsets.apps", {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
        )
        await reach(registry, "pods", lambda o: len(o) == 3)
        await registry.delete("statefulsets.apps", "default", "web")
        await reach(registry, "pods", lambda o: not o)
        await reach(registry, "controllerrevisions.apps", lambda o: not o)
        assert len((await registry.list("persistentvolumeclaims", "default")).items) == 3
    finally:
        await sets.aclose()
