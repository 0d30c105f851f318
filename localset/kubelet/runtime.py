"""`Runtime`: what the kubelet needs from whatever runs processes.

One protocol, three levels of isolation that only add (design 3.7). `kubelet.keeper_runtime.KeeperRuntime` is the
real body,
over the keeper's socket; tests bring a fake. Nothing here knows a Kubernetes noun but the names in a spec's labels.
Processes are identified by `run_id`, new for every start of a container; every call is idempotent by it.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from localset.base.frozen import frozen


class Isolation(StrEnum):
    """Levels of design 3.7, from none to all."""

    PLAIN = "plain"
    LOOPBACK = "loopback"
    NAMESPACES = "namespaces"


class ProcessState(StrEnum):
    """States of runtime.md 5.8."""

    INTENDED = "intended"
    RUNNING = "running"
    STOPPING = "stopping"
    DRAINING = "draining"
    EXITED = "exited"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_over(self) -> bool:
        """Tell whether no process of the set is left."""
        return self in {ProcessState.EXITED, ProcessState.FAILED, ProcessState.UNKNOWN}


@frozen
class Mount:
    """A host path that appears at `target` (levels with own mounts only). `source` is absolute, file or directory.

    `beneath` names a path inside `source`, whose content others may change: no link in it is followed.
    """

    source: str
    target: str
    read_only: bool = False
    beneath: str = ""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """All that is needed to start one container's process, in plain data (it is journalled as JSON).

    `working_directory` is created beneath the private root when the level has one and it is missing.
    `user`/`group`/`supplementary_groups` are applied as root; rootless with own mounts, `user` is what the program
    sees.
    `private_directory` belongs to this container alone: overlay layers live beneath it; the runtime makes and
    removes it.
    `shares_host`: the host's files are this program's own (image `host`); where a mount point is missing, only the one
    directory that lacks it may be private.
    `address` is the Pod's in its own network (level namespaces): the containers of one `pod_uid` share it.
    `shares_processes`: they share one process table as well, and none of them is its PID 1.
    `strict_stop`: a PID 1 that has no handler for the stop signal runs into its grace period, as in Kubernetes.
    `log_path` is the file that the keeper appends CRI-formatted lines to (`TIMESTAMP stdout F text`); rotated files are
    `log_path.1` … ; the parent directory exists.
    """

    run_id: str
    pod: str
    pod_uid: str
    container: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str
    hostname: str
    log_path: str
    private_directory: str
    isolation: Isolation
    mounts: tuple[Mount, ...] = ()
    user: int | None = None
    group: int | None = None
    supplementary_groups: tuple[int, ...] = ()
    stop_signal: str = "SIGTERM"
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    shares_host: bool = False
    address: str = ""
    shares_processes: bool = False
    strict_stop: bool = False
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What is known of a process. Times are wall seconds since the epoch, for display.

    `exit_code` is the status as Kubernetes shows it (128+n for a signal), None while running or when unknown: never
    0 when
    unknown. `error` explains FAILED (`ENOENT: no such file: foo`); `errno_name` is its symbol.
    """

    run_id: str
    state: ProcessState
    pid: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: str = ""
    errno_name: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@frozen
class ExecSpec:
    """A command inside a running container's surroundings (probes, exec, lifecycle hooks)."""

    run_id: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    working_directory: str
    user: int | None = None
    group: int | None = None
    supplementary_groups: tuple[int, ...] = ()
    tty: bool = False


@frozen
class ExecResult:
    """How a command that was run to its end came out; `output` is stdout and stderr together, bounded."""

    exit_code: int | None
    output: bytes
    timed_out: bool = False
    error: str = ""


@frozen
class NetworkShape:
    """What is wrong, on purpose, with a Pod's own network: peers it is cut from ("" means all), loss, delay."""

    cut: tuple[str, ...] = ()
    loss_percent: float = 0.0
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0


class ExecSession(Protocol):
    """A running interactive command. With tty, stderr stays empty."""

    async def write(self, data: bytes) -> None:
        """Send bytes to its stdin."""
        ...

    async def close_stdin(self) -> None:
        """Send end of file."""
        ...

    def output(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield (1 or 2, bytes) until both streams end."""
        ...

    async def resize(self, columns: int, rows: int) -> None:
        """Set the terminal's size; nothing without tty."""
        ...

    async def wait(self) -> int:
        """Return the exit code, 128+n for a signal; 126/127 when it could not start."""
        ...

    async def aclose(self) -> None:
        """Kill what still runs and free descriptors."""
        ...


class Runtime(Protocol):
    """Runs processes that outlive the daemon."""

    async def spawn(self, spec: ProcessSpec) -> ProcessReport:
        """Record the intent durably, then start. A known run id answers its present state.

        A program that cannot be executed gives a report in state FAILED, not an exception.
        """
        ...

    async def stop(self, run_id: str, grace_seconds: float) -> None:
        """Begin to end the whole set of descendants: stop signal, grace, SIGKILL. Returns at once; a later call may
        only
        shorten the grace. The end arrives as an event.
        """
        ...

    async def list(self) -> list[ProcessReport]:
        """Return every process that is known and not yet forgotten."""
        ...

    async def forget(self, run_id: str) -> None:
        """Acknowledge the end of a process: its record and private directory are removed."""
        ...

    def events(self) -> AsyncGenerator[ProcessReport, None]:
        """Yield a report at each change of state, for ever. NB: subscribe before `list`, or an exit in between is
        lost."""
        ...

    async def execute(self, spec: ExecSpec, timeout_seconds: float) -> ExecResult:
        """Run a command to its end inside the container; on timeout its whole tree is killed."""
        ...

    async def open_exec(self, spec: ExecSpec, *, stdin: bool) -> ExecSession:
        """Start an interactive command inside the container."""
        ...

    async def attach(self, run_id: str, *, stdin: bool) -> ExecSession | None:
        """Return a session on the container's own process, its stdin too if wanted and there; None when it is over.

        Only output from now on comes, but for a terminal's unfinished line. Closing the session ends the process's
        stdin when it was started with `stdin_once`, and nothing else.
        """
        ...

    async def freeze(self, run_id: str, *, frozen: bool) -> None:
        """SIGSTOP, or SIGCONT, the whole set. Idempotent; `stop` thaws."""
        ...

    async def kill(self, run_id: str) -> None:
        """SIGKILL the container's process, as an accident would; nothing when it is over."""
        ...

    async def shape(self, pod_uid: str, shape: NetworkShape, was: tuple[str, ...]) -> None:
        """Make a Pod's own network as bad as `shape` says, and no longer cut from the rest of `was`.

        OSError says why it cannot be: the text is for a person.
        """
        ...
