"""What every handler works on, and the protocol by which the daemon lets itself be asked and stopped.

Made once by `application`; handlers find it under `request.app[HOUSE]`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from localset.apiserver.routes import RouteTable
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.client.streams import PodStreams
from localset.registry.registry import Registry

if TYPE_CHECKING:
    from localset.apiserver.openapi.documents import Documents


class DaemonControl(Protocol):
    """The daemon as its own clients see it, under `/localset/v1`."""

    async def status(self) -> dict[str, Any]:
        """Return what `localset status -o json` prints."""
        ...

    async def shutdown(self, *, keep_running: bool, timeout_seconds: float | None) -> None:
        """Begin to shut down; returns at once. NB: the answer must still reach the client."""
        ...

    async def query(self, name: str, record_type: str, /) -> dict[str, Any]:
        """Return what the zone answers for `name` and its record type (`A`, `SRV`, …)."""
        ...


def end_stream(queue: "asyncio.Queue[Any]") -> None:
    """Let one stream end: None goes into its queue, in the place of the last item where it is full."""
    try:
        queue.put_nowait(None)
    except asyncio.QueueFull:
        queue.get_nowait()
        queue.put_nowait(None)


class OpenStreams:
    """Watches, logs and sessions in flight; each leaves an event that ends it, set at shutdown."""

    def __init__(self) -> None:
        """Start with none."""
        self._ending = asyncio.Event()
        self._open: set[asyncio.Queue[Any]] = set()

    @property
    def is_ending(self) -> bool:
        """Tell whether the server is shutting down."""
        return self._ending.is_set()

    def add(self, queue: "asyncio.Queue[Any]") -> None:
        """Register a stream's queue: None is put into it at shutdown."""
        self._open.add(queue)

    def discard(self, queue: "asyncio.Queue[Any]") -> None:
        """Forget a stream that has ended."""
        self._open.discard(queue)

    def end(self) -> None:
        """End all streams: each writes its last chunk and returns."""
        self._ending.set()
        for queue in self._open:
            end_stream(queue)


@dataclass(frozen=True)
class House:
    """The rooms below, the clock, and what runs on behalf of requests."""

    registry: Registry
    streams: PodStreams
    clock: Clock
    control: DaemonControl
    routes: RouteTable
    tasks: Tasks
    open_streams: OpenStreams = field(default_factory=OpenStreams)


HOUSE: web.AppKey[House] = web.AppKey("house", House)
DOCUMENTS: web.AppKey[Callable[[], "Documents"]] = web.AppKey("openapi_documents")
"""Gives the OpenAPI documents, which are read only when somebody asks for them."""
