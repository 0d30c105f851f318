"""Keeps what leads Pods to the API: the Service `default/kubernetes`, its Endpoints and its EndpointSlice.

Started by `controllers.start`. `kubectl delete all --all` takes the Service with it, on a cluster too, where the API
server has it back within ten seconds. What it should be is the daemon's to know: this only sees that it is not so.
"""

import asyncio
from collections.abc import Awaitable, Callable

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.informer import InformerFactory
from localset.machinery.metadata import Object, name_of, namespace_of

FOLLOWED = ("services", "endpoints", "endpointslices.discovery.k8s.io")
KEY = ("default", "kubernetes")


class ApiServiceController:
    """Calls `restore` after each change of one of the three."""

    def __init__(self, clock: Clock, informers: InformerFactory, restore: Callable[[], Awaitable[None]]) -> None:
        """`restore` makes them so; it is idempotent, and writes nothing when they are."""
        self._informers = [informers.of(resource) for resource in FOLLOWED]
        self._restore = restore
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue("apiservice", clock)
        self._tasks = Tasks("apiservice controller")

    async def start(self) -> None:
        """Return when changes are followed; the daemon has made them so just before."""
        await asyncio.gather(*(informer.start() for informer in self._informers))
        for informer in self._informers:
            informer.add_handler(self._on_change)
        self._tasks.spawn(self._queue.run(self._sync), "worker")

    async def aclose(self) -> None:
        """Stop following."""
        await self._tasks.aclose()
        await self._queue.aclose()

    def _on_change(self, old: Object | None, new: Object | None) -> None:
        # NB: not for what is new: that is ours, or comes after a deletion that was seen.
        if old is not None and (namespace_of(old), name_of(old)) == KEY:
            self._queue.add(KEY)
        del new

    async def _sync(self, key: tuple[str, str]) -> None:
        del key
        await self._restore()
