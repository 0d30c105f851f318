"""Rows of Node, Namespace, ServiceAccount, ConfigMap and Secret."""

from datetime import datetime
from typing import Any

from localset.apiserver.tables.columns import AGE, NAME, NONE, UNKNOWN, Column, Printer, age, items, name, part, wide
from localset.machinery.metadata import Object, labels_of

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _node_status(obj: Object) -> str:
    ready = next((c for c in items(part(obj, "status"), "conditions") if c.get("type") == "Ready"), None)
    states = {"True": "Ready"}
    text = "Unknown" if ready is None else states.get(ready.get("status", ""), "NotReady")
    return text + (",SchedulingDisabled" if part(obj, "spec").get("unschedulable") else "")


def _node_roles(obj: Object) -> str:
    roles = set()
    for key, value in labels_of(obj).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _node_address(status: dict[str, Any], wanted: str) -> str:
    return next((str(a.get("address")) for a in items(status, "addresses") if a.get("type") == wanted), NONE)


def _node(obj: Object, now: datetime) -> list[Any]:
    status = part(obj, "status")
    info = part(status, "nodeInfo")
    return [
        name(obj),
        _node_status(obj),
        _node_roles(obj),
        age(obj, now),
        info.get("kubeletVersion") or "",
        _node_address(status, "InternalIP"),
        _node_address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), part(obj, "status").get("phase") or "", age(obj, now)]


def _service_account(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(items(obj, "secrets")), age(obj, now)]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), len(part(obj, "data")) + len(part(obj, "binaryData")), age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("type") or "", len(part(obj, "data")), age(obj, now)]


def _created_at(obj: Object, _: datetime) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp")]


PRINTERS = {
    "customresourcedefinitions.apiextensions.k8s.io": Printer((NAME, Column("Created At", "date")), _created_at),
    "nodes": Printer(
        (
            NAME,
            Column("Status"),
            Column("Roles"),
            AGE,
            Column("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime"),
        ),
        _node,
    ),
    "namespaces": Printer((NAME, Column("Status"), AGE), _namespace),
    "serviceaccounts": Printer((NAME, Column("Secrets"), AGE), _service_account),
    "configmaps": Printer((NAME, Column("Data"), AGE), _config_map),
    "secrets": Printer((NAME, Column("Type"), Column("Data"), AGE), _secret),
}
