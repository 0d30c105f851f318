"""The garbage collector: background, foreground and orphan deletion over all owned resources.

Started by `controllers.start`. Dependents are found by the uids in their ownerReferences; before anything is deleted
the owner's absence is confirmed by a live GET, because a cache that lags must never cost data. Kinds that are not
served count as present: what we cannot see we do not judge.
"""

import asyncio
from functools import partial
from typing import NamedTuple

from localset.apis.resources import BY_KIND, BY_NAME, RESOURCES, Resource
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions, Propagation
from localset.client.informer import InformerFactory
from localset.controllers.garbagecollector import plan
from localset.controllers.garbagecollector.plan import FOREGROUND, ORPHAN, Owner
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    is_being_deleted,
    key_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
)

WORKERS = 4
FOLLOWED = tuple(resource for resource in RESOURCES if resource.name not in {"events", "nodes"})
OWNER_INDEX = "owner uid"


class _Item(NamedTuple):
    """An object to look at, as a dependent or as a dying owner."""

    resource: str
    key: Key


class GarbageCollectorController:
    """Follows everything that can own or be owned."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._informers = {resource.name: informers.of(resource.name) for resource in FOLLOWED}
        for informer in self._informers.values():
            informer.add_index(OWNER_INDEX, plan.owner_uids)
        self._queue: WorkQueue[_Item] = WorkQueue("garbagecollector", clock)
        self._tasks = Tasks("garbage collector")

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        await asyncio.gather(*(informer.start() for informer in self._informers.values()))
        for resource, informer in self._informers.items():
            informer.add_handler(partial(self._on_change, resource))
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop; what was begun is found again by the next start."""
        await self._tasks.aclose()
        await self._queue.aclose()

    def _on_change(self, resource: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._on_end(old or {})
        elif old is None or _fate_of(old) != _fate_of(new):
            if plan.owners_of(new) or is_being_deleted(new):
                self._queue.add(_Item(resource, key_of(new)))
            if plan.has_finalizer(new, FOREGROUND):
                self._queue_dependents(uid_of(new))
            if old is not None and plan.owner_uids(old) != plan.owner_uids(new):
                self._queue_owners(old)

    def _on_end(self, last: Object) -> None:
        self._queue_dependents(uid_of(last))
        self._queue_owners(last)

    def _queue_owners(self, last: Object) -> None:
        for reference in plan.owners_of(last):
            owner = _resource_of(reference)
            if owner is not None:
                namespace = namespace_of(last) if owner.namespaced else ""
                key = f"{namespace}/{reference.get('name')}" if namespace else str(reference.get("name"))
                self._queue.add(_Item(owner.name, Key(key)))

    def _queue_dependents(self, uid: str) -> None:
        for resource, informer in self._informers.items():
            for dependent in informer.by_index(OWNER_INDEX, uid):
                self._queue.add(_Item(resource, key_of(dependent)))

    async def _sync(self, item: _Item) -> None:
        informer = self._informers.get(item.resource)
        obj = informer.get(*split_key(item.key)) if informer is not None else None
        if obj is None:
            return
        try:
            if plan.has_finalizer(obj, ORPHAN):
                await self._orphan_dependents(item.resource, obj)
            elif plan.has_finalizer(obj, FOREGROUND):
                await self._delete_in_foreground(item.resource, obj)
            elif not is_being_deleted(obj):
                await self._judge(item.resource, obj)
        except StatusError as error:
            if error.code != 404:
                raise

    # Dependents

    async def _judge(self, resource: str, dependent: Object) -> None:
        fates = [(reference, await self._fare(reference, dependent)) for reference in plan.owners_of(dependent)]
        verdict = plan.judge(fates)
        if verdict.deletes:
            options = DeleteOptions(propagation=_propagation_of(dependent), uid=uid_of(dependent))
            await self._client.delete(resource, namespace_of(dependent), name_of(dependent), options)
        elif verdict.drops:
            await self._client.update(resource, plan.without_owners(dependent, verdict.drops))

    async def _fare(self, reference: Object, dependent: Object) -> Owner:
        resource = _resource_of(reference)
        if resource is None or (resource.namespaced and not namespace_of(dependent)):
            return Owner.SOLID
        namespace, name = namespace_of(dependent) if resource.namespaced else "", str(reference.get("name"))
        informer = self._informers.get(resource.name)
        owner = informer.get(namespace, name) if informer is not None else None
        if owner is None or uid_of(owner) != reference.get("uid") or is_being_deleted(owner):
            try:
                owner = await self._client.get(resource.name, namespace, name)
            except StatusError as error:
                if error.code == 404:
                    return Owner.ABSENT
                raise
        if uid_of(owner) != reference.get("uid"):
            return Owner.ABSENT
        is_waiting = plan.has_finalizer(owner, FOREGROUND) and reference.get("blockOwnerDeletion")
        return Owner.WAITING if is_waiting else Owner.SOLID

    # Owners

    async def _dependents(self, resource: str, owner: Object) -> list[tuple[str, Object]]:
        """Return (resource, object) of all that name `owner`, live: a cache may lack the newest."""
        namespace = namespace_of(owner) if BY_NAME[resource].namespaced else ""
        found: list[tuple[str, Object]] = []
        for candidate in FOLLOWED:
            if namespace and not candidate.namespaced:
                continue
            objects = (await self._client.list(candidate.name, namespace)).items
            found += [(candidate.name, obj) for obj in objects if uid_of(owner) in plan.owner_uids(obj)]
        return found

    async def _orphan_dependents(self, resource: str, owner: Object) -> None:
        uids = frozenset({uid_of(owner)})
        for dependent_resource, dependent in await self._dependents(resource, owner):
            try:
                await self._client.update(dependent_resource, plan.without_owners(dependent, uids))
            except StatusError as error:
                if error.code != 404:
                    raise
        await self._client.update(resource, plan.without_finalizer(owner, ORPHAN))

    async def _delete_in_foreground(self, resource: str, owner: Object) -> None:
        is_blocked = False
        for dependent_resource, dependent in await self._dependents(resource, owner):
            if plan.blocks(dependent, uid_of(owner)):
                is_blocked = True
                # Its own look deletes it or takes the reference off; either is seen here again.
                self._queue.add(_Item(dependent_resource, key_of(dependent)))
        if not is_blocked:
            await self._client.update(resource, plan.without_finalizer(owner, FOREGROUND))


def _resource_of(reference: Object) -> Resource | None:
    """Return the served resource of the reference's kind, whichever version it was written in."""
    group, slash, _ = str(reference.get("apiVersion", "")).rpartition("/")
    return BY_KIND.get((group if slash else "", str(reference.get("kind", ""))))


def _propagation_of(dependent: Object) -> Propagation:
    finalizers = dependent["metadata"].get("finalizers") or []
    if ORPHAN in finalizers:
        return Propagation.ORPHAN
    return Propagation.FOREGROUND if FOREGROUND in finalizers else Propagation.BACKGROUND


def _fate_of(obj: Object) -> tuple[object, ...]:
    """Return what of an object concerns this controller; other changes are not looked at."""
    metadata = obj["metadata"]
    return metadata.get("ownerReferences"), is_being_deleted(obj), metadata.get("finalizers")
