"""The endpoints controller: keeps one Endpoints object beside each Service with a selector.

Started by `controllers.start`. It stands on the path from a probe's first success to the DNS answer, so it waits for
nothing but the store and writes only on change. Endpoints of a Service without a selector are the user's and are never
touched.
"""

import asyncio

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions
from localset.client.informer import InformerFactory
from localset.controllers.endpoints.plan import endpoints_of, is_same, seen_of, selects
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    copy_of,
    is_being_deleted,
    key_of,
    labels_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
)

WORKERS = 4
SMALL = 50
REST_SECONDS_PER_POD = 0.0001
LONGEST_REST_SECONDS = 0.05
"""Endpoints of more than SMALL Pods are not written again at once: each write costs as much as there are Pods, and a
set that starts would write them once for each. Half of what the name service may lag behind (design 3.6)."""


class EndpointsController:
    """Follows Services and Pods."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._services = informers.of("services")
        self._pods = informers.of("pods")
        self._endpoints = informers.of("endpoints")
        self._queue: WorkQueue[Key] = WorkQueue("endpoints", clock)
        self._clock = clock
        self._rests_until: dict[Key, float] = {}
        self._tasks = Tasks("endpoints controller")

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        await asyncio.gather(self._services.start(), self._pods.start(), self._endpoints.start())
        self._services.add_handler(self._on_service)
        self._pods.add_handler(self._on_pod)
        self._endpoints.add_handler(self._on_endpoints)
        for leftover in self._endpoints.list():
            self._queue.add(key_of(leftover))
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop."""
        await self._tasks.aclose()
        await self._queue.aclose()

    def _ask(self, key: Key) -> None:
        self._queue.add_after(key, self._rests_until.get(key, 0.0) - self._clock.monotonic())

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        self._queue.add(key_of(new or old or {}))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and seen_of(old) == seen_of(new):
            return
        changed = [labels_of(pod) for pod in (old, new) if pod is not None]
        for service in self._services.list(namespace_of(new or old or {})):
            selector = (service.get("spec") or {}).get("selector")
            if selector and any(selects(selector, labels) for labels in changed):
                self._ask(key_of(service))

    def _on_endpoints(self, old: Object | None, new: Object | None) -> None:
        # A user's change of what is ours is undone; our own write finds nothing left to do. NB: Endpoints that were
        # applied just before their Service are a user's: without a Service nothing is done here.
        key = key_of(new or old or {})
        if self._services.get(*split_key(key)) is not None:
            self._ask(key)

    async def _sync(self, key: Key) -> None:
        namespace, name = split_key(key)
        service, stored = self._services.get(namespace, name), self._endpoints.get(namespace, name)
        if service is None:
            self._rests_until.pop(key, None)
            if stored is not None and not is_being_deleted(stored):
                await self._remove(namespace, name, stored)
            return
        selector = (service.get("spec") or {}).get("selector")
        if not selector or (service.get("spec") or {}).get("type") == "ExternalName":
            return
        pods = [pod for pod in self._pods.list(namespace) if selects(selector, labels_of(pod))]
        wanted = endpoints_of(service, pods)
        if stored is not None and is_same(stored, wanted):
            return
        await self._write(stored, wanted)
        rest = min(LONGEST_REST_SECONDS, REST_SECONDS_PER_POD * len(pods)) if len(pods) > SMALL else 0.0
        self._rests_until[key] = self._clock.monotonic() + rest

    async def _write(self, stored: Object | None, wanted: Object) -> None:
        try:
            if stored is None:
                written = await self._client.create("endpoints", wanted)
            else:
                changed = copy_of(stored)
                changed["subsets"] = wanted["subsets"]
                changed["metadata"]["labels"] = wanted["metadata"].get("labels") or {}
                written = await self._client.update("endpoints", changed)
        except StatusError as error:
            if error.code == 404 or "NamespaceTerminating" in str(error.details):
                return  # The namespace or the object is going; its end is reported by the informers.
            raise
        await self._endpoints.wait_until_seen(version_of(written))

    async def _remove(self, namespace: str, name: str, stored: Object) -> None:
        # NB: by uid, so that the fresh object of a Service made again meanwhile is left alone.
        if not await self._is_service_gone(namespace, name):
            return
        try:
            await self._client.delete("endpoints", namespace, name, DeleteOptions(uid=uid_of(stored)))
        except StatusError as error:
            if error.code not in {404, 409}:
                raise

    async def _is_service_gone(self, namespace: str, name: str) -> bool:
        try:
            await self._client.get("services", namespace, name)
        except StatusError as error:
            if error.code == 404:
                return True
            raise
        return False
