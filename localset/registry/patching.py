"""New states from old ones: patches, scales, bindings, finalizers.

Pure functions that registry hands to writing, which calls them with the newest state under the object's lock. Each
returns a private copy.
"""

import json
from typing import Any

from localset.apis import scheme
from localset.apis.resources import Resource
from localset.base.clock import Clock, rfc3339
from localset.client.client import PatchType
from localset.machinery.errors import StatusError, bad_request, bad_value, conflict, go_print, invalid
from localset.machinery.metadata import Object, copy_of, name_of, version_of
from localset.machinery.patch import apply_json_patch, apply_merge_patch
from localset.machinery.strategic_patch import apply_strategic_patch
from localset.registry.scale import wanted_replicas

_MOST_SHOWN = 4096


def apply_patch(resource: Resource, version: str, document: Object, patch: Any, patch_type: PatchType) -> Object:
    """Return a private copy of `document` with `patch` applied; StatusError when it cannot be."""
    if patch_type is PatchType.JSON:
        result = apply_json_patch(document, patch)
    elif patch_type is PatchType.MERGE:
        result = apply_merge_patch(document, patch)
    else:
        result = apply_strategic_patch(document, patch, scheme.patch_schema(resource, version))
    if not isinstance(result, dict):
        raise unusable(result, patch_type, patch, "the patch does not leave an object")
    # What it is and in which version stands in the URL: a patch cannot change it.
    return {**result, "apiVersion": document["apiVersion"], "kind": document["kind"]}


_HEAD = ("apiVersion", "kind", "metadata")


def head_of(obj: Object) -> Object:
    """Return what an object is and its metadata, shared, without all the rest."""
    return {key: obj[key] for key in _HEAD if key in obj}


def touches_metadata_alone(patch: Any, patch_type: PatchType) -> bool:
    """Tell whether a patch can reach labels, annotations and their like and nothing else.

    The rest of the object then need not be proved again: it was accepted as it is.
    """
    return patch_type in {PatchType.MERGE, PatchType.STRATEGIC} and isinstance(patch, dict) and set(patch) <= set(_HEAD)


def unusable(result: Any, patch_type: PatchType, patch: Any, why: str) -> StatusError:
    """422 for a patch that leaves something which is no object of the kind."""
    shown = go_print(patch) if patch_type is PatchType.STRATEGIC else json.dumps(result, separators=(",", ":"))
    if len(shown) > _MOST_SHOWN:
        shown = f"{shown[:_MOST_SHOWN]}…"
    cause = bad_value("patch", shown, why)
    why = f' "" is invalid: {cause.field}: {cause.message}'
    return StatusError(422, "Invalid", why, {"causes": [cause.to_json()]})


def check_same(new: Object, old: Object, resource: Resource) -> None:
    """Refuse a patch that gives the object another name (400) or uid (422)."""
    if name_of(new) != name_of(old):
        why = f"the name of the object ({name_of(new)}) does not match the name on the URL ({name_of(old)})"
        raise bad_request(why)
    uid = new["metadata"].get("uid")
    if uid and uid != old["metadata"].get("uid"):
        cause = bad_value("metadata.uid", uid, "field is immutable")
        raise invalid(resource.kind, resource.group, name_of(old), [cause, cause])  # upstream checks it twice


def patched(resource: Resource, old: Object, patch: Any, patch_type: PatchType) -> Object:
    """Return a private storage-version copy of `old` with `patch` applied."""
    return apply_patch(resource, resource.storage_version, old, patch, patch_type)


def with_replicas(resource: Resource, version: str, old: Object, scale: Any) -> Object:
    """Return `old` with the Scale's replicas, and its version and uid as preconditions."""
    replicas = wanted_replicas(scale, name_of(old))
    if resource.definition is not None and (paths := resource.definition.version(version).scale) is not None:
        from localset.apis.customresources.scale import with_wanted

        new = with_wanted(old, paths, replicas)
    else:
        new = copy_of(old)
        new.setdefault("spec", {})["replicas"] = replicas
    if resource.definition is not None:
        new["metadata"]["resourceVersion"] = version_of(old)
    for field in ("resourceVersion", "uid"):
        wanted = (scale.get("metadata") or {}).get(field)
        if wanted:
            new["metadata"][field] = wanted
    return new


def finalized(old: Object, wish: Object) -> Object:
    """Return `old` with only the wish's spec.finalizers."""
    new: Object = copy_of(old)
    new.setdefault("spec", {})["finalizers"] = list((wish.get("spec") or {}).get("finalizers") or [])
    return new


def bound_to(old: Object, node_name: str, clock: Clock) -> Object:
    """Return the Pod `old` on that node; StatusError 409 when it is on another one or dying."""
    name = name_of(old)
    assigned = (old.get("spec") or {}).get("nodeName")
    if assigned and assigned != node_name:
        raise conflict("pods/binding", name, f'pod {name} is already assigned to node "{assigned}"')
    new: Object = copy_of(old)
    if assigned == node_name:
        return new
    if old["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    new.setdefault("spec", {})["nodeName"] = node_name
    status = new.setdefault("status", {})
    conditions = [c for c in status.get("conditions") or [] if c.get("type") != "PodScheduled"]
    moment = rfc3339(clock.now())
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
    status["conditions"] = [*conditions, scheduled]
    return new
