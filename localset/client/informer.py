"""A local copy of one resource, kept fresh by LIST and WATCH.

Controllers, kubelet and DNS read from it and are told of changes; nobody polls. It works over any `Client`: a watch
that is cut goes on where it was, and only a place that is no longer held costs another LIST. After an own write,
`wait_until_seen` closes the gap between the store and this copy, which is where stale-cache bugs live.
Objects in it are shared: never change one in place, and never write to the cache from outside.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.client.client import Client, WatchType
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, name_of, namespace_of, version_of

log = logging.getLogger(__name__)

Handler = Callable[[Object | None, Object | None], None]
Indexer = Callable[[Object], Iterable[str]]
Objects = list[Object]

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 10.0
EXPIRED_CODE, CUT_CODE = 410, 503
"""Codes of a watch that must list again, and of one that may go on from the version that it had reached."""


class Informer:
    """The cache of one resource. Handlers get (old, new): an add has no old, a delete no new."""

    def __init__(  # noqa: PLR0913 - the coordinates of a LIST plus what to index
        self,
        client: Client,
        resource: str,
        clock: Clock,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        indexers: dict[str, Indexer] | None = None,
    ) -> None:
        """Make an empty copy; nothing is read before `start`."""
        self.resource = resource
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._objects: dict[str, dict[str, Object]] = {}
        self._indexers: dict[str, Indexer] = dict(indexers or {})
        self._indexes: dict[str, dict[str, dict[tuple[str, str], Object]]] = {name: {} for name in self._indexers}
        self._handlers: list[Handler] = []
        self._version = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiter_count = 0
        self._has_listed = asyncio.Event()
        self._tasks = Tasks(f"informer {resource}")
        self._is_started = False

    def add_handler(self, handler: Handler) -> None:
        """Call `handler(old, new)` on every change; objects already here are reported as adds at once."""
        self._handlers.append(handler)
        for objects in list(self._objects.values()):
            for obj in list(objects.values()):
                _tell(handler, None, obj)

    def add_index(self, name: str, indexer: Indexer) -> None:
        """Index by `indexer(obj)` under `name`; a second call with the same name is a no-op."""
        if name in self._indexers:
            return
        self._indexers[name] = indexer
        self._indexes[name] = {}
        for objects in self._objects.values():
            for obj in objects.values():
                self._index_one(name, obj)

    async def start(self) -> None:
        """Return when the first LIST is in the cache; a failing LIST is tried again until it works. Idempotent."""
        if not self._is_started:
            self._is_started = True
            self._tasks.spawn(self._run(), "run")
        await self._has_listed.wait()

    async def aclose(self) -> None:
        """Stop watching; whoever waits in `wait_until_seen` is let go by cancellation."""
        await self._tasks.aclose()
        self._has_listed.set()  # whoever waits in `start` is let go
        for _, _, future in self._waiters:
            future.cancel()
        self._waiters.clear()

    def get(self, namespace: str, name: str) -> Object | None:
        """Return the object or None; `namespace` is empty for cluster-scoped resources."""
        return self._objects.get(namespace, {}).get(name)

    def list(self, namespace: str = "") -> Objects:
        """Return all objects of a namespace, or of all namespaces, in no particular order."""
        if namespace:
            return list(self._objects.get(namespace, {}).values())
        return [obj for objects in self._objects.values() for obj in objects.values()]

    def has_index(self, name: str) -> bool:
        """Tell whether objects are indexed under `name`."""
        return name in self._indexers

    def by_index(self, index: str, value: str) -> Objects:
        """Return the objects whose indexer named `value`; KeyError for an index that does not exist."""
        return [*self._indexes[index].get(value, {}).values()]

    @property
    def resource_version(self) -> str:
        """Return the newest version seen."""
        return str(self._version)

    async def wait_until_seen(self, resource_version: str) -> None:
        """Return once the cache has everything up to `resource_version` (an own write's, of this resource)."""
        wanted = _number(resource_version)
        if wanted <= self._version:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter_count += 1
        heapq.heappush(self._waiters, (wanted, self._waiter_count, future))
        await future

    async def _run(self) -> None:
        delay, is_whole = FIRST_RETRY_SECONDS, False
        while True:
            began, version = self._clock.monotonic(), self._version
            try:
                if not is_whole:
                    await self._relist()
                    is_whole = True
                await self._follow()
                log.debug("%s: the watch ended; going on from %d", self.resource, self._version)
            except StatusError as error:
                is_whole = is_whole and error.code == CUT_CODE
                if error.code == EXPIRED_CODE:
                    log.info("%s: %s; listing again", self.resource, error)
                    continue
                log.warning("%s: %s; again in %.2f s", self.resource, error, delay)
            except (OSError, TimeoutError) as error:
                log.warning("%s: connection lost: %s; again in %.2f s", self.resource, error, delay)
            if self._version > version or self._clock.monotonic() - began > LAST_RETRY_SECONDS:
                delay = FIRST_RETRY_SECONDS  # it had worked
            await self._clock.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _relist(self) -> None:
        answer = await self._client.list(
            self.resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        present = {(namespace_of(obj), name_of(obj)) for obj in answer.items}
        gone = [
            obj
            for namespace, objects in self._objects.items()
            for name, obj in objects.items()
            if (namespace, name) not in present
        ]
        for obj in gone:
            self._remove(obj)
        for obj in answer.items:
            self._store(obj)
        self._version = 0  # a server that was made anew may count from less
        self._has_seen(answer.resource_version)
        self._has_listed.set()

    async def _follow(self) -> None:
        stream = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=str(self._version),
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with aclosing(stream) as events:
            async for event in events:
                if event.type is WatchType.DELETED:
                    self._remove(event.object)
                elif event.type is not WatchType.BOOKMARK:
                    self._store(event.object)
                self._has_seen(version_of(event.object))

    def _store(self, obj: Object) -> None:
        namespace, name = namespace_of(obj), name_of(obj)
        objects = self._objects.setdefault(namespace, {})
        old = objects.get(name)
        if old is not None and version_of(old) == version_of(obj):
            return
        objects[name] = obj
        for index in self._indexers:
            if old is not None:
                self._unindex_one(index, old)
            self._index_one(index, obj)
        self._tell_all(old, obj)

    def _remove(self, last: Object) -> None:
        namespace, name = namespace_of(last), name_of(last)
        objects = self._objects.get(namespace, {})
        old = objects.pop(name, None)
        if old is None:
            return
        if not objects:
            self._objects.pop(namespace, None)
        for index in self._indexers:
            self._unindex_one(index, old)
        self._tell_all(old, None)

    def _index_one(self, index: str, obj: Object) -> None:
        for value in self._indexers[index](obj):
            self._indexes[index].setdefault(value, {})[namespace_of(obj), name_of(obj)] = obj

    def _unindex_one(self, index: str, obj: Object) -> None:
        key = (namespace_of(obj), name_of(obj))
        table = self._indexes[index]
        for value in self._indexers[index](obj):
            entries = table.get(value)
            if entries is not None:
                entries.pop(key, None)
                if not entries:
                    del table[value]

    def _tell_all(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            _tell(handler, old, new)

    def _has_seen(self, resource_version: str) -> None:
        self._version = max(self._version, _number(resource_version))
        while self._waiters and self._waiters[0][0] <= self._version:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)


class InformerFactory:
    """One shared `Informer` per resource, so that ten controllers cost one watch."""

    def __init__(self, client: Client, clock: Clock) -> None:
        """Make a factory without informers."""
        self._client = client
        self._clock = clock
        self._informers: dict[str, Informer] = {}

    def of(self, resource: str) -> Informer:
        """Return the informer of `resource`, made (not started) on the first call."""
        if resource not in self._informers:
            self._informers[resource] = Informer(self._client, resource, self._clock)
        return self._informers[resource]

    async def forget(self, informer: Informer) -> None:
        """Stop an informer whose resource is served no more; the next `of` makes a new one. Idempotent."""
        if self._informers.get(informer.resource) is informer:
            del self._informers[informer.resource]
        await informer.aclose()

    async def start(self) -> None:
        """Start all informers made so far; return when each has listed. Idempotent."""
        await asyncio.gather(*(informer.start() for informer in self._informers.values()))

    async def aclose(self) -> None:
        """Stop all informers."""
        for informer in self._informers.values():
            await informer.aclose()


def _tell(handler: Handler, old: Object | None, new: Object | None) -> None:
    try:
        handler(old, new)
    except Exception:
        # One broken listener must not stop the cache that all others read.
        log.exception("a handler failed")


def _number(resource_version: str) -> int:
    try:
        return int(resource_version)
    except ValueError:
        return 0
