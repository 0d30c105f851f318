"""The scale subresource of StatefulSets and custom resources as an object of its own.

Pure: registry reads and writes the object, this module shows it as a Scale and takes a Scale's wish. Sources:
autoscaling/v1 Scale, and the Scale of apps/v1beta1 and v1beta2, whose selector is a map (kube-api.md 8.4).
"""

from typing import Any

from localset.apis.resources import Resource
from localset.machinery.errors import Cause, StatusError, bad_request, bad_value, invalid
from localset.machinery.metadata import Object, name_of

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(resource: Resource, obj: Object, version: str) -> Object:
    """Return the Scale of the storage-version `obj`, in the shape that belongs to `version` of its group."""
    metadata = obj["metadata"]
    if resource.definition is not None:
        from localset.apis.customresources.scale import scale_parts

        paths = resource.definition.version(version).scale
        assert paths is not None, "check_scalable was asked"
        parts = scale_parts(obj, paths)
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {field: metadata[field] for field in _KEPT if field in metadata},
            "spec": parts[0],
            "status": parts[1],
        }
    spec = obj.get("spec") or {}
    selector = spec.get("selector") or {}
    replicas = spec.get("replicas", 1)
    status: Object = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    if version == "v1":
        api_version = "autoscaling/v1"
        status["selector"] = selector_text(selector)
    else:
        api_version = f"apps/{version}"
        if not selector.get("matchExpressions"):
            status["selector"] = selector.get("matchLabels") or {}
        status["targetSelector"] = selector_text(selector)
    return {
        "apiVersion": api_version,
        "kind": "Scale",
        "metadata": {field: metadata[field] for field in _KEPT if field in metadata},
        "spec": {"replicas": replicas} if replicas else {},  # 0 is not serialized, as upstream
        "status": status,
    }


def replicas_part(resource: Resource, version: str, replicas: Any) -> Object:
    """Return an object that holds nothing but the wanted replicas, where they lie in `resource`."""
    paths = resource.definition.version(version).scale if resource.definition is not None else None
    part: Any = replicas
    for step in reversed((paths.spec_replicas if paths else ".spec.replicas").removeprefix(".").split(".")):
        part = {step: part}
    return part  # type: ignore[no-any-return] # a path has one step at least


def selector_text(selector: Object) -> str:
    """Return a LabelSelector in the query grammar, sorted, as the API server prints it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        key, operator = expression.get("key", ""), expression.get("operator")
        values = ",".join(sorted(expression.get("values") or []))
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        parts.append(texts.get(operator, key))
    return ",".join(sorted(parts))


def wanted_replicas(scale: Any, name: str) -> int:
    """Return spec.replicas of a Scale that a client sent (absent: 0, as in Go); StatusError for a bad one."""
    if not isinstance(scale, dict):
        raise bad_request("Scale must be an object")
    spec = scale.get("spec") or {}
    metadata = scale.get("metadata") or {}
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        raise bad_request("Scale: spec and metadata must be objects")
    if name_of(scale) not in {"", name}:
        raise bad_request(f"the name of the object ({name_of(scale)}) does not match the name on the URL ({name})")
    replicas = spec.get("replicas", 0)
    if replicas is None:
        replicas = 0
    if isinstance(replicas, bool) or not isinstance(replicas, int) or abs(replicas) > 2**31 - 1:
        raise StatusError(
            400, "BadRequest", 'Scale in version "v1" cannot be handled as a Scale: spec.replicas must be an int32'
        )
    if replicas < 0:
        causes: list[Cause] = [bad_value("spec.replicas", replicas, "must be greater than or equal to 0")]
        raise invalid("Scale", "autoscaling", name, causes)
    return replicas
