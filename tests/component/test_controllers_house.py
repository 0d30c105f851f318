"""All controllers together on the real registry: endpoints, claims, scheduling, garbage, namespaces, budgets."""

import asyncio
import contextlib
import shutil
from functools import partial

import pytest

from localset.client.client import DeleteOptions, Propagation
from localset.client.informer import InformerFactory
from localset.controllers.start import Controllers, ControllerSettings
from localset.machinery.errors import StatusError
from localset.registry.bootstrap import ensure_kubernetes

WAIT_SECONDS = 10
API = ("127.0.0.9", 443, ("127.0.0.1", 20000))
SLICES = "endpointslices.discovery.k8s.io"


class Directories:
    """VolumeDirectories on a real directory."""

    async def remove(self, path):
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(f".{path.name}.made").unlink(missing_ok=True)


class House:
    def __init__(self, client, informers, controllers):
        self.client = client
        self.controllers = controllers
        self.informers = informers

    async def until(self, resource, namespace, name, holds):
        """Return the object once `holds(object or None)`; woken by changes, never by time."""
        informer = self.informers.of(resource)
        await informer.start()
        changed = asyncio.Event()
        informer.add_handler(lambda *_: changed.set())
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds(obj := informer.get(namespace, name)):
                changed.clear()
                await changed.wait()
        return obj

    async def change_of(self, resource):
        """Return after the next change of any object of the resource."""
        changed = asyncio.Event()
        self.informers.of(resource).add_handler(lambda *_: changed.set())
        await changed.wait()


@pytest.fixture
def scheduling():
    return "relaxed"


@pytest.fixture
async def house(registry, clock, tmp_path, scheduling):
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here", "labels": {"kubernetes.io/hostname": "h"}}}
    made = await registry.create("nodes", node)
    resources = {"cpu": "2", "memory": "4Gi", "pods": "100"}
    status = {"capacity": resources, "allocatable": resources, "conditions": [{"type": "Ready", "status": "True"}]}
    await registry.update_status("nodes", {**made, "status": status})
    informers = InformerFactory(registry, clock)
    settings = ControllerSettings(tmp_path, partial(ensure_kubernetes, registry, *API), scheduling, "PEM")
    controllers = Controllers(registry, clock, informers, settings, Directories())
    await controllers.start()
    yield House(registry, informers, controllers)
    await controllers.aclose()
    await informers.aclose()


def a_pod(name, namespace="default", labels=None, spec=None, owners=None):
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    if owners:
        metadata["ownerReferences"] = owners
    container = {"name": "c", "image": "busybox", "ports": [{"name": "web", "containerPort": 8080}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **(spec or {})},
    }


async def make_ready(house, pod, address, *, is_ready=True):
    """Write the Pod's status once it is bound, as a kubelet would."""
    client, name = house.client, pod["metadata"]["name"]
    await house.until("pods", "default", name, lambda p: p and p["spec"].get("nodeName"))
    pod = await client.get("pods", "default", name)
    ready = {"type": "Ready", "status": "True" if is_ready else "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    others = [c for c in pod["status"].get("conditions", []) if c["type"] != "Ready"]
    status = {**pod["status"], "phase": "Running", "podIP": address, "conditions": [*others, ready]}
    return await client.update_status("pods", {**pod, "status": status})


def a_claim(name, **spec):
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": wanted,
    }


async def test_a_pod_moves_between_ready_and_not_ready_addresses_and_goes_with_its_service(house):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "zk", "namespace": "default"},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": "zk"},
            "ports": [{"name": "web", "port": 80, "targetPort": "web"}],
        },
    }
    await house.client.create("services", service)
    spec = {"hostname": "zk-0", "subdomain": "zk"}
    pod = await house.client.create("pods", a_pod("zk-0", labels={"app": "zk"}, spec=spec))
    await make_ready(house, pod, "127.1.2.3", is_ready=False)
    seen = await house.until("endpoints", "default", "zk", lambda e: e and e.get("subsets"))
    assert "addresses" not in seen["subsets"][0]
    assert seen["metadata"]["labels"] == {"service.kubernetes.io/headless": ""}
    await make_ready(house, pod, "127.1.2.3")
    seen = await house.until("endpoints", "default", "zk", lambda e: "addresses" in e["subsets"][0])
    subset = seen["subsets"][0]
    assert subset["ports"] == [{"name": "web", "port": 8080, "protocol": "TCP"}]
    assert subset["addresses"][0]["hostname"] == "zk-0"
    assert subset["addresses"][0]["ip"] == "127.1.2.3"
    label = {"label_selector": "kubernetes.io/service-name=zk"}
    async with asyncio.timeout(WAIT_SECONDS):
        while not (slices := (await house.client.list(SLICES, "default", **label)).items):
            await house.change_of(SLICES)
    assert slices[0]["endpoints"][0]["conditions"] == {"ready": True, "serving": True, "terminating": False}
    await house.client.delete("services", "default", "zk")
    await house.until("endpoints", "default", "zk", lambda e: e is None)
    await house.until(SLICES, "default", slices[0]["metadata"]["name"], lambda e: e is None)


async def test_a_claim_is_provisioned_held_by_its_pod_and_its_directory_ends_with_it(house, tmp_path):
    await house.client.create("persistentvolumeclaims", a_claim("data"))
    claim = await house.until(
        "persistentvolumeclaims", "default", "data", lambda c: c and c["status"]["phase"] == "Bound"
    )
    volume = await house.client.get("persistentvolumes", "", claim["spec"]["volumeName"])
    assert volume["status"]["phase"] == "Bound"
    assert claim["status"]["capacity"] == {"storage": "1Gi"}
    directory = tmp_path / "default" / f"data-{claim['metadata']['uid'][:8]}"
    assert volume["spec"]["hostPath"]["path"] == str(directory)
    directory.mkdir(parents=True)
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    await house.client.create("pods", a_pod("user", spec={"volumes": volumes}))
    await house.client.delete("persistentvolumeclaims", "default", "data")
    await house.until("persistentvolumeclaims", "default", "data", lambda c: "deletionTimestamp" in c["metadata"])
    assert directory.exists()
    await house.client.delete("pods", "default", "user", DeleteOptions(grace_period_seconds=0))
    await house.until("persistentvolumeclaims", "default", "data", lambda c: c is None)
    await house.until("persistentvolumes", "", volume["metadata"]["name"], lambda v: v is None)
    assert not directory.exists()


async def test_a_retained_volume_is_released_and_kept(house):
    await house.client.create("persistentvolumeclaims", a_claim("kept", storageClassName="retain"))
    claim = await house.until(
        "persistentvolumeclaims", "default", "kept", lambda c: c and c["status"]["phase"] == "Bound"
    )
    await house.client.delete("persistentvolumeclaims", "default", "kept")
    name = claim["spec"]["volumeName"]
    await house.until("persistentvolumes", "", name, lambda v: v["status"]["phase"] == "Released")


async def test_a_claim_of_an_unknown_class_stays_pending_with_an_event(house):
    await house.client.create("persistentvolumeclaims", a_claim("odd", storageClassName="fast"))
    informer = house.informers.of("events")
    await informer.start()
    found = asyncio.Event()
    wanted = 'storageclass.storage.k8s.io "fast" not found'
    informer.add_handler(lambda _, e: found.set() if e and wanted in e["message"] else None)
    async with asyncio.timeout(WAIT_SECONDS):
        await found.wait()
    claim = await house.client.get("persistentvolumeclaims", "default", "odd")
    assert claim["status"]["phase"] == "Pending"


async def test_a_claim_binds_the_smallest_volume_that_fits(house):
    for name, size in (("small", "1Mi"), ("fits", "2Gi"), ("huge", "9Gi")):
        spec = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/srv/{name}"},
            "storageClassName": "mine",
        }
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
        await house.client.create("persistentvolumes", volume)
        await house.until("persistentvolumes", "", name, lambda v: v and v["status"].get("phase") == "Available")
    await house.client.create("persistentvolumeclaims", a_claim("data", storageClassName="mine"))
    claim = await house.until(
        "persistentvolumeclaims", "default", "data", lambda c: c and c["status"]["phase"] == "Bound"
    )
    assert claim["spec"]["volumeName"] == "fits"


async def test_relaxed_scheduling_binds_whatever_is_requested(house):
    spec = {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "64"}}}]}
    await house.client.create("pods", a_pod("big", spec=spec))
    await house.until("pods", "default", "big", lambda p: p and p["spec"].get("nodeName") == "here")


@pytest.mark.parametrize("scheduling", ["strict"])
async def test_strict_scheduling_says_what_is_missing_and_binds_once_there_is_room(house):
    def asking(cpu):
        return {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}]}

    await house.client.create("pods", a_pod("first", spec=asking("1500m")))
    await house.until("pods", "default", "first", lambda p: p and p["spec"].get("nodeName"))
    await house.client.create("pods", a_pod("second", spec=asking("1")))
    pod = await house.until("pods", "default", "second", lambda p: p and p["status"].get("conditions"))
    assert pod["status"]["conditions"][0]["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    await house.client.delete("pods", "default", "first", DeleteOptions(grace_period_seconds=0))
    await house.until("pods", "default", "second", lambda p: p["spec"].get("nodeName") == "here")


async def test_dependents_go_in_the_background_wait_in_the_foreground_and_are_set_free_as_orphans(house):
    for mode in Propagation:
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": "default"}}
        owner = await house.client.create("configmaps", config_map)
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "owner",
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        metadata = {"name": "owned", "namespace": "default", "ownerReferences": [reference]}
        await house.client.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        await house.client.delete("configmaps", "default", "owner", DeleteOptions(propagation=mode))
        await house.until("configmaps", "default", "owner", lambda o: o is None)
        if mode is Propagation.ORPHAN:
            await house.until("secrets", "default", "owned", lambda s: "ownerReferences" not in s["metadata"])
            await house.client.delete("secrets", "default", "owned")
        await house.until("secrets", "default", "owned", lambda s: s is None)


async def test_a_namespace_gets_its_account_and_ends_with_all_that_is_in_it(house):
    await house.client.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    await house.until("serviceaccounts", "team", "default", lambda a: a is not None)
    published = await house.until("configmaps", "team", "kube-root-ca.crt", lambda c: c is not None)
    assert published["data"] == {"ca.crt": "PEM"}
    await house.client.create("pods", a_pod("p", "team"))
    await house.until("pods", "team", "p", lambda p: p and p["spec"].get("nodeName"))
    await house.client.delete("namespaces", "", "team")
    await house.until("pods", "team", "p", lambda p: "deletionTimestamp" in p["metadata"])
    await house.client.delete("pods", "team", "p", DeleteOptions(grace_period_seconds=0))
    await house.until("namespaces", "", "team", lambda n: n is None)
    with pytest.raises(StatusError):
        await house.client.get("configmaps", "team", "kube-root-ca.crt")


async def test_a_budget_allows_what_its_ready_pods_leave_over(house):
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    metadata = {"name": "b", "namespace": "default"}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
    await house.client.create("poddisruptionbudgets.policy", budget)
    for number in range(2):
        pod = await house.client.create("pods", a_pod(f"x-{number}", labels={"app": "x"}))
        await make_ready(house, pod, f"127.1.1.{number + 1}")
    seen = await house.until(
        "poddisruptionbudgets.policy", "default", "b", lambda b: b and b["status"].get("currentHealthy") == 2
    )
    assert seen["status"]["disruptionsAllowed"] == 1
    assert seen["status"]["expectedPods"] == 2


async def test_paused_controllers_begin_nothing_while_claims_are_still_bound(house):
    await house.controllers.pause()
    await house.client.create("pods", a_pod("late"))
    await house.client.create("persistentvolumeclaims", a_claim("data"))
    await house.until("persistentvolumeclaims", "default", "data", lambda c: c and c["status"]["phase"] == "Bound")
    assert not (await house.client.get("pods", "default", "late"))["spec"].get("nodeName")


async def test_the_service_of_the_api_comes_back_when_it_is_deleted(house):
    await ensure_kubernetes(house.client, *API)
    old = set()
    for resource in ("services", "endpoints", SLICES):
        old.add((await house.client.get(resource, "default", "kubernetes"))["metadata"]["uid"])
        with contextlib.suppress(StatusError):  # the endpoints may have followed their Service
            await house.client.delete(resource, "default", "kubernetes")
    for resource in ("services", "endpoints", SLICES):
        await house.until(resource, "default", "kubernetes", lambda o: o and o["metadata"]["uid"] not in old)
