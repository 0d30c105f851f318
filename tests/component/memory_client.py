"""A small `Client` in memory, for tests that must not wait for the registry's own rules.

It keeps what the kubelet relies on: versions that grow, 409 on a stale write, Pod deletion with grace, watch from
a version.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from localset.base.clock import Clock, rfc3339
from localset.client.client import DeleteOptions, ObjectList, PatchType, WatchEvent, WatchType
from localset.machinery.errors import MODIFIED, already_exists, conflict, not_found
from localset.machinery.metadata import Object, copy_of, name_of, namespace_of, uid_of, version_of

Identity = tuple[str, str, str]


def merge(document: Any, patch: Any) -> Any:
    """Return a JSON merge patch's outcome."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


class MemoryClient:
    """Objects in a dict."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[Identity, Object] = {}
        self._numbers = itertools.count(1)
        self._version = 0
        self._history: list[tuple[int, str, WatchEvent]] = []
        self._changed = asyncio.Event()
        self.status_writes = 0

    def _put(self, resource: str, kind: WatchType, obj: Object) -> Object:
        self._version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        identity = (resource, namespace_of(obj), name_of(obj))
        if kind is WatchType.DELETED:
            del self._objects[identity]
        else:
            self._objects[identity] = obj
        self._history.append((self._version, resource, WatchEvent(kind, obj)))
        self._changed.set()
        self._changed = asyncio.Event()
        return obj

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        found = self._objects.get((resource, namespace, name))
        if found is None:
            raise not_found(resource, name)
        return found

    async def list(
        self, resource: str, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        found = [o for (r, n, _), o in sorted(self._objects.items()) if r == resource and namespace in {"", n}]
        return ObjectList(found, str(self._version))

    async def create(self, resource: str, obj: Object) -> Object:
        identity = (resource, namespace_of(obj), name_of(obj))
        if identity in self._objects:
            raise already_exists(resource, name_of(obj))
        new = copy_of(obj)
        new["metadata"] |= {"uid": f"uid-{next(self._numbers)}", "creationTimestamp": rfc3339(self._clock.now())}
        if resource == "pods":
            new["status"] = {"phase": "Pending"}
        return self._put(resource, WatchType.ADDED, new)

    async def _replace(self, resource: str, obj: Object, keep: str) -> Object:
        old = await self.get(resource, namespace_of(obj), name_of(obj))
        if version_of(obj) and version_of(obj) != version_of(old):
            raise conflict(resource, name_of(obj), MODIFIED)
        new = {**old, "status": obj.get("status", {})} if keep == "spec" else {**obj, "status": old.get("status", {})}
        return old if new == old else self._put(resource, WatchType.MODIFIED, copy_of(new))

    async def update(self, resource: str, obj: Object) -> Object:
        return await self._replace(resource, obj, "status")

    async def update_status(self, resource: str, obj: Object) -> Object:
        self.status_writes += 1
        return await self._replace(resource, obj, "spec")

    async def patch(
        self, resource: str, namespace: str, name: str, patch: Any, patch_type: PatchType, *, subresource: str = ""
    ) -> Object:
        assert patch_type is PatchType.MERGE
        old = await self.get(resource, namespace, name)
        new = merge(old, patch)
        if uid_of(new) != uid_of(old):
            raise conflict(resource, name, MODIFIED)
        return old if new == old else self._put(resource, WatchType.MODIFIED, new)

    async def delete(self, resource: str, namespace: str, name: str, options: DeleteOptions | None = None) -> Object:
        old = await self.get(resource, namespace, name)
        options = options or DeleteOptions()
        if options.uid and options.uid != uid_of(old):
            raise conflict(resource, name, MODIFIED)
        grace = options.grace_period_seconds
        if grace is None:
            grace = (old.get("spec") or {}).get("terminationGracePeriodSeconds", 0)
        stored = old["metadata"].get("deletionGracePeriodSeconds")
        if resource != "pods" or not grace:
            return self._put(resource, WatchType.DELETED, old)
        if stored is not None and grace >= stored:
            return old
        when = rfc3339(self._clock.now() + timedelta(seconds=grace))
        metadata = {**old["metadata"], "deletionTimestamp": when, "deletionGracePeriodSeconds": grace}
        return self._put(resource, WatchType.MODIFIED, {**old, "metadata": metadata})

    async def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        position = next((i for i, e in enumerate(self._history) if e[0] > int(resource_version)), len(self._history))
        while True:
            changed = self._changed
            while position < len(self._history):
                _, kind, event = self._history[position]
                position += 1
                if kind == resource:
                    yield event
            await changed.wait()


@asynccontextmanager
async def open_client(clock: Clock) -> AsyncGenerator[MemoryClient, None]:
    """Yield an empty client."""
    yield MemoryClient(clock)
