"""The scheduler: binds every waiting Pod to a Node, or says why it waits.

Started by `controllers.start`. What is decided is in `plan`; here is the binding, the condition and the events. Strict
mode places one Pod after the other, because each takes room from the next. Requests beyond the machine are the
kubelet's to tell; here only rules about Nodes and other Pods are.
"""

import asyncio

from localset.base.clock import Clock, rfc3339
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, PatchType
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.scheduler.plan import Mode, holds_resources, ignored_text, is_waiting, place
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    condition_of,
    copy_of,
    key_of,
    name_of,
    namespace_of,
    split_key,
    version_of,
)

RELAXED_WORKERS = 4
WAITING_INDEX = "waiting for a node"
WAITING = "yes"


class SchedulerController:
    """Follows Pods and Nodes."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory, mode: str = "relaxed") -> None:
        """Take the shared informers; `mode` is relaxed or strict (ValueError otherwise)."""
        self._client = client
        self._clock = clock
        self._mode = Mode(mode)
        self._pods = informers.of("pods")
        self._pods.add_index(WAITING_INDEX, lambda pod: [WAITING] if is_waiting(pod) else [])
        self._nodes = informers.of("nodes")
        self._recorder = EventRecorder(client, clock, "default-scheduler")
        self._queue: WorkQueue[Key] = WorkQueue("scheduler", clock)
        self._tasks = Tasks("scheduler")

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        await asyncio.gather(self._pods.start(), self._nodes.start())
        self._pods.add_handler(self._on_pod)
        self._nodes.add_handler(self._on_node)
        for number in range(1 if self._mode is Mode.STRICT else RELAXED_WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop; Pods that wait stay Pending."""
        await self._tasks.aclose()
        await self._queue.aclose()
        await self._recorder.aclose()

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is not None and is_waiting(new) and (old is None or not is_waiting(old)):
            self._queue.add(key_of(new))
        held, holds = old is not None and holds_resources(old), new is not None and holds_resources(new)
        if held and not holds:
            self._queue_waiting()

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue_waiting()

    def _queue_waiting(self) -> None:
        # Oldest first, by name among equals: an ordinal must not overtake the one before it.
        waiting = self._pods.by_index(WAITING_INDEX, WAITING)
        for pod in sorted(waiting, key=lambda p: (p["metadata"].get("creationTimestamp", ""), name_of(p))):
            self._queue.add(key_of(pod))

    async def _sync(self, key: Key) -> None:
        pod = self._pods.get(*split_key(key))
        if pod is None or not is_waiting(pod):
            return
        decision = place(pod, self._nodes.list(), self._pods.list(), self._mode)
        try:
            if decision.node:
                await self._bind(pod, decision.node, decision.ignored)
            else:
                await self._refuse(pod, decision.message)
        except StatusError as error:
            # Gone, being deleted, bound by someone else or changed: a change that the informer reports.
            if error.code not in {404, 409}:
                raise
            if error.code == 409 and not decision.node:
                raise

    async def _bind(self, pod: Object, node: str, ignored: list[str]) -> None:
        namespace, name = namespace_of(pod), name_of(pod)
        patch = [{"op": "add", "path": "/spec/nodeName", "value": node}]
        bound = await self._client.patch("pods", namespace, name, patch, PatchType.JSON, subresource="binding")
        self._recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")
        if ignored:
            self._recorder.event(pod, "Warning", "BeyondThisMachine", ignored_text(ignored))
        await self._pods.wait_until_seen(version_of(bound))

    async def _refuse(self, pod: Object, message: str) -> None:
        known = condition_of(pod, "PodScheduled")
        if known is not None and known.get("status") == "False" and known.get("message") == message:
            return
        new = copy_of(pod)
        status = new.setdefault("status", {})
        conditions = [c for c in status.get("conditions") or [] if c.get("type") != "PodScheduled"]
        was_false = known is not None and known.get("status") == "False"
        since = known.get("lastTransitionTime") if known is not None and was_false else rfc3339(self._clock.now())
        refusal = {"status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": since}
        status["conditions"] = [*conditions, {"type": "PodScheduled", "lastProbeTime": None, **refusal}]
        written = await self._client.update_status("pods", new)
        self._recorder.event(pod, "Warning", "FailedScheduling", message)
        await self._pods.wait_until_seen(version_of(written))
