"""Kinds that are stored and shown, and why nothing follows from them on one machine. Pure.

The registry says the text as a Warning when an object is made and when its content changes; never for ServiceAccounts,
which work. Each row stands in docs/parity.md too.
"""

from typing import Any

from localset.machinery.metadata import Object

_ACCESS = "every ServiceAccount may do everything"
REASONS: dict[str, str] = {
    "Role": _ACCESS,
    "ClusterRole": _ACCESS,
    "RoleBinding": _ACCESS,
    "ClusterRoleBinding": _ACCESS,
    "NetworkPolicy": "all Pods of this machine reach each other",
    "Ingress": "nothing routes by it: use the Service's own address, or port-forward",
    "IngressClass": "no ingress controller runs unless you start one",
    "PriorityClass": "Pods are never preempted",
    "RuntimeClass": "processes run on this machine's own kernel",
    "CSIDriver": "volumes are directories of this machine",
    "ResourceQuota": "nothing is counted against it",
    "LimitRange": "containers get neither limits nor requests from it",
    "HorizontalPodAutoscaler": "nothing scales by load: use kubectl scale",
}


def warning_of(kind: str) -> list[str]:
    """Return the Warning for writing an object of this kind; none for kinds that work."""
    reason = REASONS.get(kind)
    return [f"{kind}: no effect here: {reason}"] if reason else []


def content_of(obj: Object) -> dict[str, Any]:
    """Return what a Warning is about: the object without metadata and status."""
    return {field: value for field, value in obj.items() if field not in {"metadata", "status"}}
