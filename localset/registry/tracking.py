"""managedFields of ordinary writes that come through the API's door: who owns what after a POST, PUT or PATCH.

Pure. The registry calls it with the newest state under the object's lock, before the kind's strategy sees the new one,
as upstream does. The house's own writers are not tracked: their objects carry no managedFields, and like upstream an
object without any gets none until the first apply.
"""

from typing import Any

from localset.apis import scheme
from localset.apis.resources import Resource
from localset.client.client import PatchType
from localset.machinery import ownership
from localset.machinery.metadata import Object
from localset.machinery.ownership import Entry, Manager, ShapeOf, Writer
from localset.machinery.shapes import Shape


def shapes_of(resource: Resource) -> ShapeOf:
    """Return how to find the shape of the kind in an apiVersion."""

    def find(api_version: str) -> Shape | None:
        group, _, version = api_version.rpartition("/")
        if group != resource.group or version not in resource.versions:
            return None
        return scheme.shape_of(resource, version)

    return find


def writer_of(resource: Resource, version: str, manager: str, subresource: str, time: str) -> Writer:
    """Return who writes, with what this way of writing cannot touch (upstream's resetFields)."""
    ignored = frozenset[str]()
    if "status" in resource.subresources_of(version):
        ignored = frozenset({"spec"} if subresource == "status" else {"status"})
    return Writer(manager, resource.api_version(version), subresource, time, ignored)


def track_create(resource: Resource, new: Object, writer: Writer) -> None:
    """Give the private, decoded `new` its first owner, in place."""
    new["metadata"].pop("managedFields", None)
    owners = ownership.updated({}, shapes_of(resource), {"metadata": {}}, _seen(resource, new, writer), writer)
    set_owners(new, owners)


def track_update(resource: Resource, old: Object, new: Object, writer: Writer) -> None:
    """Give the private `new`, which is to replace `old`, its owners, in place.

    managedFields that `new` carries count, unless they make no sense or come through a subresource; one empty entry
    makes everybody forget.
    """
    listed, before = new["metadata"].pop("managedFields", None), old["metadata"].get("managedFields")
    owners = owners_of(before, None if writer.subresource else listed)
    if not owners:
        return
    seen = _seen(resource, old, writer), _seen(resource, new, writer)
    after = ownership.updated(owners, shapes_of(resource), *seen, writer)
    set_owners(new, after)
    if before and before == new["metadata"].get("managedFields"):
        new["metadata"]["managedFields"] = before


def _seen(resource: Resource, obj: Object, writer: Writer) -> Object:
    """Return a stored object as its fields are named: only a kind that shows another's objects names them anew."""
    if not resource.stored_as:
        return obj
    return scheme.encode(resource, writer.api_version.rpartition("/")[2], obj)


def owners_of(before: Any, listed: Any) -> dict[Manager, Entry]:
    """Return the owners that count: those a client sent, else the stored ones."""
    if ownership.is_reset(listed):
        return {}
    if listed and listed != before:
        sent = ownership.decode(listed)
        if sent:
            return sent
    return ownership.stored(before)


def set_owners(obj: Object, owners: ownership.Owners) -> None:
    """Write the owners into the metadata of a private object, in place."""
    listed = ownership.encode(owners)
    if listed:
        obj["metadata"]["managedFields"] = listed
    else:
        obj["metadata"].pop("managedFields", None)


def without_owners(obj: Object) -> Object:
    """Return `obj` without managedFields; shares the rest."""
    metadata = obj["metadata"]
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def concerns_owners(patch: Any, patch_type: PatchType) -> bool:
    """Tell whether a patch may read or write managedFields. All others are spared copying and checking them."""
    if patch_type is not PatchType.JSON:
        metadata = patch.get("metadata")
        return isinstance(metadata, dict) and ("managedFields" in metadata or "$patch" in metadata)
    whole = ("", "/metadata")
    places = [str(op.get(key) or "") for op in patch if isinstance(op, dict) for key in ("path", "from") if key in op]
    return any(place in whole or place.startswith("/metadata/managedFields") for place in places)
