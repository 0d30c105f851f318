"""Looks after one process of one container: postStart, probes, preStop and the stop itself.

Made by `worker` for each start or reattach and closed when the process set is over. It changes its record and wakes the
worker; what follows from that is for `plan` to decide.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from localset.base.tasks import Tasks
from localset.kubelet.actions import ActionResult, connect, http_get, port_number, run_command
from localset.kubelet.context import KubeletContext
from localset.kubelet.expansion import expand
from localset.kubelet.hooks import POST_START_SECONDS, run_hook
from localset.kubelet.probes import ContainerProbes, ProbeKind
from localset.kubelet.records import ContainerKind, ContainerRecord, field_path
from localset.kubelet.runtime import ProcessState
from localset.kubelet.settings import ProbeTiming
from localset.kubelet.starter import Surroundings
from localset.machinery.metadata import Object

log = logging.getLogger(__name__)

MINIMUM_GRACE_SECONDS = 2.0
_STOP_RETRY_SECONDS = 0.2


class ContainerCare:
    """The care of one process; `record` is shared with the worker."""

    __slots__ = (
        "_address",
        "_container",
        "_context",
        "_pod",
        "_probes",
        "_record",
        "_stopping",
        "_tasks",
        "_wake",
        "surroundings",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one process and what it lives in
        self,
        context: KubeletContext,
        pod: Callable[[], Object],
        container: Object,
        record: ContainerRecord,
        surroundings: Surroundings,
        address: str,
        wake: Callable[[], None],
    ) -> None:
        """Nothing happens until `begin` or `resume`."""
        self._context = context
        self._pod = pod
        self._container = container
        self._record = record
        self.surroundings = surroundings
        self._address = address
        self._wake = wake
        self._tasks = Tasks(f"container {record.run_id}")
        self._stopping: asyncio.Task[None] | None = None
        is_eager = context.settings.probe_timing is ProbeTiming.EAGER
        self._probes = ContainerProbes(
            container, context.clock, self._attempt, self._on_result, self._on_failure, is_eager=is_eager
        )

    @property
    def field_path(self) -> str:
        """Return the event's fieldPath."""
        return field_path(self._record.name, self._record.kind)

    def begin(self) -> None:
        """Take care of a process that was just started."""
        hook = (self._container.get("lifecycle") or {}).get("postStart")
        if hook and self._record.kind is not ContainerKind.INIT:
            self._tasks.spawn(self._post_start(hook), "postStart")
        else:
            self._has_started()

    def resume(self) -> None:
        """Take care of a process that was reattached: earlier results stand."""
        record = self._record
        record.has_post_started = True
        record.is_started = record.is_started or not self._container.get("startupProbe")
        record.is_ready = record.is_ready or not self._container.get("readinessProbe")
        if record.kind is not ContainerKind.INIT:
            self._probes.start(was_ready=record.is_ready, was_started=record.is_started)

    def _has_started(self) -> None:
        record = self._record
        record.has_post_started = True
        record.is_started = not self._container.get("startupProbe") or record.kind is ContainerKind.INIT
        record.is_ready = record.is_started and not self._container.get("readinessProbe")
        if record.kind is not ContainerKind.INIT:
            self._probes.start()
        self._wake()

    async def _post_start(self, hook: Object) -> None:
        failure = await self._hook(hook, POST_START_SECONDS)
        if failure and self._record.is_running:
            self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {failure}")
            self._record.restart_reason = "FailedPostStartHook"
            self._wake()
        elif not failure:
            self._has_started()

    async def _hook(self, hook: Object, timeout_seconds: float) -> str:
        try:
            return await run_hook(
                hook,
                self._container,
                self._record.run_id,
                self.surroundings,
                self._address,
                self._context.runtime,
                self._context.clock,
                timeout_seconds,
                self._context.dialler,
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a hook that cannot be run is its failure, not ours
            return str(error) or type(error).__name__

    def stop(self, message: str, grace_seconds: float) -> None:
        """Begin to end the process set: preStop, stop signal, grace, kill. Returns at once."""
        self._record.stop_asked = True
        self._probes.end_liveness()
        self._stopping = self._tasks.spawn(self._stop(message, grace_seconds), "stop")

    def drain(self, grace_seconds: float) -> None:
        """Give what the leader left behind `grace_seconds` to end; no hook, no event: it has ended itself."""
        self._record.stop_asked = True
        self._probes.end_liveness()
        self._stopping = self._tasks.spawn(self._signal(max(grace_seconds, MINIMUM_GRACE_SECONDS)), "drain")

    def shorten(self, grace_seconds: float) -> None:
        """Give a process that is being stopped less time: a preStop that still runs is given up."""
        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = self._tasks.spawn(self._signal(max(grace_seconds, MINIMUM_GRACE_SECONDS)), "stop sooner")

    async def _stop(self, message: str, grace_seconds: float) -> None:
        self._event("Normal", "Killing", message)
        clock = self._context.clock
        begun = clock.monotonic()
        hook = (self._container.get("lifecycle") or {}).get("preStop")
        if hook and grace_seconds > 0 and self._record.kind is not ContainerKind.INIT:
            await self._pre_stop(hook, grace_seconds)
        await self._signal(max(grace_seconds - (clock.monotonic() - begun), MINIMUM_GRACE_SECONDS))

    async def _pre_stop(self, hook: Object, grace_seconds: float) -> None:
        """Run the hook for at most the grace; the grace is measured by the clock, so that tests can move it."""
        work = self._tasks.spawn(self._hook(hook, grace_seconds), "preStop")
        limit = self._tasks.spawn(self._context.clock.sleep(grace_seconds), "preStop limit")
        try:
            await asyncio.wait({work, limit}, return_when=asyncio.FIRST_COMPLETED)
            failure = work.result() if work.done() else f"did not finish within {grace_seconds:g}s"
            if failure and self._record.is_running:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {failure}")
        finally:
            work.cancel()
            limit.cancel()

    async def _signal(self, grace_seconds: float) -> None:
        """Tell the runtime; again while it cannot be reached."""
        due = self._context.clock.monotonic() + grace_seconds
        while self._record.is_running:
            try:
                left = max(due - self._context.clock.monotonic(), 0.0)
                await self._context.runtime.stop(self._record.run_id, left)
            except OSError as error:
                log.warning("cannot stop %s yet: %s", self._record.run_id, error)
                await self._context.clock.sleep(_STOP_RETRY_SECONDS)
            else:
                return

    async def _attempt(self, kind: ProbeKind, probe: Object, timeout_seconds: float) -> ActionResult:
        if probe.get("exec"):
            literal = {
                e["name"]: e.get("value") or "" for e in self._container.get("env") or [] if not e.get("valueFrom")
            }
            argv = [expand(word, literal) for word in probe["exec"].get("command") or []]
            spec = self.surroundings.exec_spec(self._record.run_id, argv)
            return await run_command(self._context.runtime, spec, timeout_seconds)
        if probe.get("httpGet"):
            action = probe["httpGet"]
            version = self._context.settings.version.lstrip("v").split(".")
            agent = f"kube-probe/{'.'.join(version[:2])}"
            port = port_number(self._container, action.get("port"))
            return await http_get(action, self._address, port, agent, timeout_seconds, self._context.dialler)
        if probe.get("tcpSocket"):
            action = probe["tcpSocket"]
            port = port_number(self._container, action.get("port"))
            host = action.get("host") or self._address
            return await connect(host, port, timeout_seconds, self._context.dialler)
        return ActionResult(False, f"{kind} probe: localset knows exec, httpGet and tcpSocket", is_error=True)

    def _on_result(self, kind: ProbeKind, is_positive: bool) -> None:
        record = self._record
        if not record.is_running:
            return
        if kind is ProbeKind.READINESS:
            has_leader = record.report is not None and record.report.state is not ProcessState.DRAINING
            record.is_ready = is_positive and has_leader
        elif is_positive:
            record.is_started = True
            record.is_ready = not self._container.get("readinessProbe")
        elif not record.stop_asked:
            record.restart_reason = f"Container {record.name} failed {kind} probe, will be restarted"
        self._wake()

    def _on_failure(self, kind: ProbeKind, result: ActionResult) -> None:
        how = "probe errored" if result.is_error else "probe failed"
        self._event("Warning", "Unhealthy", f"{kind.capitalize()} {how}: {result.output}")

    def _event(self, event_type: str, reason: str, message: str) -> None:
        self._context.recorder.event(self._pod(), event_type, reason, message, field_path=self.field_path)

    async def aclose(self) -> None:
        """End all care; the process is left as it is."""
        with suppress(asyncio.CancelledError):
            await self._probes.aclose()
        await self._tasks.aclose()
