"""The one door to objects: the `Client` protocol.

Controllers, kubelet and DNS reach objects only through it (design 1). The registry *is* a Client; so is the HTTP
client. A
resource is named as kubectl names it: `pods`, `statefulsets.apps`, `storageclasses.storage.k8s.io`. Objects are
always in
the resource's storage version (`v1` of its group) and are shared: copy before changing.
"""

from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from localset.apis.resources import Resource
from localset.base.frozen import frozen
from localset.machinery.metadata import Object


class WatchType(StrEnum):
    """`type` of a watch event."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class WatchEvent(NamedTuple):
    """One change. `object` of DELETED is the last state with the deletion's own resourceVersion."""

    type: WatchType
    object: Object


class ObjectList(NamedTuple):
    """A LIST answer: items sorted by namespace, then name, and the version that a watch can start from."""

    items: list[Object]
    resource_version: str


class PatchType(StrEnum):
    """Content types of PATCH."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Propagation(StrEnum):
    """What happens to dependents on delete."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


@frozen
class DeleteOptions:
    """metav1.DeleteOptions. `grace_period_seconds` None means the object's own."""

    grace_period_seconds: int | None = None
    propagation: Propagation | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


class Client(Protocol):
    """CRUD, patch and watch on all served resources. Every method raises `StatusError`."""

    async def resources(self) -> list[Resource]:
        """Return the rows of all resources that are served now, custom ones too. Ask again after definitions change."""
        ...

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        """Return one object; 404 when absent. `namespace` is empty for cluster-scoped resources."""
        ...

    async def list(
        self, resource: str, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return all matching objects; an empty namespace means all."""
        ...

    async def create(self, resource: str, obj: Object) -> Object:
        """Create and return the stored object; the namespace is the object's."""
        ...

    async def update(self, resource: str, obj: Object) -> Object:
        """Replace everything but status; 409 when resourceVersion is set and stale."""
        ...

    async def update_status(self, resource: str, obj: Object) -> Object:
        """Replace status only; 409 as `update`."""
        ...

    async def patch(
        self, resource: str, namespace: str, name: str, patch: Any, patch_type: PatchType, *, subresource: str = ""
    ) -> Object:
        """Apply `patch` (a JSON value) to the object or to its `status`/`scale` subresource."""
        ...

    async def delete(self, resource: str, namespace: str, name: str, options: DeleteOptions | None = None) -> Object:
        """Delete, or begin to; return the last or the lingering object."""
        ...

    def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield changes after `resource_version`, for ever; 410 Expired when it is no longer held.

        A BOOKMARK may come at any time: it is no change, its object says only up to which version all were told.
        """
        ...
