"""The garbage collector's shell: follows every resource, deletes dependents whose owners have gone.

Started by `controllers.start`. Owners are matched by uid; before anything is deleted the store itself is asked whether
the owner is gone, because a cache may be behind. Work per change is proportional to an object's own owners and
dependents.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from localset.apis.resources import Resource
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions, PatchType
from localset.client.following import Following, can_be_followed
from localset.client.informer import Informer, InformerFactory
from localset.controllers.garbagecollector.plan import (
    ORPHAN,
    AskDependents,
    Delete,
    DropReferences,
    OrphanDependents,
    OwnerState,
    RemoveFinalizer,
    finalizers_of,
    orphans_dependents,
    plan_dependent,
    plan_owner,
    references_of,
    waits_for_dependents,
)
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of, version_of

log = logging.getLogger(__name__)

WORKERS = 10
REMEMBERED = 1000
"""How many objects are remembered to be gone: long enough for their dependents to be looked at."""
UNTRACKED = frozenset({"events", "nodes"})
"""Resources that own nothing and are owned by nothing here: events are many, nodes have heartbeats."""


class Item(NamedTuple):
    """An object by its place and uid: another object of that name is another item."""

    resource: str
    namespace: str
    name: str
    uid: str


class GarbageCollector:
    """Keeps no object alive that all owners of have gone."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Follow all tracked resources by shared informers; nothing runs before `start`."""
        self._client = client
        self._following = Following(client, clock, informers, _is_tracked)
        self._known: dict[str, Item] = {}
        self._gone: dict[str, None] = {}
        self._queue: WorkQueue[Item] = WorkQueue("garbagecollector", clock)
        self._tasks = Tasks("garbage collector")

    async def start(self) -> None:
        """Return when all caches are filled and the workers run."""
        await self._following.start()
        for resource, informer in self._informers.items():
            informer.add_index("owner", _index_by_owner)
            for obj in informer.list():
                self._known[uid_of(obj)] = _item(resource, obj)
        # NB: handlers only now: they ask who is known, and all resources must be.
        for resource, informer in self._informers.items():
            informer.add_handler(partial(self._on_change, resource))
        self._following.follow(self._on_added, self._on_resource_gone)
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop."""
        await self._following.aclose()
        await self._tasks.aclose()
        await self._queue.aclose()

    @property
    def _informers(self) -> dict[str, Informer]:
        return self._following.informers

    def _on_added(self, resource: str, informer: Informer) -> None:
        informer.add_index("owner", _index_by_owner)
        for obj in informer.list():
            self._known[uid_of(obj)] = _item(resource, obj)
        informer.add_handler(partial(self._on_change, resource))

    def _on_resource_gone(self, _: str, informer: Informer) -> None:
        for obj in informer.list():  # its last changes may not have been seen
            self._on_gone(obj)

    def _on_change(self, resource: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or uid_of(new) != uid_of(old)):
            self._on_gone(old)
        if new is None:
            return
        item = _item(resource, new)
        self._known[item.uid] = item
        if waits_for_dependents(new) or orphans_dependents(new):
            self._queue.add(item)
        references = references_of(new)
        if references and (old is None or references_of(old) != references):
            if any(reference.get("uid") not in self._known for reference in references):
                self._queue.add(item)
            for reference in references:
                self._wake_waiting(reference)
        if old is not None and references_of(old) != references:
            # A reference that was taken away may have been what an owner waited for.
            for reference in references_of(old):
                self._wake_waiting(reference)

    def _on_gone(self, last: Object) -> None:
        self._known.pop(uid_of(last), None)
        self._gone[uid_of(last)] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
        for item, _ in self._dependents(uid_of(last)):
            self._queue.add(item)
        for reference in references_of(last):
            self._wake_waiting(reference)

    def _wake_waiting(self, reference: Object) -> None:
        owner = self._known.get(str(reference.get("uid")))
        if owner is None:
            return
        informer = self._informers.get(owner.resource)
        obj = informer.get(owner.namespace, owner.name) if informer is not None else None
        if obj is not None and waits_for_dependents(obj):
            self._queue.add(owner)

    def _dependents(self, uid: str) -> list[tuple[Item, Object]]:
        return [
            (_item(resource, obj), obj)
            for resource, informer in self._informers.items()
            if informer.has_index("owner")
            for obj in informer.by_index("owner", uid)
        ]

    async def _sync(self, item: Item) -> None:
        obj = self._cached(item.resource, item.namespace, item.name)
        if obj is None or uid_of(obj) != item.uid:
            return
        try:
            await self._collect(item, obj)
        except StatusError as error:
            if error.code == 409:
                # The cache was behind: look again at once when it has caught up, else with back-off.
                fresh = await self._fresh(item)
                if fresh is None:
                    return
            elif error.code == 404:
                return
            raise

    async def _collect(self, item: Item, obj: Object) -> None:
        dependents = self._dependents(item.uid)
        match plan_owner(obj, [dependent for _, dependent in dependents]):
            case AskDependents():
                for dependent, _ in dependents:
                    self._queue.add(dependent)
            case RemoveFinalizer(finalizer):
                await self._remove_finalizer(item, obj, finalizer)
                return
            case OrphanDependents():
                for dependent, _ in dependents:
                    await self._drop_references(dependent, frozenset({item.uid}))
                await self._remove_finalizer(item, obj, ORPHAN)
                return
            case _:
                pass
        owners = {str(r.get("uid")): await self._state_of(item, r) for r in references_of(obj)}
        match plan_dependent(obj, owners, has_dependents=bool(dependents)):
            case DropReferences(uids):
                await self._drop_references(item, uids)
            case Delete(propagation):
                options = DeleteOptions(propagation=propagation, uid=item.uid, resource_version=version_of(obj))
                deleted = await self._client.delete(item.resource, item.namespace, item.name, options)
                log.debug("%s %s/%s deleted: its owners have gone", item.resource, item.namespace, item.name)
                await self._wait_until_seen(item.resource, deleted)
            case _:
                pass

    async def _state_of(self, item: Item, reference: Object) -> OwnerState:
        if str(reference.get("uid")) in self._gone:
            return OwnerState.DANGLING  # also when its kind is served no more: a definition goes with its objects
        resource = self._following.served.find_by_kind(str(reference.get("apiVersion")), str(reference.get("kind")))
        if resource is None or not _is_tracked(resource) or (resource.namespaced and not item.namespace):
            return OwnerState.SOLID
        owner = await self._find_owner(resource, item, reference)
        if owner is None:
            return OwnerState.DANGLING
        return OwnerState.WAITING if waits_for_dependents(owner) else OwnerState.SOLID

    async def _find_owner(self, resource: Resource, item: Item, reference: Object) -> Object | None:
        uid = str(reference.get("uid"))
        namespace = item.namespace if resource.namespaced else ""
        cached = self._cached(resource.name, namespace, str(reference.get("name")))
        if cached is not None and uid_of(cached) == uid:
            return cached
        return await self._fresh(Item(resource.name, namespace, str(reference.get("name")), uid))

    async def _fresh(self, item: Item) -> Object | None:
        try:
            found = await self._client.get(item.resource, item.namespace, item.name)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return found if uid_of(found) == item.uid else None

    async def _drop_references(self, item: Item, uids: frozenset[str]) -> None:
        obj = await self._fresh(item)
        if obj is None:
            return
        left = [reference for reference in references_of(obj) if reference.get("uid") not in uids]
        if len(left) == len(references_of(obj)):
            return
        await self._patch(item, obj, {"ownerReferences": left or None})

    async def _remove_finalizer(self, item: Item, obj: Object, finalizer: str) -> None:
        left = [f for f in finalizers_of(obj) if f != finalizer]
        await self._patch(item, obj, {"finalizers": left or None})

    async def _patch(self, item: Item, obj: Object, metadata: Object) -> None:
        # NB: with the version that was read: lists are replaced as a whole, and somebody else may have changed them.
        patch = {"metadata": {"uid": item.uid, "resourceVersion": version_of(obj), **metadata}}
        try:
            written = await self._client.patch(item.resource, item.namespace, item.name, patch, PatchType.MERGE)
        except StatusError as error:
            if error.code == 404:
                return
            raise
        await self._wait_until_seen(item.resource, written)

    def _cached(self, resource: str, namespace: str, name: str) -> Object | None:
        informer = self._informers.get(resource)
        return None if informer is None else informer.get(namespace, name)

    async def _wait_until_seen(self, resource: str, written: Object) -> None:
        informer = self._informers.get(resource)
        if informer is not None:
            await informer.wait_until_seen(version_of(written))


def _is_tracked(row: Resource) -> bool:
    return row.name not in UNTRACKED and can_be_followed(row)


def _item(resource: str, obj: Object) -> Item:
    return Item(resource, namespace_of(obj), name_of(obj), uid_of(obj))


def _index_by_owner(obj: Object) -> Iterable[str]:
    """Index objects by the uids of their owners."""
    for reference in references_of(obj):
        yield str(reference.get("uid"))
