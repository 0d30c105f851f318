"""The namespace controller: default ServiceAccount and root CA in each namespace, and the end of dying ones.

Started by `controllers.start`. A dying namespace is emptied and looked at again whenever something in it goes; it ends
by the `finalize` subresource once nothing is left. Nothing here polls.
"""

import asyncio
from functools import partial

from localset.apis.resources import Resource
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions, PatchType
from localset.client.following import Following, can_be_followed
from localset.client.informer import Informer, InformerFactory
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Object,
    copy_of,
    is_being_deleted,
    name_of,
    namespace_of,
    uid_of,
)

WORKERS = 2
UNFOLLOWED = "events"
"""Events are many, and go at once when deleted: their end need not be watched for."""
ROOT_CA = "kube-root-ca.crt"
DEFAULT_ACCOUNT = "default"


class NamespaceController:
    """Follows namespaces, and the end of what is in them."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory, root_ca: str) -> None:
        """`root_ca` is the PEM text that every namespace publishes."""
        self._client = client
        self._root_ca = root_ca
        self._namespaces = informers.of("namespaces")
        self._following = Following(client, clock, informers, lambda r: r.namespaced and r.name != UNFOLLOWED)
        self._queue: WorkQueue[str] = WorkQueue("namespace", clock)
        self._tasks = Tasks("namespace controller")

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        await asyncio.gather(self._namespaces.start(), self._following.start())
        self._namespaces.add_handler(self._on_namespace)
        for resource, informer in self._following.informers.items():
            self._on_added(resource, informer)
        self._following.follow(self._on_added, self._on_gone)
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop; a dying namespace goes on dying after the next start."""
        await self._following.aclose()
        await self._tasks.aclose()
        await self._queue.aclose()

    @property
    def _contents(self) -> dict[str, Informer]:
        return self._following.informers

    def _on_added(self, resource: str, informer: Informer) -> None:
        informer.add_handler(partial(self._on_content, resource))

    def _on_gone(self, _: str, informer: Informer) -> None:
        for namespace in self._namespaces.list():  # what was served no more may have been the last thing in it
            if is_being_deleted(namespace):
                self._queue.add(name_of(namespace))
        del informer

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(name_of(new))

    def _on_content(self, resource: str, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        namespace = self._namespaces.get("", namespace_of(obj))
        if namespace is None:
            return
        is_given = (resource, name_of(obj)) in {("serviceaccounts", DEFAULT_ACCOUNT), ("configmaps", ROOT_CA)}
        if is_being_deleted(namespace) or (is_given and old is not None):
            self._queue.add(name_of(namespace))

    async def _sync(self, name: str) -> None:
        namespace = self._namespaces.get("", name)
        if namespace is None:
            return
        try:
            if is_being_deleted(namespace):
                await self._end(namespace)
            else:
                await self._give(name)
        except StatusError as error:
            if error.code not in {403, 404}:  # It began to die or died meanwhile: the informer says so.
                raise

    async def _give(self, namespace: str) -> None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount"}
        await self._ensure(
            "serviceaccounts", {**account, "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace}}
        )
        data = {"ca.crt": self._root_ca}
        stored = self._contents["configmaps"].get(namespace, ROOT_CA)
        if stored is None:
            metadata = {"name": ROOT_CA, "namespace": namespace}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            await self._ensure("configmaps", config_map)
        elif stored.get("data") != data and not is_being_deleted(stored):
            await self._client.update("configmaps", {**copy_of(stored), "data": data})

    async def _ensure(self, resource: str, obj: Object) -> None:
        if self._contents[resource].get(namespace_of(obj), name_of(obj)) is not None:
            return
        try:
            await self._client.create(resource, obj)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _end(self, namespace: Object) -> None:
        remaining = 0
        for resource in await self._client.resources():
            if resource.namespaced and can_be_followed(resource):
                remaining += await self._empty(resource, name_of(namespace))
        if remaining:
            return  # Each of these reports its end, and then this is looked at again.
        patch: Object = {"spec": {"finalizers": []}}
        await self._client.patch("namespaces", "", name_of(namespace), patch, PatchType.MERGE, subresource="finalize")

    async def _empty(self, resource: Resource, namespace: str) -> int:
        """Delete all of one resource; return how many are still there, each with finalizers or in its grace period."""
        for obj in (await self._client.list(resource.name, namespace)).items:
            if is_being_deleted(obj):
                continue
            try:
                await self._client.delete(resource.name, namespace, name_of(obj), DeleteOptions(uid=uid_of(obj)))
            except StatusError as error:
                if error.code not in {404, 409}:
                    raise
        return len((await self._client.list(resource.name, namespace)).items)
