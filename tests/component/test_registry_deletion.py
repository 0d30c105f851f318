"""What deleting means for each kind, and who holds an object back."""

import asyncio

import pytest

from localset.base.clock import parse_rfc3339
from localset.client.client import DeleteOptions, PatchType, Propagation
from localset.machinery.errors import StatusError
from localset.registry.registry import WriteOptions


def config_map(name="a", namespace="default", metadata=None):
    metadata = {"name": name, "namespace": namespace, **(metadata or {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def pod(name="p", **metadata):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"containers": [{"name": "c", "image": "host", "command": ["true"]}]},
    }


async def bound_pod(registry, **metadata):
    await registry.create("pods", pod(**metadata))
    return await registry.bind_pod("default", "p", "node")


async def is_gone(registry, resource, namespace, name):
    try:
        await registry.get(resource, namespace, name)
    except StatusError as error:
        return error.code == 404
    return False


async def test_a_pod_without_node_goes_at_once(registry):
    await registry.create("pods", pod())
    await registry.delete("pods", "default", "p")
    assert await is_gone(registry, "pods", "default", "p")


async def test_a_pod_on_a_node_lingers_for_its_grace_which_only_shrinks(registry, clock):
    await bound_pod(registry)
    first = await registry.delete("pods", "default", "p", DeleteOptions(grace_period_seconds=20))
    assert first["metadata"]["deletionGracePeriodSeconds"] == 20
    due = parse_rfc3339(first["metadata"]["deletionTimestamp"])
    assert 15 < (due - clock.now()).total_seconds() <= 20
    longer = await registry.delete("pods", "default", "p", DeleteOptions(grace_period_seconds=60))
    assert longer == first
    shorter = await registry.delete("pods", "default", "p", DeleteOptions(grace_period_seconds=5))
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    assert (due - parse_rfc3339(shorter["metadata"]["deletionTimestamp"])).total_seconds() == 15
    await registry.delete("pods", "default", "p", DeleteOptions(grace_period_seconds=0, uid=first["metadata"]["uid"]))
    assert await is_gone(registry, "pods", "default", "p")


async def test_a_finalizer_holds_even_at_grace_zero(registry):
    await bound_pod(registry, finalizers=["x.io/hold"])
    await registry.delete("pods", "default", "p", DeleteOptions(grace_period_seconds=0))
    assert not await is_gone(registry, "pods", "default", "p")
    await registry.patch("pods", "default", "p", {"metadata": {"finalizers": None}}, PatchType.MERGE)
    assert await is_gone(registry, "pods", "default", "p")


async def test_finalizers_cannot_grow_while_deleting(registry):
    await registry.create("configmaps", config_map(metadata={"finalizers": ["x.io/a"]}))
    await registry.delete("configmaps", "default", "a")
    with pytest.raises(StatusError, match="no new finalizers"):
        await registry.patch(
            "configmaps", "default", "a", {"metadata": {"finalizers": ["x.io/a", "x.io/b"]}}, PatchType.MERGE
        )
    with pytest.raises(StatusError, match="object is being deleted"):
        await registry.create("configmaps", config_map())


@pytest.mark.parametrize(
    ("policy", "finalizer"), [(Propagation.FOREGROUND, "foregroundDeletion"), (Propagation.ORPHAN, "orphan")]
)
async def test_propagation_becomes_a_finalizer(registry, policy, finalizer):
    await registry.create("configmaps", config_map())
    lingering = await registry.delete("configmaps", "default", "a", DeleteOptions(propagation=policy))
    assert lingering["metadata"]["finalizers"] == [finalizer]
    assert lingering["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("wrong", [{"uid": "other"}, {"resource_version": "1"}])
async def test_preconditions_are_kept(registry, wrong):
    await registry.create("configmaps", config_map())
    with pytest.raises(StatusError) as caught:
        await registry.delete("configmaps", "default", "a", DeleteOptions(**wrong))
    assert caught.value.code == 409


async def test_a_dry_run_deletes_nothing(registry):
    await registry.create("configmaps", config_map())
    await registry.delete("configmaps", "default", "a", DeleteOptions(dry_run=True))
    assert not await is_gone(registry, "configmaps", "default", "a")
    written = await registry.write_create("configmaps", "default", config_map("b"), "v1", WriteOptions(dry_run=True))
    assert "resourceVersion" not in written.object["metadata"]
    assert await is_gone(registry, "configmaps", "default", "b")


async def test_the_versioned_door_answers_a_status_or_the_object_by_kind(registry):
    await registry.create("configmaps", config_map())
    await registry.create("pods", pod())
    status = await registry.remove("configmaps", "default", "a", DeleteOptions(), "v1")
    assert (status["kind"], status["status"], status["details"]["name"]) == ("Status", "Success", "a")
    assert (await registry.remove("pods", "default", "p", DeleteOptions(), "v1"))["kind"] == "Pod"


async def test_a_collection_is_deleted_by_selector(registry):
    for name in "abc":
        await registry.create("configmaps", config_map(name, metadata={"labels": {"app": name}}))
    answer = await registry.remove_collection("configmaps", "default", "app=b", "", DeleteOptions(), "v1")
    assert [i["metadata"]["name"] for i in answer["items"]] == ["b"]
    assert [i["metadata"]["name"] for i in (await registry.list("configmaps")).items] == ["a", "c"]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_system_namespaces_stay(registry, name):
    with pytest.raises(StatusError, match="this namespace may not be deleted"):
        await registry.delete("namespaces", "", name)


async def test_a_namespace_terminates_takes_nothing_new_and_goes_when_finalized_and_empty(registry):
    await registry.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    await registry.create("configmaps", config_map(namespace="n"))
    dying = await registry.delete("namespaces", "", "n")
    assert dying["status"]["phase"] == "Terminating"
    assert dying["spec"]["finalizers"] == ["kubernetes"]
    with pytest.raises(StatusError, match="because it is being terminated"):
        await registry.create("configmaps", config_map("b", namespace="n"))

    async def finalize():
        patch = {"spec": {"finalizers": []}}
        await registry.patch("namespaces", "", "n", patch, PatchType.MERGE, subresource="finalize")

    with pytest.raises(StatusError, match="not empty"):
        await finalize()
    await registry.delete("configmaps", "n", "a")
    await finalize()
    assert await is_gone(registry, "namespaces", "", "n")


def budget(**spec):
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, **spec},
    }


async def ready_pod(registry):
    made = await bound_pod(registry, labels={"app": "x"})
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return await registry.update_status("pods", {**made, "status": ready})


async def test_eviction_asks_the_budget_and_takes_from_it(registry):
    await ready_pod(registry)
    made = await registry.create("poddisruptionbudgets.policy", budget(maxUnavailable=1))
    healthy = {"currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, **healthy}
    made = await registry.update_status("poddisruptionbudgets.policy", {**made, "status": status})
    with pytest.raises(StatusError, match="would violate the pod's disruption budget") as caught:
        await registry.evict_pod("default", "p")
    assert caught.value.code == 429
    await registry.update_status("poddisruptionbudgets.policy", {**made, "status": {**status, "disruptionsAllowed": 1}})
    assert (await registry.evict_pod("default", "p"))["status"] == "Success"
    left = (await registry.get("poddisruptionbudgets.policy", "default", "b"))["status"]
    assert left["disruptionsAllowed"] == 0
    assert list(left["disruptedPods"]) == ["p"]
    assert (await registry.get("pods", "default", "p"))["metadata"]["deletionTimestamp"]


async def test_a_delete_that_meets_a_write_wins_or_waits(registry):
    await registry.create("configmaps", config_map())
    patches = [registry.patch("configmaps", "default", "a", {"data": {"k": str(i)}}, PatchType.MERGE) for i in range(5)]
    results = await asyncio.gather(*patches, registry.delete("configmaps", "default", "a"), return_exceptions=True)
    assert all(isinstance(r, dict) or r.code == 404 for r in results)
    assert await is_gone(registry, "configmaps", "default", "a")
