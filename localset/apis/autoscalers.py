"""HorizontalPodAutoscalers of autoscaling/v1, which `kubectl autoscale` up to 1.32 writes, as those of v2 and back.

v1 has one metric, the CPU's utilization. What v2 says beyond that rides along in annotations, as upstream does
(autoscaling/v1/conversion.go), so that an object which is read and written in v1 loses nothing. Pure.
"""

import json
from typing import Any

from localset.apis.schema.types import check_type
from localset.machinery.decoding import decode_json
from localset.machinery.metadata import Object

_TYPES = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"
_PREFIX = "autoscaling.alpha.kubernetes.io/"
_SPEC = {"metrics": f"{_PREFIX}metrics", "behavior": f"{_PREFIX}behavior"}
_STATUS = {"currentMetrics": f"{_PREFIX}current-metrics", "conditions": f"{_PREFIX}conditions"}
_CPU_TARGET, _CPU_NOW = "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage"


def to_storage(autoscaler: Object, version: str) -> None:
    """Make a checked object of `version` one of v2, in place."""
    if version == "v2":
        return
    spec, status = autoscaler.setdefault("spec", {}), autoscaler.setdefault("status", {})
    metrics, now = spec.pop(_CPU_TARGET, None), status.pop(_CPU_NOW, None)
    for part, names, type_name in ((spec, _SPEC, "Spec"), (status, _STATUS, "Status")):
        for field, annotation in names.items():
            kept = _taken(autoscaler, field, annotation, type_name)
            if kept:
                part[field] = kept
    if metrics is not None:
        target = {"type": "Utilization", "averageUtilization": metrics}
        spec["metrics"] = [
            {"type": "Resource", "resource": {"name": "cpu", "target": target}},
            *_listed(spec, "metrics"),
        ]
    if now is not None:
        current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}
        status["currentMetrics"] = [current, *_listed(status, "currentMetrics")]


def from_storage(autoscaler: Object, version: str) -> None:
    """Make an object of v2 one of `version`, in place."""
    if version == "v2":
        return
    spec, status = autoscaler.setdefault("spec", {}), autoscaler.setdefault("status", {})
    for part, field, inner, name in (
        (spec, "metrics", "target", _CPU_TARGET),
        (status, "currentMetrics", "current", _CPU_NOW),
    ):
        rest = []
        for metric in _listed(part, field):
            percentage = _utilization(metric, inner)
            if percentage is None or name in part:
                rest.append(metric)
            else:
                part[name] = percentage
        part[field] = rest
    for part, names in ((spec, _SPEC), (status, _STATUS)):
        for field, annotation in names.items():
            value = part.pop(field, None)
            if value:
                annotations = autoscaler["metadata"].get("annotations") or {}
                written = json.dumps(value, separators=(",", ":"), sort_keys=True)
                autoscaler["metadata"]["annotations"] = {**annotations, annotation: written}
    status.setdefault("currentReplicas", 0)


def _listed(part: Object, field: str) -> list[Any]:
    return list(part.get(field) or [])


def _utilization(metric: Object, inner: str) -> int | None:
    """Return the percentage of a metric that is about the CPU's utilization; None for any other."""
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    percentage: int | None = (resource.get(inner) or {}).get("averageUtilization")
    return percentage


def _taken(autoscaler: Object, field: str, annotation: str, type_name: str) -> Any:
    """Take what an annotation keeps of `field`; None for none, and for what no object of v2 could have held."""
    annotations = autoscaler["metadata"].get("annotations") or {}
    try:
        kept = decode_json(annotations.get(annotation, "null").encode())[0]
        checked = check_type(f"{_TYPES}{type_name}", {field: kept}, field, []).get(field)
    except ValueError:  # a DecodeError is one
        return None
    if not checked:
        return None
    rest = {key: value for key, value in annotations.items() if key != annotation}
    autoscaler["metadata"].pop("annotations")
    if rest:
        autoscaler["metadata"]["annotations"] = rest
    return checked
