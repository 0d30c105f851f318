"""Protocols for what apiserver asks of whoever runs the Pods; daemon wires the kubelet's body in.

They live here because apiserver and kubelet share a floor and must not know each other.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from localset.base.frozen import frozen
from localset.machinery.metadata import Object


@frozen
class LogOptions:
    """Query of the log subresource; None means absent."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    since_seconds: int | None = None
    since_time: str | None = None
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None


@frozen
class Usage:
    """What processes use: processor cores (a rate) and resident bytes."""

    cpu_cores: float
    memory_bytes: int


@frozen
class UsageReport:
    """A measurement over `window_seconds`: by Pod uid and container name, and of the whole machine."""

    window_seconds: float
    pods: dict[str, dict[str, Usage]]
    machine: Usage


class Session(Protocol):
    """An interactive command; see `kubelet.runtime.ExecSession` for the contract of each method."""

    async def write(self, data: bytes) -> None:
        """Send to stdin."""
        ...

    async def close_stdin(self) -> None:
        """Send end of file."""
        ...

    def output(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield (1 or 2, bytes)."""
        ...

    async def resize(self, columns: int, rows: int) -> None:
        """Set the terminal's size."""
        ...

    async def wait(self) -> int:
        """Return the exit code."""
        ...

    async def aclose(self) -> None:
        """Kill and free."""
        ...


class PodStreams(Protocol):
    """Logs and exec of the Pods of this machine. All raise `StatusError` with upstream's texts (kube-api.md 8)."""

    def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """Yield log bytes; refusals (wrong container, nothing to show) are raised before the first chunk."""
        ...

    def require_reachable(self, pod: Object) -> None:
        """Refuse a Pod that has no process to forward ports to."""
        ...

    async def dial(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a port of the Pod; OSError when it refuses or does not answer."""
        ...

    def require_running(self, pod: Object, container: str) -> None:
        """Refuse a container that is not of the Pod, must be named, or does not run."""
        ...

    async def execute(self, pod: Object, container: str, command: list[str], *, stdin: bool, tty: bool) -> Session:
        """Start `command` in the container."""
        ...

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> Session:
        """Connect to the container's own process."""
        ...

    async def usage(self, pods: Sequence[Object]) -> UsageReport:
        """Measure what the containers of these Pods use; those that run nothing are left out."""
        ...
