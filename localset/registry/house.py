"""The registry's inner half: the Client that controllers, kubelet and DNS talk to.

Objects are in storage versions on the way in and out, shared on the way out, and their writers are trusted to know the
schema: they are defaulted and validated, not decoded. `registry.py` puts the versioned door in front. Reads come from
the store's memory and never wait.
"""

from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from localset.apis import scheme
from localset.apis.resources import Resource
from localset.apis.scheme import FieldValidation
from localset.apis.served import ServedResources
from localset.base.clock import Clock
from localset.base.frozen import frozen
from localset.client.client import DeleteOptions, ObjectList, PatchType, WatchEvent
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import Object, copy_of, name_of, namespace_of
from localset.machinery.ownership import Writer
from localset.registry import eviction
from localset.registry.definitions import Definitions
from localset.registry.listing import Page, page_of
from localset.registry.patching import bound_to, finalized, patched, with_replicas
from localset.registry.scale import scale_of
from localset.registry.selection import selection_of
from localset.registry.settings import RegistrySettings
from localset.registry.tracking import track_update
from localset.registry.watching import watch_events
from localset.registry.writing import Writing
from localset.store.records import Key
from localset.store.store import Store


@frozen
class WriteOptions:
    """Query parameters of a write."""

    field_validation: FieldValidation = FieldValidation.STRICT
    field_manager: str = ""
    dry_run: bool = False
    force: bool = False
    """Apply only: take fields from whoever owns them."""


class Patch(NamedTuple):
    """A JSON value and how it is meant; the writer when it came through the API's door."""

    value: Any
    type: PatchType
    writer: Writer | None = None


def check_scalable(resource: Resource, version: str = "") -> None:
    """Raise 404 for a resource without the scale subresource in `version`."""
    if "scale" not in resource.subresources_of(version or resource.storage_version):
        raise StatusError(404, "NotFound", "the server could not find the requested resource")


SPECIAL = frozenset({"scale", "binding", "finalize"})
"""Subresources that are no plain part of their object."""


class House:
    """All objects of one installation, as a Client."""

    def __init__(self, store: Store, clock: Clock, settings: RegistrySettings | None = None) -> None:
        """Stand in front of `store`, which the caller opens and closes."""
        self._store = store
        self._clock = clock
        self._writing = Writing(store, clock, settings or RegistrySettings())
        self.served = ServedResources()
        Definitions(store, self.served)

    @property
    def resource_version(self) -> str:
        """Return the newest version: what a LIST would carry now."""
        return str(self._store.revision)

    def resource(self, name: str) -> Resource:
        """Return the served resource of that name; StatusError 404."""
        found = self.served.get(name)
        if found is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        return found

    def find(self, resource: str, namespace: str, name: str) -> Object | None:
        """Return one object or None, at once: for what must be decided in the same turn of the loop."""
        record = self._store.get(Key(self.resource(resource).name, namespace, name))
        return record.object if record is not None else None

    def stored(self, name: str) -> Resource:
        """Return the resource that holds the objects of `name`: itself, unless it shows another's."""
        found = self.resource(name)
        return self.resource(found.stored_as) if found.stored_as else found

    async def resources(self) -> list[Resource]:
        """Return the rows of all resources that are served now."""
        return list(self.served)

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        """Return one object; 404 when absent."""
        return self._writing.current(self.stored(resource).name, namespace, name).object

    async def list(
        self, resource: str, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return all matching objects; an empty namespace means all."""
        page = self._page(resource, namespace, label_selector, field_selector)
        return ObjectList([record.object for record in page.records], page.resource_version)

    async def create(self, resource: str, obj: Object) -> Object:
        """Create and return the stored object."""
        found = self.resource(resource)
        return await self._writing.create(found, scheme.default(found, obj))

    async def update(self, resource: str, obj: Object) -> Object:
        """Replace everything but status; 409 when resourceVersion is set and stale."""
        found = self.resource(resource)
        new = scheme.default(found, obj)
        return await self._writing.update(found, namespace_of(obj), name_of(obj), lambda _: new)

    async def update_status(self, resource: str, obj: Object) -> Object:
        """Replace status only; 409 as `update`."""
        new = {**obj, "metadata": copy_of(obj["metadata"])}  # the rest is the stored object's
        if "status" in obj:
            new["status"] = copy_of(obj["status"])
        return await self._writing.update(
            self.resource(resource), namespace_of(obj), name_of(obj), lambda _: new, subresource="status"
        )

    async def patch(
        self, resource: str, namespace: str, name: str, patch: Any, patch_type: PatchType, *, subresource: str = ""
    ) -> Object:
        """Apply `patch` to the newest state of the object or of its status, scale, binding or finalize subresource."""
        found = self.resource(resource)
        if subresource in SPECIAL:
            return await self._patch_special(
                found, namespace, name, Patch(patch, patch_type), found.storage_version, subresource
            )

        def change(old: Object) -> Object:
            new = patched(found, old, patch, patch_type)
            return new if subresource else scheme.default(found, new)

        return await self._writing.update(found, namespace, name, change, subresource=subresource)

    async def delete(self, resource: str, namespace: str, name: str, options: DeleteOptions | None = None) -> Object:
        """Delete, or begin to; return the last or the lingering object."""
        obj, _ = await self._writing.delete(self.resource(resource), namespace, name, options or DeleteOptions())
        return obj

    def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield changes after `resource_version`, for ever; 410 when it is no longer held or the reader is too slow."""
        selection = selection_of(self.resource(resource), namespace, label_selector, field_selector)
        return watch_events(self._store, selection, resource_version)

    def _page(
        self,
        resource: str,
        namespace: str,
        label_selector: str,
        field_selector: str,
        limit: int = 0,
        continue_token: str = "",
    ) -> Page:
        selection = selection_of(self.resource(resource), namespace, label_selector, field_selector)
        return page_of(self._store, selection, limit, continue_token)

    async def _patch_special(  # noqa: PLR0913 - a PATCH's coordinates
        self,
        found: Resource,
        namespace: str,
        name: str,
        patch: Patch,
        version: str,
        subresource: str,
        *,
        is_dry_run: bool = False,
    ) -> Object:
        """Patch what is no plain part of the object: a Scale, a Pod's node, a namespace's finalizers."""
        if subresource == "scale":
            check_scalable(found, version)

            def rescale(old: Object) -> Object:
                scale = patched(found, scale_of(found, old, version), patch.value, patch.type)
                return self._tracked(found, old, with_replicas(found, version, old, scale), patch)

            stored = await self._writing.update(
                found,
                namespace,
                name,
                rescale,
                version=version,
                is_dry_run=is_dry_run,
                is_tracked=patch.writer is not None,
            )
            return scale_of(found, stored, version)
        if subresource == "binding":
            old = await self.get(found.name, namespace, name)
            target = patched(found, old, patch.value, patch.type)
            node = str((target.get("spec") or {}).get("nodeName") or "")
            return await self.bind_pod(namespace, name, node)
        return await self._writing.update(
            found,
            namespace,
            name,
            lambda old: self._tracked(found, old, finalized(old, patched(found, old, patch.value, patch.type)), patch),
            subresource=subresource,
            is_dry_run=is_dry_run,
            is_tracked=patch.writer is not None,
        )

    @staticmethod
    def _tracked(found: Resource, old: Object, new: Object, patch: Patch) -> Object:
        if patch.writer is not None:
            track_update(found, old, new, patch.writer)
        return new

    # Pods

    async def bind_pod(self, namespace: str, name: str, node_name: str) -> Object:
        """Assign a Pod to a node, with condition PodScheduled; the same node again is a no-op, another one 409."""
        if not node_name:
            raise bad_request("a binding needs a target node")
        return await self._writing.update(
            self.resource("pods"),
            namespace,
            name,
            lambda old: bound_to(old, node_name, self._clock),
            subresource="binding",
        )

    async def evict_pod(self, namespace: str, name: str, options: DeleteOptions | None = None) -> Object:
        """Delete a Pod if its disruption budget allows, with these delete options; return a Status.

        StatusError 429 while the budget forbids it, 500 when two budgets cover the Pod.
        """
        pod = await self.get("pods", namespace, name)
        return await eviction.evict(self, self._clock, pod, options or DeleteOptions())
