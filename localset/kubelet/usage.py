"""How much processor and memory the Pods' processes use: measured when somebody asks, never in between (P5).

`kubelet.streams` hands it on to the API. A rate needs two looks: the last one serves when it is young, else a second
look follows a moment after the first. A container's processes are its tree of children, and what broke away from the
tree but not from its session.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from localset.base.clock import Clock
from localset.client.streams import Usage, UsageReport
from localset.kubelet.worker import PodWorker
from localset.machinery.metadata import Object, uid_of

LOOK_SECONDS = 0.25
OLDEST_SECONDS = 60.0
NEWEST_SECONDS = 0.2


@dataclass
class _Look:
    """One look: processor seconds and resident bytes by run id, and the machine's."""

    at: float
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    machine_seconds: float = 0.0
    machine_memory: int = 0


class UsageMeter:
    """Measures the Pods of this machine."""

    def __init__(self, clock: Clock, find: Callable[[str], PodWorker | None]) -> None:
        """`find(uid)` returns a Pod's worker."""
        self._clock = clock
        self._find = find
        self._last: _Look | None = None
        self._measuring = asyncio.Lock()

    async def measure(self, pods: Iterable[Object]) -> UsageReport:
        """Return what the running containers of `pods` use; Pods without any are left out."""
        runs = {uid_of(pod): found for pod in pods if (found := self._runs(uid_of(pod)))}
        roots = {run_id: pid for containers in runs.values() for run_id, pid in containers.values()}
        async with self._measuring:
            before = self._last
            after = await self._look(roots)
            if before is None or not self._fits(before, after):
                before = after
                await self._clock.sleep(LOOK_SECONDS)
                after = await self._look(roots)
            self._last = after
        window = max(after.at - before.at, 0.001)

        def usage(run_id: str) -> Usage:
            cores = (after.seconds.get(run_id, 0.0) - before.seconds.get(run_id, 0.0)) / window
            return Usage(max(cores, 0.0), after.memory.get(run_id, 0))

        machine = max(after.machine_seconds - before.machine_seconds, 0.0) / window
        return UsageReport(
            window,
            {uid: {name: usage(run_id) for name, (run_id, _) in found.items()} for uid, found in runs.items()},
            Usage(machine, after.machine_memory),
        )

    def _runs(self, uid: str) -> dict[str, tuple[str, int]]:
        """Return (run id, pid) of the Pod's running containers by name."""
        worker = self._find(uid)
        found: dict[str, tuple[str, int]] = {}
        for name, record in worker.records.items() if worker is not None else ():
            if record.is_running and record.report is not None and record.report.pid:
                found[name] = (record.run_id, record.report.pid)
        return found

    def _fits(self, before: _Look, after: _Look) -> bool:
        is_young = NEWEST_SECONDS <= after.at - before.at <= OLDEST_SECONDS
        return is_young and after.seconds.keys() <= before.seconds.keys()

    async def _look(self, roots: dict[str, int]) -> _Look:
        look = _Look(self._clock.monotonic())
        await asyncio.to_thread(_fill, look, roots)
        return look


def _fill(look: _Look, roots: dict[str, int]) -> None:
    import psutil

    owners = _owners({p.pid: p.info["ppid"] for p in psutil.process_iter(["ppid"])}, roots)
    for run_id in roots:
        look.seconds[run_id], look.memory[run_id] = 0.0, 0
    for pid, run_id in owners.items():
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                # Children that have ended count through their parent, so that the sum never falls behind.
                times = process.cpu_times()
                look.seconds[run_id] += sum(times[:4])
                look.memory[run_id] += process.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    busy = psutil.cpu_times()
    look.machine_seconds = sum(busy) - busy.idle - getattr(busy, "iowait", 0.0) - getattr(busy, "guest", 0.0)
    memory = psutil.virtual_memory()
    look.machine_memory = memory.total - memory.available


def _owners(parents: dict[int, int], roots: dict[str, int]) -> dict[int, str]:
    """Return the run id of each process that belongs to one."""
    owner = {pid: run_id for run_id, pid in roots.items()}
    keepers = {parents[pid] for pid in owner if pid in parents}
    found: dict[int, str] = {}
    for pid in parents:
        seen: list[int] = []
        at = pid
        while at not in owner and at not in found and at in parents and at not in keepers and len(seen) < len(parents):
            seen.append(at)
            at = parents[at]
        run_id = owner.get(at) or found.get(at)
        if run_id is None and at in keepers and seen:
            run_id = owner.get(_session_of(seen[-1]))
        if run_id is not None:
            found.update(dict.fromkeys([*seen, *([pid] if pid in owner else [])], run_id))
    return found


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0
