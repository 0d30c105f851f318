"""The StatefulSet controller on the real registry; a fake kubelet makes Pods Ready and lets deleted ones go."""

import asyncio

import pytest

from localset.base.clock import rfc3339
from localset.base.tasks import Tasks
from localset.client.client import DeleteOptions, PatchType, Propagation, WatchType
from localset.client.informer import InformerFactory
from localset.controllers.statefulset.controller import StatefulSetController
from localset.controllers.statefulset.resting import REST_SECONDS
from localset.machinery.errors import StatusError
from localset.machinery.metadata import controller_of, copy_of, is_being_deleted, labels_of, name_of, uid_of

SETS = "statefulsets.apps"
REVISIONS = "controllerrevisions.apps"
IMMEDIATELY = DeleteOptions(grace_period_seconds=0)


def make_set(name="web", replicas=3, image="A", **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "OrderedReady",
            "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "restartPolicy": "Always",
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{"name": "c", "image": image}],
                },
            },
            **spec,
        },
    }


CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


class FakeKubelet:
    """Binds Pods, makes those whose image is not in `broken` Ready, ends deleted ones; keeps the order of events."""

    def __init__(self, client, clock):
        self.client = client
        self.clock = clock
        self.broken = set()
        self.told = []
        self.holds = False
        self.tasks = Tasks("fake kubelet")

    async def run(self):
        async for event in self.client.watch("pods", "default", resource_version="0"):
            name = name_of(event.object)
            if event.type is WatchType.DELETED:
                self.told.append(f"-{name}")
            elif event.type is WatchType.ADDED:
                self.told.append(f"+{name}")
            if event.type is not WatchType.DELETED and not self.holds:
                await self.tend(event.object)

    async def tend(self, pod):
        try:
            if is_being_deleted(pod):
                await self.client.delete("pods", "default", name_of(pod), DeleteOptions(0, uid=uid_of(pod)))
            elif not pod["spec"].get("nodeName"):
                await self.client.bind_pod("default", name_of(pod), "here")
            elif (pod.get("status") or {}).get("phase") != "Running":
                await self.set_ready(name_of(pod), is_ready=pod["spec"]["containers"][0]["image"] not in self.broken)
        except StatusError as error:
            if error.code not in {404, 409}:
                raise

    async def set_ready(self, name, *, is_ready):
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(is_ready), "lastTransitionTime": rfc3339(self.clock.now())}],
        }
        await self.client.patch("pods", "default", name, {"status": status}, PatchType.MERGE, subresource="status")


@pytest.fixture
async def informers(registry, clock):
    made = InformerFactory(registry, clock)
    yield made
    await made.aclose()


@pytest.fixture
async def controller(registry, clock, informers):
    made = StatefulSetController(registry, clock, informers)
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def kubelet(registry, clock):
    made = FakeKubelet(registry, clock)
    made.tasks.spawn(made.run(), "run")
    yield made
    await made.tasks.aclose()


async def wait_for(registry, condition, what="", resource=SETS, seconds=10):
    """Watch `resource` until `condition(list of objects)` holds; return the list."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await registry.list(resource, "default")
            if condition(answer.items):
                return answer.items
            async for _ in registry.watch(resource, "default", resource_version=answer.resource_version):
                break


def is_complete(name="web", replicas=3):
    def holds(sets):
        for obj in sets:
            status = obj.get("status") or {}
            if name_of(obj) == name and status.get("observedGeneration") == obj["metadata"]["generation"]:
                counters = [status.get(k) or 0 for k in ("replicas", "readyReplicas", "updatedReplicas")]
                return counters == [replicas] * 3 and status["currentRevision"] == status["updateRevision"]
        return False

    return holds


async def patch(registry, **spec):
    return await registry.patch(SETS, "default", "web", {"spec": spec}, PatchType.MERGE)


async def test_pods_come_in_order_with_identity_claims_and_events(registry, controller, kubelet):
    await registry.create(SETS, make_set(volumeClaimTemplates=[CLAIM]))
    await wait_for(registry, is_complete())
    assert kubelet.told == ["+web-0", "+web-1", "+web-2"]
    pod = await registry.get("pods", "default", "web-1")
    status = (await registry.get(SETS, "default", "web"))["status"]
    assert labels_of(pod) == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "1",
        "statefulset.kubernetes.io/pod-name": "web-1",
        "controller-revision-hash": status["updateRevision"],
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-1", "web")
    assert controller_of(pod)["name"] == "web"
    claims = (await registry.list("persistentvolumeclaims", "default")).items
    assert [name_of(c) for c in claims] == ["data-web-0", "data-web-1", "data-web-2"]
    assert status["collisionCount"] == 0
    assert status["availableReplicas"] == 3
    events = await wait_for(registry, lambda found: len(found) >= 6, resource="events")
    messages = {(e["reason"], e["message"]) for e in events}
    assert ("SuccessfulCreate", "create Pod web-0 in StatefulSet web successful") in messages
    assert ("SuccessfulCreate", "create Claim data-web-0 Pod web-0 in StatefulSet web success") in messages


async def test_a_new_template_rolls_from_the_top_and_a_return_reuses_the_revision(registry, controller, kubelet):
    await registry.create(SETS, make_set())
    await wait_for(registry, is_complete())
    first = (await registry.get(SETS, "default", "web"))["status"]["currentRevision"]
    kubelet.told.clear()
    template = copy_of(make_set(image="B")["spec"]["template"])
    await patch(registry, template=template)
    await wait_for(registry, is_complete())
    assert kubelet.told == ["-web-2", "+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]
    pods = (await registry.list("pods", "default")).items
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"B"}
    await patch(registry, template=make_set(image="A")["spec"]["template"])
    await wait_for(registry, is_complete())
    assert (await registry.get(SETS, "default", "web"))["status"]["currentRevision"] == first
    revisions = (await registry.list(REVISIONS, "default")).items
    assert {name_of(r): r["revision"] for r in revisions}[first] == 3
    assert len(revisions) == 2


async def test_a_rollout_without_rolling_update_object_ends_at_the_new_template(registry, controller, kubelet):
    await registry.create(SETS, make_set(updateStrategy={"type": "RollingUpdate"}))
    await wait_for(registry, is_complete())
    await patch(registry, template=make_set(image="B")["spec"]["template"])
    await wait_for(registry, is_complete())
    pods = (await registry.list("pods", "default")).items
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"B"}


async def test_scaling_down_takes_the_highest_and_keeps_the_claims(registry, controller, kubelet):
    await registry.create(SETS, make_set(volumeClaimTemplates=[CLAIM]))
    await wait_for(registry, is_complete())
    kubelet.told.clear()
    await patch(registry, replicas=0)
    await wait_for(registry, is_complete(replicas=0))
    assert kubelet.told == ["-web-2", "-web-1", "-web-0"]
    assert len((await registry.list("persistentvolumeclaims", "default")).items) == 3


async def test_a_parallel_set_starts_everything_at_once(registry, controller, kubelet):
    kubelet.broken.add("A")
    await registry.create(SETS, make_set(replicas=5, podManagementPolicy="Parallel"))
    pods = await wait_for(registry, lambda found: len(found) == 5, resource="pods")
    assert [name_of(p) for p in pods] == [f"web-{i}" for i in range(5)]


async def test_history_is_pruned_to_its_limit(registry, controller, kubelet):
    await registry.create(SETS, make_set(replicas=1, revisionHistoryLimit=1))
    await wait_for(registry, is_complete(replicas=1))
    for image in "BCDE":
        await patch(registry, template=make_set(image=image)["spec"]["template"])
        await wait_for(registry, is_complete(replicas=1))
    revisions = await wait_for(registry, lambda found: len(found) <= 2, resource=REVISIONS)
    assert sorted(r["revision"] for r in revisions) == [4, 5]


async def test_an_orphan_is_adopted_and_a_relabelled_pod_released(registry, controller, kubelet):
    await registry.create(SETS, make_set(replicas=1))
    await wait_for(registry, is_complete(replicas=1))
    orphan = copy_of(await registry.get("pods", "default", "web-0"))
    orphan["metadata"].pop("ownerReferences")
    await registry.update("pods", orphan)
    await wait_for(registry, lambda found: controller_of(found[0]) is not None, resource="pods")
    stray = {"metadata": {"labels": {"app": "other"}}}
    await registry.patch("pods", "default", "web-0", stray, PatchType.MERGE)
    await wait_for(registry, lambda found: controller_of(found[0]) is None, resource="pods")
    await registry.patch("pods", "default", "web-0", {"metadata": {"labels": {"app": "web"}}}, PatchType.MERGE)
    await wait_for(registry, lambda found: controller_of(found[0]) is not None, resource="pods")
    await wait_for(registry, is_complete(replicas=1))


async def test_a_claim_that_goes_wakes_the_pod_that_waits_for_it(registry, controller, kubelet):
    await registry.create(SETS, make_set(replicas=1, volumeClaimTemplates=[CLAIM]))
    await wait_for(registry, is_complete(replicas=1))
    old = await registry.get("persistentvolumeclaims", "default", "data-web-0")
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    await registry.patch("persistentvolumeclaims", "default", "data-web-0", held, PatchType.MERGE)
    await registry.delete("persistentvolumeclaims", "default", "data-web-0")
    await registry.delete("pods", "default", "web-0", IMMEDIATELY)
    await wait_for(
        registry,
        lambda found: any("pvc data-web-0 is being deleted" in e["message"] for e in found),
        resource="events",
    )
    let_go = {"metadata": {"finalizers": None}}
    await registry.patch("persistentvolumeclaims", "default", "data-web-0", let_go, PatchType.MERGE)
    await wait_for(registry, lambda found: len(found) == 1, resource="pods")
    assert uid_of(await registry.get("persistentvolumeclaims", "default", "data-web-0")) != uid_of(old)


async def test_who_waits_for_the_end_of_a_pod_sees_its_name_free(registry, controller, kubelet):
    await registry.create(SETS, make_set(replicas=1))
    await wait_for(registry, is_complete(replicas=1))
    begun = asyncio.get_running_loop().time()
    await registry.delete("pods", "default", "web-0", IMMEDIATELY)
    await wait_for(registry, is_complete(replicas=1), resource=SETS)
    await wait_for(registry, lambda found: len(found) == 1, resource="pods")
    assert asyncio.get_running_loop().time() - begun >= REST_SECONDS / 2


async def test_a_pod_must_be_ready_for_a_while_before_the_next_one(registry, controller, kubelet):
    await registry.create(SETS, make_set(replicas=2, minReadySeconds=1))
    await wait_for(registry, lambda found: (found[0].get("status") or {}).get("availableReplicas") == 2)
    assert kubelet.told == ["+web-0", "+web-1"]


async def test_nothing_is_written_when_nothing_changes(registry, controller, kubelet, informers):
    await registry.create(SETS, make_set())
    await wait_for(registry, is_complete())
    before = (await registry.list(SETS, "default")).items, (await registry.list("pods", "default")).items
    poke = {"metadata": {"annotations": {"poke": "1"}}}
    poked = await registry.patch(SETS, "default", "web", poke, PatchType.MERGE)
    await informers.of(SETS).wait_until_seen(poked["metadata"]["resourceVersion"])
    async with asyncio.timeout(5):
        while not controller.is_idle:  # noqa: ASYNC110 - the queue has no event for being idle
            await asyncio.sleep(0)
    assert await registry.get(SETS, "default", "web") == poked
    assert (await registry.list("pods", "default")).items == before[1]


async def test_an_orphaned_set_leaves_pods_that_its_successor_adopts_untouched(registry, controller, kubelet):
    await registry.create(SETS, make_set(replicas=1))
    await wait_for(registry, is_complete(replicas=1))
    pod = await registry.get("pods", "default", "web-0")
    await registry.delete(SETS, "default", "web", DeleteOptions(propagation=Propagation.ORPHAN))
    # The garbage collector's part, by hand.
    for resource in ("pods", REVISIONS):
        for obj in (await registry.list(resource, "default")).items:
            orphan = copy_of(obj)
            orphan["metadata"].pop("ownerReferences")
            await registry.update(resource, orphan)
    dying = copy_of(await registry.get(SETS, "default", "web"))
    dying["metadata"]["finalizers"] = []
    await registry.update(SETS, dying)
    await registry.create(SETS, make_set(replicas=1))
    await wait_for(registry, is_complete(replicas=1))
    kept = await registry.get("pods", "default", "web-0")
    owner = await registry.get(SETS, "default", "web")
    assert uid_of(kept) == uid_of(pod)
    assert controller_of(kept)["uid"] == uid_of(owner)
    assert [controller_of(r)["uid"] for r in (await registry.list(REVISIONS, "default")).items] == [uid_of(owner)]
