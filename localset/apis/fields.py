"""Field selectors: which fields each kind knows, and their values. Pure. Source: kube-api.md 4.5."""

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
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.type", "spec.clusterIP"),
}  # fmt: skip


def field_value(resource_name: str, obj: Object, path: str) -> str | None:
    """Return the field's text, empty when absent; None when the kind does not support it."""
    if path not in ("metadata.name", "metadata.namespace") and path not in _FIELDS.get(resource_name, ()):
        return None
    if path == "source":
        path = "source.component"
    value: object = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        ""
        if value is None and path not in {"spec.unschedulable", "spec.hostNetwork"}
        else str(value if value is not None else "false")
    )
