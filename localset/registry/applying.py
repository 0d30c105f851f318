"""Server-side apply: from an applied configuration and the newest state to the object that is to be stored.

Pure: the registry calls it under the object's lock. Everything about owners is `machinery.ownership`; here is what a
request may say, and the way through the request's version. Sources: upstream's applyPatcher and structuredmerge.go.
"""

from typing import Any

from localset.apis import scheme
from localset.apis.resources import Resource
from localset.machinery import fitting, lastapplied, ownership
from localset.machinery.errors import bad_request, conflict
from localset.machinery.metadata import Object
from localset.machinery.ownership import Entry, Manager, Writer
from localset.registry.patching import with_replicas
from localset.registry.scale import replicas_part, scale_of
from localset.registry.tracking import shapes_of, without_owners


def check_config(resource: Resource, version: str, namespace: str, name: str, config: Any) -> None:
    """Refuse a configuration that is not one of this object: 400."""
    wanted = resource.api_version(version)
    given = config.get("apiVersion") or ""
    if given != wanted:
        why = f"Incorrect version specified in apply patch. Specified patch version: {given}, expected: {wanted}"
        raise bad_request(why)
    if config.get("kind") != resource.kind:
        given = config.get("kind") or ""
        raise bad_request(
            f"Incorrect kind specified in apply patch. Specified kind: {given}, expected: {resource.kind}"
        )
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    shape = scheme.shape_of(resource, version)
    try:
        fitting.check(shape, config)
    except fitting.TypedError as error:
        kind = f"{resource.group}/{version}, Kind={resource.kind}"
        at = metadata if isinstance(metadata, dict) else {}
        place = f"{at.get('namespace') or namespace}/{at.get('name') or name}; {kind}"
        raise bad_request(f"failed to create typed patch object ({place}): {error}") from error
    given = (metadata or {}).get("name")
    if given and given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def check_absent(resource: Resource, name: str, config: Object) -> None:
    """Refuse to create an object whose uid the configuration names: 409."""
    uid = (config.get("metadata") or {}).get("uid")
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise conflict(resource.name, name, why)


def created(resource: Resource, version: str, name: str, config: Object, writer: Writer) -> ownership.Applied:
    """Return the new object in `version` and its owners."""
    metadata = {key: value for key, value in (config.get("metadata") or {}).items() if key != "resourceVersion"}
    document = {**config, "metadata": {**metadata, "name": name}}
    empty: Object = {"apiVersion": resource.api_version(version), "kind": resource.kind, "metadata": {}}
    done = ownership.applied({}, shapes_of(resource), empty, document, writer, force=True)
    return ownership.Applied(document, done.owners)


def applied(
    resource: Resource, version: str, old: Object, config: Object, writer: Writer, *, force: bool
) -> ownership.Applied:
    """Return the object in `version` after the apply to the stored `old`, and its owners; 409 for conflicts."""
    live = scheme.encode(resource, version, without_owners(old))
    owners = ownership.stored(old["metadata"].get("managedFields"))
    if not owners:
        owners = _before_first_apply(resource, live, writer)
    try:
        done = _settled(resource, live, config, owners, writer, force=force)
    except ownership.Conflicts as conflicts:
        raise conflicts.to_status() from None
    document = done.object
    if writer.name == lastapplied.MANAGER and not writer.subresource:
        document = lastapplied.renewed(document, config)
    return ownership.Applied(document, done.owners)


def _settled(
    resource: Resource,
    live: Object,
    config: Object,
    owners: dict[Manager, Entry],
    writer: Writer,
    *,
    force: bool,
) -> ownership.Applied:
    shapes = shapes_of(resource)
    try:
        return ownership.applied(owners, shapes, live, config, writer, force=force)
    except ownership.Conflicts as conflicts:
        shape = shapes(writer.api_version)
        if writer.name != lastapplied.MANAGER or shape is None:
            raise
        rest = conflicts.but(lastapplied.allowed_conflicts(shape, writer.api_version, live))
        if rest is not None:
            raise rest from None
    return ownership.applied(owners, shapes, live, config, writer, force=True)


def _before_first_apply(resource: Resource, live: Object, writer: Writer) -> dict[Manager, Entry]:
    """Return the owner of everything in an object that nobody was recorded to own."""
    before = Writer(ownership.BEFORE_FIRST_APPLY, writer.api_version, writer.subresource, writer.time, writer.ignored)
    return ownership.updated({}, shapes_of(resource), {"metadata": {}}, live, before)


def scale_applied(
    resource: Resource, version: str, old: Object, config: Any, writer: Writer, *, force: bool
) -> ownership.Applied:
    """Return the object after an apply of a Scale, and its owners: a Scale owns nothing but spec.replicas."""
    given, wanted = config.get("apiVersion") or "", scale_of(resource, old, version)["apiVersion"]
    if given != wanted:
        why = f"Incorrect version specified in apply patch. Specified patch version: {given}, expected: {wanted}"
        raise bad_request(why)
    spec = config.get("spec")
    if not isinstance(spec, dict) or "replicas" not in spec:
        raise bad_request("failed to create typed patch object: .spec.replicas: an applied Scale must say it")
    new = with_replicas(resource, version, old, config)
    part = {
        "apiVersion": writer.api_version,
        "kind": resource.kind,
        **replicas_part(resource, version, spec["replicas"]),
    }
    owners = ownership.stored(old["metadata"].get("managedFields"))
    if not owners:
        owners = _before_first_apply(resource, old, writer)
    try:
        done = ownership.applied(owners, shapes_of(resource), old, part, writer, force=force)
    except ownership.Conflicts as conflicts:
        raise conflicts.to_status() from None
    return ownership.Applied(new, done.owners)
