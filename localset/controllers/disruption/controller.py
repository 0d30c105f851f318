"""The disruption controller's shell: keeps each budget's status beside its Pods.

Started by `controllers.start`. Writes only on change. NB: evictions write the same status (disruptionsAllowed,
disruptedPods), so every write here carries the version that was read; a conflict is a retry, never an overwrite.
"""

import asyncio

from localset.base.clock import Clock, rfc3339
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.disruption.plan import Answer, status_of, with_status
from localset.machinery.errors import StatusError
from localset.machinery.labels import selector_of
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

BUDGETS = "poddisruptionbudgets.policy"
SETS = "statefulsets.apps"


class DisruptionController:
    """Follows budgets, Pods and StatefulSets."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._clock = clock
        self._events = EventRecorder(client, clock, "controllermanager")
        self._budgets = informers.of(BUDGETS)
        self._pods = informers.of("pods")
        self._sets = informers.of(SETS)
        self._queue: WorkQueue[Key] = WorkQueue("disruption", clock)
        self._tasks = Tasks("disruption controller")
        self._told: dict[Key, tuple[str, ...]] = {}

    async def start(self) -> None:
        """Return when the caches are filled and the worker runs."""
        await asyncio.gather(self._budgets.start(), self._pods.start(), self._sets.start())
        self._budgets.add_handler(self._on_budget)
        self._pods.add_handler(self._on_pod)
        self._sets.add_handler(self._on_set)
        self._tasks.spawn(self._queue.run(self._sync), "worker")

    async def aclose(self) -> None:
        """Stop."""
        await self._tasks.aclose()
        await self._queue.aclose()
        await self._events.aclose()

    def _on_budget(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))
        elif old is not None:
            self._told.pop(key_of(old), None)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        for budget in self._budgets.list(namespace_of(new or old or {})):
            selector = selector_of((budget.get("spec") or {}).get("selector"))
            if any(pod is not None and selector.matches(labels_of(pod)) for pod in (old, new)):
                self._queue.add(key_of(budget))

    def _on_set(self, old: Object | None, new: Object | None) -> None:
        """A new scale changes what is expected; a status does not."""
        if old is not None and new is not None and old["spec"].get("replicas") == new["spec"].get("replicas"):
            return
        for budget in self._budgets.list(namespace_of(new or old or {})):
            self._queue.add(key_of(budget))

    async def _sync(self, key: Key) -> None:
        budget = self._budgets.get(*split_key(key))
        if budget is None:
            return
        selector = selector_of((budget.get("spec") or {}).get("selector"))
        pods = [pod for pod in self._pods.list(namespace_of(budget)) if selector.matches(labels_of(pod))]
        answer = status_of(budget, pods, self._scales(namespace_of(budget), pods), self._clock.now())
        self._tell(key, budget, pods, answer)
        changed = with_status(budget, answer, rfc3339(self._clock.now()))
        if changed is not None:
            try:
                written = await self._client.update_status(BUDGETS, changed)
            except StatusError as error:
                if error.code == 404:
                    return
                raise
            await self._budgets.wait_until_seen(version_of(written))
        if answer.again_in_seconds is not None:
            self._queue.add_after(key, answer.again_in_seconds)

    def _scales(self, namespace: str, pods: list[Object]) -> dict[str, int]:
        scales: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod)
            if owner is None or str(owner.get("uid")) in scales:
                continue
            found = self._sets.get(namespace, str(owner.get("name")))
            if found is not None and uid_of(found) == owner.get("uid"):
                replicas = found["spec"].get("replicas")
                scales[uid_of(found)] = 1 if replicas is None else int(replicas)
        return scales

    def _tell(self, key: Key, budget: Object, pods: list[Object], answer: Answer) -> None:
        """Say what has changed for people since the last sync: a standing matter is told once."""
        matters: dict[str, tuple[str, str, str]] = {}
        if not pods:
            matters["no pods"] = ("Normal", "NoPods", "No matching pods found")
        if answer.unmanaged:
            names = ", ".join(sorted(answer.unmanaged)[:10])
            text = f"Pods selected by this PodDisruptionBudget (selector) were found to be unmanaged: {names}"
            matters["unmanaged"] = ("Warning", "UnmanagedPods", text)
        if answer.error:
            matters[answer.error] = ("Warning", "CalculateExpectedPodCountFailed", answer.error)
        told = self._told.get(key, ())
        for matter, (event_type, reason, message) in matters.items():
            if matter not in told:
                self._events.event(budget, event_type, reason, message)
        self._told[key] = tuple(matters)
        for pod in pods:
            if name_of(pod) in answer.not_deleted:
                text = f"Pod was expected by PDB {key} to be deleted but it wasn't"
                self._events.event(pod, "Warning", "NotDeleted", text)
