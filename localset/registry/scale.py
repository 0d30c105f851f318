"""The scale subresource of StatefulSets as an object of its own.

Pure: registry reads and writes the set, this module shows it as a Scale and takes a Scale's wish. Sources:
autoscaling/v1 Scale, and the Scale of apps/v1beta1 and v1beta2, whose selector is a map (kube-api.md 8.4).
"""

from typing import Any

from localset.apis.resources import REFUSED
from localset.machinery.errors import Cause, StatusError, bad_request, bad_value, invalid
from localset.machinery.metadata import Object, name_of

RESOURCES = frozenset(
    {"statefulsets.apps", *(resource.name for resource in REFUSED if "scale" in resource.subresources)}
)
"""Those of refused kinds are never found: their Scale is a 404 that names the object."""


def scale_of(obj: Object, version: str) -> Object:
    """Return the Scale of the storage-version set `obj`, in the shape that belongs to `version` of apps."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec = obj.get("spec") or {}
    selector = spec.get("selector") or {}
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
        "metadata": {field: metadata[field] for field in kept if field in metadata},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": status,
    }


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
