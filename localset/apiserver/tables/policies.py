"""Rows of the kinds that only say what may be: roles and bindings, policies, quotas, classes, leases."""

from datetime import datetime
from typing import Any

from localset.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    Printer,
    age,
    items,
    labels_text,
    more_text,
    name,
    part,
    selector_text,
    wide,
)
from localset.machinery.metadata import Object

CREATED = Column("Created At", "date", description="When the object was created.")


def _created(obj: Object, now: datetime) -> list[Any]:
    del now
    return [name(obj), part(obj, "metadata").get("creationTimestamp") or ""]


def _binding(obj: Object, now: datetime) -> list[Any]:
    role = part(obj, "roleRef")
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in items(obj, "subjects"):
        text = str(subject.get("name", ""))
        if subject.get("kind") == "ServiceAccount":
            text = f"{subject.get('namespace') or ''}/{text}"
        subjects.setdefault(str(subject.get("kind")), []).append(text)
    shown = [", ".join(subjects[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now), *shown]


def _network_policy(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), selector_text(part(part(obj, "spec"), "podSelector")), age(obj, now)]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    rules = items(spec, "rules")
    hosts = [str(rule["host"]) for rule in rules[:3] if rule.get("host")]
    shown = ",".join(hosts) or "*"
    if hosts and len(rules) > 3:
        shown += f" + {len(rules) - 3} more..."
    balancer = part(part(obj, "status"), "loadBalancer")
    addresses = [str(i.get("ip") or i.get("hostname") or "") for i in items(balancer, "ingress")]
    return [
        name(obj),
        spec.get("ingressClassName") or NONE,
        shown,
        ",".join(a for a in addresses if a),
        "80, 443" if items(spec, "tls") else "80",
        age(obj, now),
    ]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name(obj), spec.get("controller") or "", shown, age(obj, now)]


def _quota(obj: Object, now: datetime) -> list[Any]:
    status = part(obj, "status")
    used = part(status, "used")
    requests: list[str] = []
    limits: list[str] = []
    for resource, hard in sorted(part(status, "hard").items()):
        kind = limits if resource.startswith("limits.") else requests
        kind.append(f"{resource}: {used.get(resource, '0')}/{hard}")
    return [name(obj), age(obj, now), ", ".join(requests), ", ".join(limits)]


def _priority_class(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("value") or 0, bool(obj.get("globalDefault")), age(obj, now)]


def _runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), obj.get("handler") or "", age(obj, now)]


def _csi_driver(obj: Object, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    tokens = spec.get("tokenRequests")
    return [
        name(obj),
        spec.get("attachRequired", True) is not False,
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        UNSET if tokens is None else ",".join(str(t.get("audience", "")) for t in tokens),
        bool(spec.get("requiresRepublish")),
        ",".join(items(spec, "volumeLifecycleModes")) or NONE,
        age(obj, now),
    ]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [name(obj), part(obj, "spec").get("holderIdentity") or "", age(obj, now)]


def _pod_template(obj: Object, now: datetime) -> list[Any]:
    del now
    template = part(obj, "template")
    containers = items(part(template, "spec"), "containers")
    return [
        name(obj),
        ",".join(str(c.get("name", "")) for c in containers),
        ",".join(str(c.get("image", "")) for c in containers),
        labels_text(part(template, "metadata").get("labels")),
    ]


def _metric(metric: dict[str, Any], status: dict[str, Any]) -> str:
    """Return `now/target` of one metric. Source: printers/internalversion/printers.go formatHPAMetrics."""
    kind = str(metric.get("type", ""))
    field = kind[:1].lower() + kind[1:]
    source = part(metric, field)
    target, now = part(source, "target"), part(part(status, field), "current")
    is_resource = kind.endswith("Resource")
    if target.get("averageValue") is not None:
        shown = f"{now.get('averageValue', UNKNOWN)}/{target['averageValue']}"
        shown += " (avg)" if kind in {"External", "Object"} else ""
    elif is_resource:
        percentages = now.get("averageUtilization"), target.get("averageUtilization")
        shown = "/".join(
            unset if percentage is None else f"{percentage}%"
            for percentage, unset in zip(percentages, (UNKNOWN, "<auto>"), strict=True)
        )
    else:
        shown = f"{now.get('value', UNKNOWN)}/{target.get('value', '')}"
    return f"{source.get('name', '')}: {shown}" if is_resource else shown


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    target = part(spec, "scaleTargetRef")
    statuses = items(part(obj, "status"), "currentMetrics")
    metrics = [_metric(m, statuses[i] if i < len(statuses) else {}) for i, m in enumerate(items(spec, "metrics"))]
    least = spec.get("minReplicas")
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        more_text(metrics, 2, separator=", ", empty=NONE),
        UNSET if least is None else str(least),
        spec.get("maxReplicas") or 0,
        part(obj, "status").get("currentReplicas") or 0,
        age(obj, now),
    ]


def _node_metrics(obj: Object, now: datetime) -> list[Any]:
    del now
    usage = part(obj, "usage")
    return [name(obj), usage.get("cpu", ""), usage.get("memory", ""), obj.get("window", "")]


def _pod_metrics(obj: Object, now: datetime) -> list[Any]:
    del now
    containers = items(obj, "containers")
    cpu = sum(int(str(part(c, "usage").get("cpu", "0n")).rstrip("n")) for c in containers)
    memory = sum(int(str(part(c, "usage").get("memory", "0Ki")).removesuffix("Ki")) for c in containers)
    return [name(obj), f"{cpu}n", f"{memory}Ki", obj.get("window", "")]


_METRICS = (NAME, Column("CPU"), Column("Memory"), Column("Window"))
_BINDING = Printer(
    (NAME, Column("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")),
    _binding,
)
PRINTERS = {
    "roles.rbac.authorization.k8s.io": Printer((NAME, CREATED), _created),
    "clusterroles.rbac.authorization.k8s.io": Printer((NAME, CREATED), _created),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "limitranges": Printer((NAME, CREATED), _created),
    "networkpolicies.networking.k8s.io": Printer((NAME, Column("Pod-Selector"), AGE), _network_policy),
    "ingresses.networking.k8s.io": Printer(
        (NAME, Column("Class"), Column("Hosts"), Column("Address"), Column("Ports"), AGE), _ingress
    ),
    "ingressclasses.networking.k8s.io": Printer(
        (NAME, Column("Controller"), Column("Parameters"), AGE), _ingress_class
    ),
    "resourcequotas": Printer((NAME, AGE, Column("Request"), Column("Limit")), _quota),
    "priorityclasses.scheduling.k8s.io": Printer(
        (NAME, Column("Value", "integer"), Column("Global-Default", "boolean"), AGE), _priority_class
    ),
    "runtimeclasses.node.k8s.io": Printer((NAME, Column("Handler"), AGE), _runtime_class),
    "csidrivers.storage.k8s.io": Printer(
        (
            NAME,
            Column("AttachRequired", "boolean"),
            Column("PodInfoOnMount", "boolean"),
            Column("StorageCapacity", "boolean"),
            Column("TokenRequests"),
            Column("RequiresRepublish", "boolean"),
            Column("Modes"),
            AGE,
        ),
        _csi_driver,
    ),
    "leases.coordination.k8s.io": Printer((NAME, Column("Holder", description="Who leads."), AGE), _lease),
    "pods.metrics.k8s.io": Printer(_METRICS, _pod_metrics),
    "nodes.metrics.k8s.io": Printer(_METRICS, _node_metrics),
    "podtemplates": Printer((NAME, Column("Containers"), Column("Images"), Column("Pod Labels")), _pod_template),
    "horizontalpodautoscalers.autoscaling": Printer(
        (
            NAME,
            Column("Reference"),
            Column("Targets"),
            Column("MinPods"),
            Column("MaxPods"),
            Column("Replicas"),
            AGE,
        ),
        _autoscaler,
    ),
}
