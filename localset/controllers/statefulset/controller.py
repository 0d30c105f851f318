"""The hands of the StatefulSet controller: snapshot, plan, perform, write the status, prune.

Started by `controllers.start`. One sync per set at a time. After every own write the sync waits until the caches have
seen it, so that the next plan starts from what was really done. Follows Kubernetes' pkg/controller/statefulset.
"""

import asyncio
import logging
from collections.abc import Iterable

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, PatchType
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.statefulset.hands import Hands
from localset.controllers.statefulset.history import History
from localset.controllers.statefulset.identity import (
    KIND,
    PodFacts,
    claim_name,
    claim_templates,
    facts_of,
    is_member,
    parse_pod_name,
)
from localset.controllers.statefulset.plan import Plan, Snapshot, plan
from localset.controllers.statefulset.status import is_change
from localset.machinery.errors import StatusError
from localset.machinery.labels import Selector, selector_of
from localset.machinery.metadata import (
    Key,
    Object,
    controller_of,
    is_being_deleted,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    split_key,
    uid_of,
    version_of,
)

log = logging.getLogger(__name__)

WORKERS = 5
STATUS_ATTEMPTS = 5
SETS = "statefulsets.apps"


class StatefulSetController:
    """Keeps every StatefulSet's Pods, claims, revisions and status as the plan says."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._clock = clock
        self._events = EventRecorder(client, clock, "statefulset-controller")
        self._sets = informers.of(SETS)
        self._pods = informers.of("pods")
        self._claims = informers.of("persistentvolumeclaims")
        self._revisions = informers.of("controllerrevisions.apps")
        self._pods.add_index("controller", index_by_controller)
        self._pods.add_index("orphan", index_orphans_by_set)
        self._revisions.add_index("owner", index_by_owner_or_namespace)
        self._hands = Hands(client, self._pods, self._claims, self._events)
        self._history = History(client, self._revisions)
        self._queue: WorkQueue[Key] = WorkQueue("statefulset", clock)
        self._tasks = Tasks("statefulset controller")
        self._facts: dict[str, tuple[str, PodFacts]] = {}

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        informers = (self._sets, self._pods, self._claims, self._revisions)
        await asyncio.gather(*(informer.start() for informer in informers))
        self._sets.add_handler(self._on_set)
        self._pods.add_handler(self._on_pod)
        self._claims.add_handler(self._on_claim)
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop; a sync under way is cut between two writes, and the next start goes on from there."""
        await self._tasks.aclose()
        await self._queue.aclose()
        await self._events.aclose()

    # -- what wakes a sync --------------------------------------------------------------------------------------------

    def _on_set(self, old: Object | None, new: Object | None) -> None:
        self._queue.add(key_of(new or old or {}))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self._facts.pop(uid_of(old), None)
        for pod in (old, new):
            if pod is None:
                continue
            owner = controller_of(pod)
            # NB: an orphan wakes the set of its name: it may be waiting to adopt it, or for the name to be free.
            name = parse_pod_name(name_of(pod))[0] if owner is None else owner["name"]
            if name and (owner is None or owner.get("kind") == KIND):
                found = self._sets.get(namespace_of(pod), name)
                if found is not None and (owner is None or owner.get("uid") == uid_of(found)):
                    self._queue.add(key_of(found))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        """A claim that has gone may be what a Pod's creation waits for (or what a pending Pod has lost)."""
        if old is None or new is not None:
            return
        name = name_of(old)
        for owner in self._sets.list(namespace_of(old)):
            if any(name.startswith(f"{name_of(t)}-{name_of(owner)}-") for t in claim_templates(owner)):
                self._queue.add(key_of(owner))

    # -- one sync -----------------------------------------------------------------------------------------------------

    async def _sync(self, key: Key) -> None:
        owner = self._sets.get(*split_key(key))
        if owner is None:
            return
        selector = selector_of(owner["spec"].get("selector"))
        if selector.is_empty:
            log.warning("%s has an empty selector; left alone", key)
            return
        live = _LiveCheck(self._client, owner)
        revisions = await self._history.claim(owner, selector, live)
        pods = await self._claim_pods(owner, selector, live)
        try:
            current, update, collisions = await self._history.choose(owner, revisions)
            snapshot = Snapshot(owner, pods, self._claims_of(owner, pods), current, update, self._clock.now())
            result = plan(snapshot)
            try:
                await self._hands.perform(owner, result.steps)
            finally:
                await self._write_status(owner, result, collisions)
            if result.again_in_seconds is not None:
                self._queue.add_after(key, result.again_in_seconds)
        finally:
            await self._history.prune(owner, {facts.revision for facts in pods})

    def _facts_of(self, pod: Object, owner: Object) -> PodFacts:
        known = self._facts.get(uid_of(pod))
        if known is not None and known[0] == version_of(pod):
            return known[1]
        facts = facts_of(pod, owner)
        self._facts[uid_of(pod)] = (version_of(pod), facts)
        return facts

    async def _claim_pods(self, owner: Object, selector: Selector, live: "_LiveCheck") -> list[PodFacts]:
        claimed: list[PodFacts] = []
        for pod in self._pods.by_index("controller", uid_of(owner)):
            if is_member(pod, owner) and selector.matches(labels_of(pod)):
                claimed.append(self._facts_of(pod, owner))
            elif not is_being_deleted(owner):
                await self._release(owner, pod)
        for pod in self._pods.by_index("orphan", f"{namespace_of(owner)}/{name_of(owner)}"):
            if is_being_deleted(pod) or is_being_deleted(owner) or not selector.matches(labels_of(pod)):
                continue
            if await live.allows_adoption():
                adopted = await self._adopt(owner, pod)
                if adopted is not None:
                    claimed.append(self._facts_of(adopted, owner))
        return claimed

    async def _adopt(self, owner: Object, pod: Object) -> Object | None:
        reference = owner_reference(owner, "apps/v1", KIND)
        patch = {"metadata": {"uid": uid_of(pod), "ownerReferences": [reference]}}
        try:
            adopted = await self._client.patch("pods", namespace_of(pod), name_of(pod), patch, PatchType.STRATEGIC)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        await self._pods.wait_until_seen(version_of(adopted))
        return adopted

    async def _release(self, owner: Object, pod: Object) -> None:
        reference = {"$patch": "delete", "uid": uid_of(owner)}
        patch = {"metadata": {"uid": uid_of(pod), "ownerReferences": [reference]}}
        try:
            released = await self._client.patch("pods", namespace_of(pod), name_of(pod), patch, PatchType.STRATEGIC)
        except StatusError as error:
            if error.code in {404, 422}:
                return
            raise
        await self._pods.wait_until_seen(version_of(released))

    def _claims_of(self, owner: Object, pods: list[PodFacts]) -> dict[str, Object]:
        templates = claim_templates(owner)
        if not templates:
            return {}
        start = int((owner["spec"].get("ordinals") or {}).get("start") or 0)
        ordinals = {facts.ordinal for facts in pods} | set(range(start, start + int(owner["spec"].get("replicas", 1))))
        found: dict[str, Object] = {}
        for ordinal in ordinals:
            for template in templates:
                name = claim_name(template, name_of(owner), ordinal)
                claim = self._claims.get(namespace_of(owner), name)
                if claim is not None:
                    found[name] = claim
        return found

    async def _write_status(self, owner: Object, result: Plan, collisions: int) -> None:
        """Write what differs, and only then. A conflict is tried again on the fresh object with the same counters."""
        if not is_change(owner.get("status") or {}, result.status):
            return
        for attempt in range(STATUS_ATTEMPTS):
            # Conditions are clients' business (semantics 7): they stay as they are.
            status = {**(owner.get("status") or {}), **result.status, "collisionCount": collisions}
            changed = {**owner, "status": status}
            try:
                written = await self._client.update_status(SETS, changed)
            except StatusError as error:
                if error.code == 404:
                    return
                if error.code != 409 or attempt == STATUS_ATTEMPTS - 1:
                    raise
                fresh = await self._client.get(SETS, namespace_of(owner), name_of(owner))
                if uid_of(fresh) != uid_of(owner):
                    return
                owner = fresh
            else:
                await self._sets.wait_until_seen(version_of(written))
                return


class _LiveCheck:
    """Asks the store itself, once per sync, whether the set may adopt: the same uid, and not being deleted."""

    def __init__(self, client: Client, owner: Object) -> None:
        self._client = client
        self._owner = owner
        self._answer: bool | None = None

    async def allows_adoption(self) -> bool:
        if self._answer is None:
            try:
                fresh = await self._client.get(SETS, namespace_of(self._owner), name_of(self._owner))
            except StatusError as error:
                if error.code != 404:
                    raise
                self._answer = False
            else:
                self._answer = uid_of(fresh) == uid_of(self._owner) and not is_being_deleted(fresh)
        return self._answer


def index_by_controller(pod: Object) -> Iterable[str]:
    """Index Pods by the uid of what controls them."""
    owner = controller_of(pod)
    if owner is not None:
        yield str(owner.get("uid"))


def index_orphans_by_set(pod: Object) -> Iterable[str]:
    """Index Pods that nothing controls by the set that their name speaks of."""
    if controller_of(pod) is None:
        parent = parse_pod_name(name_of(pod))[0]
        if parent:
            yield f"{namespace_of(pod)}/{parent}"


def index_by_owner_or_namespace(revision: Object) -> Iterable[str]:
    """Index revisions by the uid of what controls them; orphans by `namespace/`."""
    owner = controller_of(revision)
    yield str(owner.get("uid")) if owner is not None else f"{namespace_of(revision)}/"
