"""The StatefulSet controller: watches, queues and acts; `plan` decides (semantics 2).

Started by daemon. Five workers, one sync per set at a time, and a sync ends only when the caches have seen what it
wrote, so that the next one never acts on a stale copy. Nothing is remembered between syncs but derived facts: a lost
event costs time, never correctness. It must never look at processes, and never delete a claim.
"""

import logging

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.statefulset import status as counting
from localset.controllers.statefulset.acting import CLAIMS, PODS, Actor
from localset.controllers.statefulset.claiming import SETS, Claimer
from localset.controllers.statefulset.history import REVISIONS, History, prune, settle
from localset.controllers.statefulset.identity import (
    KIND,
    PodFacts,
    claim_name,
    claim_templates,
    facts_of,
    is_member,
    parse_pod_name,
    replicas_of,
    start_of,
)
from localset.controllers.statefulset.own_writes import OwnWrites
from localset.controllers.statefulset.plan import Plan, Snapshot, plan
from localset.controllers.statefulset.resting import RestingNames
from localset.machinery.errors import StatusError
from localset.machinery.labels import Selector, selector_of
from localset.machinery.metadata import (
    Key,
    Object,
    controller_of,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
)

log = logging.getLogger(__name__)

WORKERS = 5
STATUS_ATTEMPTS = 5
BY_CONTROLLER = "statefulset/controller"
_OMITTED_WHEN_ZERO = ("readyReplicas", "currentReplicas", "updatedReplicas")


class StatefulSetController:
    """Turns StatefulSets into Pods, claims and revisions."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Make a controller that reads from `informers`, shared with other controllers; `start` starts it."""
        self._client = client
        self._clock = clock
        self._informers = informers
        self._sets = informers.of(SETS)
        self._pods = informers.of(PODS)
        self._claims = informers.of(CLAIMS)
        self._revisions = informers.of(REVISIONS)
        self._events = EventRecorder(client, clock, "statefulset-controller")
        self._queue: WorkQueue[Key] = WorkQueue("statefulset", clock)
        self._tasks = Tasks("statefulset controller")
        self._resting = RestingNames(clock)
        self._facts: dict[str, tuple[str, str, PodFacts]] = {}

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        for informer in (self._pods, self._revisions):
            informer.add_index(BY_CONTROLLER, _controller_key)
        self._sets.add_handler(self._on_set)
        self._pods.add_handler(self._on_pod)
        self._claims.add_handler(self._on_claim)
        for informer in (self._sets, self._pods, self._claims, self._revisions):
            await informer.start()
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop the workers and write the waiting events; the informers belong to whoever made them."""
        await self._tasks.aclose()
        await self._queue.aclose()
        await self._events.aclose()

    @property
    def is_idle(self) -> bool:
        """Tell whether no set waits or is worked on (back-off and timers aside)."""
        return self._queue.is_idle

    # -- triggers -----------------------------------------------------------------------------------------------------

    def _on_set(self, old: Object | None, new: Object | None) -> None:
        self._queue.add(key_of(_either(old, new)))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        for obj in (old, new):
            key = _set_key(obj)
            if key is not None:
                self._queue.add(key)
        pod = _either(old, new)
        if new is None:
            self._facts.pop(uid_of(pod), None)
        if controller_of(pod) is not None:
            if new is None and _set_key(pod) is not None:
                self._resting.note_gone(pod)
            return
        # An orphan may be for adoption; one that goes may have held the name that a set wants.
        owner = self._sets.get(namespace_of(pod), parse_pod_name(name_of(pod))[0])
        selector = _selector_or_none(owner) if owner is not None else None
        if owner is not None and selector is not None and (new is None or selector.matches(labels_of(new))):
            self._queue.add(key_of(owner))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        # A claim that is gone may be what a Pod waits for: its successor has to be made first.
        if old is None or new is not None:
            return
        parent, ordinal = parse_pod_name(name_of(old))
        for owner in self._sets.list(namespace_of(old)):
            if ordinal >= 0 and any(f"{name_of(t)}-{name_of(owner)}" == parent for t in claim_templates(owner)):
                self._queue.add(key_of(owner))

    # -- one sync -----------------------------------------------------------------------------------------------------

    async def _sync(self, key: Key) -> None:
        owner = self._sets.get(*split_key(key))
        if owner is None:
            return
        selector = _selector_or_none(owner)
        if selector is None:
            log.error("StatefulSet %s has a selector that cannot be understood; it is left alone", key)
            return
        own = OwnWrites()
        try:
            await self._sync_set(key, owner, selector, own)
        finally:
            await own.are_seen(self._informers)

    async def _sync_set(self, key: Key, owner: Object, selector: Selector, own: OwnWrites) -> None:
        claimer = Claimer(self._client, own, owner, selector)
        ours, orphans = f"uid {uid_of(owner)}", f"orphans of {namespace_of(owner)}"
        owned = await claimer.revisions(
            [*self._revisions.by_index(BY_CONTROLLER, ours), *self._revisions.by_index(BY_CONTROLLER, orphans)]
        )
        pods, candidates = self._known_of(self._pods.by_index(BY_CONTROLLER, ours), owner)
        candidates += [pod for pod in self._pods.by_index(BY_CONTROLLER, orphans) if is_member(pod, owner)]
        pods += [self._facts_of(pod, owner) for pod in await claimer.pods(candidates)]
        history = await settle(self._client, own, owner, owned)
        resting = self._resting.of(namespace_of(owner))
        claims, now = self._claims_of(owner, pods), self._clock.now()
        decided = plan(Snapshot(owner, pods, claims, history.current, history.update, now, resting))
        try:
            error = await Actor(self._client, self._events, own, owner, self._resting).perform(decided)
            await self._write_status(owner, decided, history, own)
        finally:
            await prune(self._client, own, owner, history, pods)
        if error is not None:
            raise error
        if decided.again_in_seconds is not None:
            self._queue.add_after(key, decided.again_in_seconds)

    def _known_of(self, pods: list[Object], owner: Object) -> tuple[list[PodFacts], list[Object]]:
        """Return what is known of Pods that an earlier sync has claimed for `owner`, and the Pods that are new to it.

        A set's selector never changes, so a Pod that has not changed since then is still its own.
        """
        known: list[PodFacts] = []
        others: list[Object] = []
        uid, held = uid_of(owner), self._facts
        for pod in pods:
            metadata = pod["metadata"]
            facts = held.get(metadata["uid"])
            if facts is not None and facts[0] == metadata["resourceVersion"] and facts[1] == uid:
                known.append(facts[2])
            else:
                others.append(pod)
        return known, others

    def _facts_of(self, pod: Object, owner: Object) -> PodFacts:
        known = self._facts.get(uid_of(pod))
        if known is not None and known[:2] == (version_of(pod), uid_of(owner)):
            return known[2]
        facts = facts_of(pod, owner)
        if self._pods.get(namespace_of(pod), name_of(pod)) is pod:
            self._facts[uid_of(pod)] = (version_of(pod), uid_of(owner), facts)
        return facts

    def _claims_of(self, owner: Object, pods: list[PodFacts]) -> dict[str, Object]:
        templates = claim_templates(owner)
        if not templates:
            return {}
        ordinals = {facts.ordinal for facts in pods} | set(range(start_of(owner), start_of(owner) + replicas_of(owner)))
        names = (claim_name(template, name_of(owner), ordinal) for ordinal in ordinals for template in templates)
        found = ((name, self._claims.get(namespace_of(owner), name)) for name in names)
        return {name: claim for name, claim in found if claim is not None}

    async def _write_status(self, owner: Object, decided: Plan, history: History, own: OwnWrites) -> None:
        """Write the counted status when it says something new; on a conflict again over the newest set."""
        if not counting.is_change(owner.get("status") or {}, decided.status):
            return
        target = owner
        for attempt in range(STATUS_ATTEMPTS):
            status = {k: v for k, v in decided.status.items() if v or k not in _OMITTED_WHEN_ZERO}
            status["collisionCount"] = history.collision_count
            conditions = (target.get("status") or {}).get("conditions")
            if conditions:
                # Conditions are clients' business: they outlive our counters.
                status["conditions"] = conditions
            try:
                own.note(SETS, await self._client.update_status(SETS, {**target, "status": status}))
            except StatusError as error:
                if error.code == 404:
                    return
                if error.reason != "Conflict" or attempt == STATUS_ATTEMPTS - 1:
                    raise
            else:
                return
            try:
                target = await self._client.get(SETS, namespace_of(owner), name_of(owner))
            except StatusError as error:
                if error.code == 404:
                    return
                raise
            if uid_of(target) != uid_of(owner):
                return


def _either(old: Object | None, new: Object | None) -> Object:
    obj = new if new is not None else old
    assert obj is not None
    return obj


def _selector_or_none(owner: Object) -> Selector | None:
    try:
        return selector_of(owner["spec"].get("selector"))
    except StatusError:
        return None


def _set_key(obj: Object | None) -> Key | None:
    controller = controller_of(obj) if obj is not None else None
    if obj is None or controller is None or controller.get("kind") != KIND:
        return None
    return Key(f"{namespace_of(obj)}/{controller.get('name')}")


def _controller_key(obj: Object) -> list[str]:
    controller = controller_of(obj)
    return [f"orphans of {namespace_of(obj)}" if controller is None else f"uid {controller.get('uid')}"]
