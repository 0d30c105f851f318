"""New states from old ones: patches, scales, bindings, finalizers.

Pure functions that registry hands to writing, which calls them with the newest state under the object's lock. Each
returns a private copy.
"""

from typing import Any

from localset.apis import scheme
from localset.apis.resources import Resource
from localset.base.clock import Clock, rfc3339
from localset.client.client import PatchType
from localset.machinery.errors import bad_request, conflict
from localset.machinery.metadata import Object, copy_of, name_of
from localset.machinery.patch import apply_json_patch, apply_merge_patch
from localset.machinery.strategic_patch import apply_strategic_patch
from localset.registry.scale import wanted_replicas


def apply_patch(resource: Resource, version: str, document: Object, patch: Any, patch_type: PatchType) -> Object:
    """Return `document` with `patch` applied; StatusError when it cannot be."""
    if patch_type is PatchType.JSON:
        result = apply_json_patch(document, patch)
    elif patch_type is PatchType.MERGE:
        result = apply_merge_patch(document, patch)
    else:
        result = apply_strategic_patch(document, patch, scheme.patch_schema(resource, version))
    if not isinstance(result, dict) or not isinstance(result.get("metadata", {}), dict):
        raise bad_request("the patch does not leave an object")
    return result


def patched(resource: Resource, old: Object, patch: Any, patch_type: PatchType) -> Object:
    """Return a private storage-version copy of `old` with `patch` applied."""
    return copy_of(apply_patch(resource, resource.storage_version, old, patch, patch_type))  # type: ignore[no-any-return]


def with_replicas(old: Object, scale: Any) -> Object:
    """Return `old` with the Scale's replicas, and its version and uid as preconditions."""
    replicas = wanted_replicas(scale, name_of(old))
    new: Object = copy_of(old)
    new.setdefault("spec", {})["replicas"] = replicas
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
