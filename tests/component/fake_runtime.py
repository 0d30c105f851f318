"""A `Runtime` without processes: tests script what each command does and end processes by hand.

It keeps the contract's promises (idempotent by run id, over only once, known until forgotten), so that what is tested
against it may rely on them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from localset.base.clock import Clock
from localset.base.frozen import replace
from localset.kubelet.runtime import (
    ExecResult,
    ExecSession,
    ExecSpec,
    NetworkShape,
    ProcessReport,
    ProcessSpec,
    ProcessState,
)

OnExec = Callable[[ExecSpec], ExecResult]


class FakeRuntime:
    """Processes that live until they are told otherwise. `obeys_stop` ends a process at once when it is stopped."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.specs: dict[str, ProcessSpec] = {}
        self.reports: dict[str, ProcessReport] = {}
        self.spawned: list[str] = []
        self.stopped: list[tuple[str, float]] = []
        self.forgotten: list[str] = []
        self.executed: list[ExecSpec] = []
        self.obeys_stop = True
        self.frozen: set[str] = set()
        self.shapes: list[tuple[str, NetworkShape, tuple[str, ...]]] = []
        self.failing: dict[str, str] = {}
        self.on_exec: OnExec = lambda _: ExecResult(0, b"")
        self._queues: list[asyncio.Queue[ProcessReport]] = []
        self._next_pid = 1000

    async def spawn(self, spec: ProcessSpec) -> ProcessReport:
        if spec.run_id in self.reports:
            return self.reports[spec.run_id]
        self.specs[spec.run_id] = spec
        self.spawned.append(spec.run_id)
        self._next_pid += 1
        now = self.clock.now().timestamp()
        if spec.argv[0] in self.failing:
            report = ProcessReport(
                spec.run_id,
                ProcessState.FAILED,
                finished_at=now,
                error=self.failing[spec.argv[0]],
                errno_name="ENOENT",
                labels=spec.labels,
            )
        else:
            report = ProcessReport(
                spec.run_id, ProcessState.RUNNING, pid=self._next_pid, started_at=now, labels=spec.labels
            )
        self.reports[spec.run_id] = report
        return report

    async def stop(self, run_id: str, grace_seconds: float) -> None:
        self.stopped.append((run_id, grace_seconds))
        report = self.reports.get(run_id)
        if report is None or report.state.is_over:
            return
        self._tell(replace(report, state=ProcessState.STOPPING))
        if self.obeys_stop:
            self.end(run_id, 143, signal=15)

    async def freeze(self, run_id: str, *, frozen: bool) -> None:
        (self.frozen.add if frozen else self.frozen.discard)(run_id)

    async def kill(self, run_id: str) -> None:
        self.end(run_id, 137, signal=9)

    async def shape(self, pod_uid: str, shape: NetworkShape, was: tuple[str, ...]) -> None:
        self.shapes.append((pod_uid, shape, was))

    async def list(self) -> list[ProcessReport]:
        return list(self.reports.values())

    async def forget(self, run_id: str) -> None:
        self.forgotten.append(run_id)
        self.reports.pop(run_id, None)

    async def events(self) -> AsyncGenerator[ProcessReport, None]:
        queue: asyncio.Queue[ProcessReport] = asyncio.Queue()
        self._queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    async def execute(self, spec: ExecSpec, timeout_seconds: float) -> ExecResult:
        self.executed.append(spec)
        await asyncio.sleep(0)
        return self.on_exec(spec)

    async def open_exec(self, spec: ExecSpec, *, stdin: bool) -> ExecSession:
        raise OSError("the fake runtime opens no sessions")

    async def attach(self, run_id: str, *, stdin: bool) -> ExecSession | None:
        return None

    # -- the test's hand -------------------------------------------------------------------------------------------

    def end(self, run_id: str, exit_code: int, *, signal: int | None = None) -> None:
        """End a process."""
        report = self.reports[run_id]
        now = self.clock.now().timestamp()
        self._tell(
            replace(report, state=ProcessState.EXITED, exit_code=exit_code, signal=signal, finished_at=now, pid=None)
        )

    def living(self) -> "list[str]":
        """Return the run ids of processes that are not over."""
        return [run_id for run_id, report in self.reports.items() if not report.state.is_over]

    def _tell(self, report: ProcessReport) -> None:
        self.reports[report.run_id] = report
        for queue in self._queues:
            queue.put_nowait(report)
