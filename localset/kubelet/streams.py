"""`PodStreams` for this node's Pods: logs, exec and attach, with upstream's refusals (kube-api 8.1).

apiserver calls it through the protocol in `client.streams`. Following a log wakes on the runtime's events and, only
while somebody follows, on a stat every 100 ms. Refusals are raised before the first byte.
"""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from localset.base.clock import Clock, parse_rfc3339
from localset.client.streams import LogOptions, Session, UsageReport
from localset.kubelet.dialling import Dialler
from localset.kubelet.keeper_launch import KeeperError
from localset.kubelet.logs import LogLine, LogReader, render, select
from localset.kubelet.records import ContainerRecord, container_of, containers_of
from localset.kubelet.runtime import Runtime
from localset.kubelet.starter import PodFiles, Surroundings
from localset.kubelet.status import TERMINAL_PHASES
from localset.kubelet.usage import UsageMeter
from localset.kubelet.worker import PodWorker
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import Object, annotations_of, name_of, namespace_of, uid_of

_T = TypeVar("_T")
DIAL_SECONDS = 10.0
FOLLOW_SECONDS = 0.1
_CHUNK_LIMIT = 64 * 1024
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def choose_container(pod: Object, wanted: str) -> str:
    """Return the container's name; 400 when it is not of this Pod or must be named."""
    names = [c["name"] for c, _ in containers_of(pod)]
    mains = [c["name"] for c in (pod.get("spec") or {}).get("containers") or []]
    if wanted:
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    default = annotations_of(pod).get(_DEFAULT_CONTAINER)
    if default in names:
        return str(default)
    if len(mains) == 1:
        return str(mains[0])
    text = f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(mains)}]"
    for field, what in (("initContainers", "init containers"), ("ephemeralContainers", "debug containers")):
        others = [c["name"] for c in (pod.get("spec") or {}).get(field) or []]
        text += f" or one of the {what}: [{' '.join(others)}]" if others else ""
    raise bad_request(text)


class Streams:
    """Logs and commands of the Pods that `find` knows."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        pods_directory: Path,
        find: Callable[[str], PodWorker | None],
        dialler: Dialler,
    ) -> None:
        """`find(uid)` returns a Pod's worker."""
        self._dialler = dialler
        self._runtime = runtime
        self._clock = clock
        self._pods_directory = pods_directory
        self._find = find
        self._meter = UsageMeter(clock, find)

    async def usage(self, pods: Sequence[Object]) -> UsageReport:
        """Measure what the running containers of these Pods use."""
        return await self._meter.measure(pods)

    def _record(self, pod: Object, container: str) -> tuple[PodWorker | None, ContainerRecord | None]:
        worker = self._find(uid_of(pod))
        return worker, worker.records.get(container) if worker is not None else None

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """Yield the log of one run of a container, and with `follow` go on until that run ends."""
        container = choose_container(pod, options.container)
        _, record = self._record(pod, container)
        attempt = self._attempt(pod, container, record, options)
        run_id = record.run_id if record is not None and not options.previous else ""
        reader = LogReader(PodFiles(self._pods_directory / uid_of(pod)).log(container, attempt))
        output = _Output(options)
        try:
            for chunk in output.chunks(select(reader.read(), self._since(options), options.tail_lines)):
                yield chunk
            while options.follow and run_id and not output.is_full:
                is_over = self._is_over(pod, container, run_id)
                for chunk in output.chunks(reader.read()):
                    yield chunk
                if is_over:
                    return
                await self._clock.sleep(FOLLOW_SECONDS)
        finally:
            reader.close()

    def _attempt(self, pod: Object, container: str, record: ContainerRecord | None, options: LogOptions) -> int:
        """Return which run to show; 400 where there is nothing to show."""
        if options.previous:
            attempt = record.attempt - 1 if record is not None else -1
            if record is not None and record.is_over and record.waiting_reason == "CrashLoopBackOff":
                attempt = record.attempt
            files = PodFiles(self._pods_directory / uid_of(pod))
            if attempt < 0 or not files.log(container, attempt).exists():
                text = f'previous terminated container "{container}" in pod "{name_of(pod)}" not found'
                raise bad_request(text)
            return attempt
        if record is None or record.report is None:
            reason = (record.waiting_reason if record is not None else "") or "ContainerCreating"
            raise bad_request(f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {reason}')
        return record.attempt

    def _since(self, options: LogOptions) -> datetime | None:
        if options.since_seconds is not None:
            return self._clock.now() - timedelta(seconds=options.since_seconds)
        if options.since_time:
            try:
                return parse_rfc3339(options.since_time)
            except ValueError as error:
                raise bad_request(f"sinceTime is not RFC 3339: {options.since_time}") from error
        return None

    def _is_over(self, pod: Object, container: str, run_id: str) -> bool:
        _, record = self._record(pod, container)
        return record is None or record.run_id != run_id or not record.is_running

    def require_reachable(self, pod: Object) -> None:
        """Refuse a Pod that has no process to forward ports to."""
        self._address(pod)

    def _address(self, pod: Object) -> str:
        worker = self._find(uid_of(pod))
        if worker is None or not worker.has_processes or not worker.address:
            phase = (pod.get("status") or {}).get("phase") or "Pending"
            raise bad_request(f"unable to forward port because pod is not running. Current status={phase}")
        return worker.pod_ip

    async def dial(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a port of the Pod; OSError when it refuses or does not answer."""
        address = self._address(pod)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await self._dialler.open_inside(uid_of(pod), address, port)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, f"dial tcp {address}:{port}: i/o timeout") from error
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else str(error)
            raise OSError(error.errno, f"dial tcp {address}:{port}: connect: {why}") from error

    def require_running(self, pod: Object, container: str) -> None:
        """Refuse a container that is not of the Pod, must be named, or does not run."""
        self._running(pod, container)

    async def execute(self, pod: Object, container: str, command: list[str], *, stdin: bool, tty: bool) -> Session:
        """Start a command in a running container."""
        name, record, surroundings = self._running(pod, container)
        if not command:
            raise bad_request(f'you must specify at least one command for the container "{name}"')
        spec = surroundings.exec_spec(record.run_id, command, tty=tty)
        return await _session(self._runtime.open_exec(spec, stdin=stdin))

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> Session:
        """Connect to the container's own process; its stdin is reached where it was started with one."""
        name, record, _ = self._running(pod, container)
        wants_stdin = stdin and bool((container_of(pod, name) or {}).get("stdin"))
        session = await _session(self._runtime.attach(record.run_id, stdin=wants_stdin))
        if session is None:
            raise bad_request(f'container not found ("{name}") in pod {name_of(pod)}_{namespace_of(pod)}')
        return session

    def _running(self, pod: Object, container: str) -> tuple[str, ContainerRecord, Surroundings]:
        name = choose_container(pod, container)
        worker, record = self._record(pod, name)
        surroundings = worker.surroundings_of(name) if worker is not None else None
        if record is None or surroundings is None or not record.is_running:
            phase = (pod.get("status") or {}).get("phase")
            if phase in TERMINAL_PHASES:
                raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
            raise bad_request(f'container not found ("{name}") in pod {name_of(pod)}_{namespace_of(pod)}')
        return name, record, surroundings


async def _session(opening: Awaitable[_T]) -> _T:
    """Return what is opened; a keeper that cannot is told to the client, not to the log."""
    try:
        return await opening
    except (KeeperError, OSError) as error:
        raise StatusError(500, "InternalError", str(error)) from error


class _Output:
    """Turns lines into what a client sees: timestamps, pieces of about 64 KiB, and at most `limit_bytes` in all."""

    def __init__(self, options: LogOptions) -> None:
        self._with_timestamp = options.timestamps
        self._budget = options.limit_bytes
        self._continues = False

    @property
    def is_full(self) -> bool:
        return self._budget is not None and self._budget <= 0

    def chunks(self, lines: Iterable[LogLine]) -> Iterator[bytes]:
        gathered = bytearray()
        for line in lines:
            gathered += render(line, with_timestamp=self._with_timestamp, continues=self._continues)
            self._continues = line.is_partial
            if len(gathered) >= _CHUNK_LIMIT:
                yield self._cut(bytes(gathered))
                gathered.clear()
                if self.is_full:
                    return
        if gathered and not self.is_full:
            yield self._cut(bytes(gathered))

    def _cut(self, data: bytes) -> bytes:
        if self._budget is None:
            return data
        cut = data[: self._budget]
        self._budget -= len(cut)
        return cut
