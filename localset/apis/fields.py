"""Field selectors: which fields each kind knows, and their values. Called by the registry. Pure.

Source: kube-api.md 4.5, and per kind GetAttrs and the field label conversions.
"""

from localset.apis.events import OLD_WORDS
from localset.machinery.metadata import Object

_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    "events.events.k8s.io": (
        "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
        "regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "replicationcontrollers": ("status.replicas",),
    "replicasets.apps": ("status.replicas",),
    "secrets": ("type",),
    "services": ("spec.type", "spec.clusterIP"),
}  # fmt: skip


_ALWAYS = ("metadata.name", "metadata.namespace")
_FLAGS = {"spec.unschedulable", "spec.hostNetwork"}
_NAMED = {"pods", "events", "events.events.k8s.io", "nodes", "namespaces"}
"""Kinds whose refusal upstream words otherwise: they convert field labels by a list of their own."""


def field_value(resource_name: str, obj: Object, path: str) -> str | None:
    """Return the field's text, empty when absent (`false` for a flag); None when the kind does not support it."""
    if path not in _ALWAYS and path not in _FIELDS.get(resource_name, ()):
        return None
    if resource_name == "events.events.k8s.io":
        first, dot, rest = path.partition(".")
        path = OLD_WORDS.get(first, first) + dot + rest
    if path == "source":
        return _text(obj, "source.component") or _text(obj, "reportingComponent")
    text = _text(obj, path)
    return "false" if path in _FLAGS and not text else text


def _text(obj: Object, path: str) -> str:
    value: object = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def refusal(resource_name: str, path: str) -> str:
    """Return what a server says (400) to a field that the kind does not support."""
    if resource_name in _NAMED:
        return f"field label not supported: {path}"
    known = ", ".join(f'"{field}"' for field in (*_ALWAYS, *_FIELDS.get(resource_name, ())))
    return f'"{path}" is not a known field selector: only {known}'
