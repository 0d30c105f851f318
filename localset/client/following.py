"""One informer for every served resource, while it is served: what a controller over all kinds stands on.

Used by the garbage collector and the namespace controller. The rows come from `Client.resources`, asked again whenever
a CustomResourceDefinition changes; so the same controller follows custom resources over the registry and over HTTP.
"""

import asyncio
from collections.abc import Callable

from localset.apis.resources import Resource
from localset.apis.scheme import DEFINITIONS
from localset.apis.served import ServedResources
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client
from localset.client.informer import Informer, InformerFactory
from localset.machinery.metadata import Object

Listener = Callable[[str, Informer], None]
_FOLLOWED_BY = frozenset({"list", "watch", "delete"})


def can_be_followed(row: Resource) -> bool:
    """Tell whether this resource has objects of its own that can be listed, watched and deleted."""
    if row.is_refused or row.stored_as:
        return False
    return not row.verbs or set(row.verbs) >= _FOLLOWED_BY


class Following:
    """The informers of all served resources that are wanted, by name."""

    def __init__(
        self, client: Client, clock: Clock, informers: InformerFactory, is_wanted: Callable[[Resource], bool]
    ) -> None:
        """Follow what `is_wanted` says; nothing is read before `start`."""
        self._client = client
        self._factory = informers
        self._is_wanted = is_wanted
        self._definitions = informers.of(DEFINITIONS)
        self._queue: WorkQueue[str] = WorkQueue("following", clock)
        self._tasks = Tasks("following")
        self._on_added: Listener | None = None
        self._on_gone: Listener | None = None
        self.served = ServedResources(())
        self.informers: dict[str, Informer] = {}

    async def start(self) -> None:
        """Return when the informers of all wanted resources have listed."""
        await self._definitions.start()
        await self._refresh()

    def follow(self, on_added: Listener, on_gone: Listener) -> None:
        """From now on take up new resources and let go of others; each is told once, with a filled informer."""
        self._on_added, self._on_gone = on_added, on_gone
        self._definitions.add_handler(self._on_definition)
        self._tasks.spawn(self._queue.run(self._sync), "sync")

    async def aclose(self) -> None:
        """Stop following; the informers are the factory's."""
        await self._tasks.aclose()
        await self._queue.aclose()

    def _on_definition(self, _: Object | None, __: Object | None) -> None:
        self._queue.add("resources")

    async def _sync(self, _: str) -> None:
        await self._refresh()

    async def _refresh(self) -> None:
        self.served = ServedResources(await self._client.resources())
        wanted = {row.name for row in self.served if can_be_followed(row) and self._is_wanted(row)}
        for name in [name for name in self.informers if name not in wanted]:
            informer = self.informers.pop(name)
            if self._on_gone is not None:
                self._on_gone(name, informer)
            await self._factory.forget(informer)
        new = {name: self._factory.of(name) for name in wanted if name not in self.informers}
        self.informers |= new
        if self._on_added is None:
            await asyncio.gather(*(informer.start() for informer in new.values()))
            return
        for name, informer in new.items():
            # NB: not awaited here: its definition may be gone before it has listed, which this loop must see.
            self._tasks.spawn(self._take_up(name, informer), f"take up {name}")

    async def _take_up(self, name: str, informer: Informer) -> None:
        await informer.start()
        if self.informers.get(name) is informer and self._on_added is not None:
            self._on_added(name, informer)
