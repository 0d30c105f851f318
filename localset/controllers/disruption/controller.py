"""The disruption controller: keeps the status of every PodDisruptionBudget true.

Started by `controllers.start`. The eviction subresource (registry) reads and takes from that status; a write here that
lost the race against it is computed again. The only timer runs while an eviction awaits its Pod's end.
"""

import asyncio

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.disruption.plan import Outcome, UnknownControllerError, failed_status, plan_status
from localset.machinery.errors import StatusError
from localset.machinery.labels import selector_of
from localset.machinery.metadata import (
    Key,
    Object,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
)

BUDGETS = "poddisruptionbudgets.policy"


class DisruptionController:
    """Follows budgets, Pods and sets."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._clock = clock
        self._budgets = informers.of(BUDGETS)
        self._pods = informers.of("pods")
        self._sets = informers.of("statefulsets.apps")
        self._recorder = EventRecorder(client, clock, "controllermanager")
        self._queue: WorkQueue[Key] = WorkQueue("disruption", clock)
        self._tasks = Tasks("disruption controller")

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
        await self._recorder.aclose()

    def _on_budget(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        changed = [labels_of(pod) for pod in (old, new) if pod is not None]
        for budget in self._budgets.list(namespace_of(new or old or {})):
            selector = selector_of((budget.get("spec") or {}).get("selector"))
            if any(selector.matches(labels) for labels in changed):
                self._queue.add(key_of(budget))

    def _on_set(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and (old.get("spec") or {}) == (new.get("spec") or {}):
            return
        for budget in self._budgets.list(namespace_of(new or old or {})):
            self._queue.add(key_of(budget))

    async def _sync(self, key: Key) -> None:
        namespace, name = split_key(key)
        budget = self._budgets.get(namespace, name)
        if budget is None:
            return
        selector = selector_of((budget.get("spec") or {}).get("selector"))
        pods = [pod for pod in self._pods.list(namespace) if selector.matches(labels_of(pod))]
        now = self._clock.now()
        try:
            outcome = plan_status(budget, pods, lambda reference: self._scale_of(namespace, reference), now)
        except UnknownControllerError as error:
            self._recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", str(error))
            outcome = Outcome(failed_status(budget, str(error), now))
        else:
            self._tell(budget, pods, outcome)
        if outcome.recheck_seconds is not None:
            self._queue.add_after(key, outcome.recheck_seconds)
        await self._write(budget, outcome.status)

    def _scale_of(self, namespace: str, reference: Object) -> int | None:
        group = str(reference.get("apiVersion", "")).partition("/")[0]
        if reference.get("kind") != "StatefulSet" or group != "apps":
            raise UnknownControllerError(f"{reference.get('kind')}.{group} does not implement the scale subresource")
        found = self._sets.get(namespace, str(reference.get("name")))
        if found is None or uid_of(found) != reference.get("uid"):
            return None
        replicas = (found.get("spec") or {}).get("replicas")
        return 1 if replicas is None else int(replicas)

    def _tell(self, budget: Object, pods: list[Object], outcome: Outcome) -> None:
        old = budget.get("status") or {}
        is_news = old.get("observedGeneration") != outcome.status["observedGeneration"]
        if not pods and (is_news or old.get("expectedPods")):
            self._recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        if outcome.has_unmanaged and is_news:
            text = "Pods selected by this PodDisruptionBudget were found to be unmanaged: they do not count as expected"
            self._recorder.event(budget, "Warning", "UnmanagedPods", text)
        for pod in outcome.lapsed:
            text = f"Pod was expected by PDB {namespace_of(budget)}/{name_of(budget)} to be deleted but it wasn't"
            self._recorder.event(pod, "Warning", "NotDeleted", text)

    async def _write(self, budget: Object, status: Object) -> None:
        if (budget.get("status") or {}) == status:
            return
        try:
            written = await self._client.update_status(BUDGETS, {**budget, "status": status})
        except StatusError as error:
            if error.code == 404:
                return
            raise
        await self._budgets.wait_until_seen(version_of(written))
