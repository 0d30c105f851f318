"""What `describe pod` prints."""

from typing import Any

from localset.cli.ages import age_of
from localset.cli.describing.containers import containers, volumes
from localset.cli.describing.lines import Lines, annotations, controller, labels, moment, spread, tolerations

_LISTS = (
    ("Init Containers", "initContainers", "initContainerStatuses"),
    ("Containers", "containers", "containerStatuses"),
    ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
)


def pod_lines(pod: dict[str, Any]) -> Lines:
    """Return all but the events."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}"]
    for title, field in (
        ("Priority", "priority"),
        ("Priority Class Name", "priorityClassName"),
        ("Runtime Class Name", "runtimeClassName"),
        ("Service Account", "serviceAccountName"),
    ):
        if spec.get(field) is not None and spec.get(field) != "":
            lines.append(f"{title}:\t{spec[field]}")
    node = f"{spec['nodeName']}/{status.get('hostIP', '')}" if spec.get("nodeName") else "<none>"
    lines.append(f"Node:\t{node}")
    if status.get("startTime"):
        lines.append(f"Start Time:\t{moment(status['startTime'])}")
    lines += labels("Labels", metadata.get("labels")) + annotations("Annotations", metadata.get("annotations"))
    lines += _status_lines(metadata, status)
    lines.append(f"IP:\t{status.get('podIP', '')}")
    addresses = status.get("podIPs") or []
    lines.append("IPs:" if addresses else "IPs:\t<none>")
    lines += [f"  IP:\t{address['ip']}" for address in addresses]
    if owner := controller(metadata):
        lines.append(f"Controlled By:\t{owner}")
    if status.get("nominatedNodeName"):
        lines.append(f"NominatedNodeName:\t{status['nominatedNodeName']}")
    for title, field, states in _LISTS:
        if field == "containers" or spec.get(field):
            known = {state["name"]: state for state in status.get(states) or []}
            lines += containers(title, spec.get(field) or [], known, resolve=_resolver(pod))
    lines += _gates(spec, status)
    if status.get("conditions"):
        lines += ["Conditions:", "  Type\tStatus"]
        lines += [f"  {c['type']} \t{c['status']} " for c in status["conditions"]]
    lines += volumes(spec.get("volumes") or [])
    lines.append(f"QoS Class:\t{status.get('qosClass', '')}")
    lines += labels("Node-Selectors", spec.get("nodeSelector"))
    return lines + tolerations(spec.get("tolerations")) + spread(spec.get("topologySpreadConstraints"))


def _status_lines(metadata: dict[str, Any], status: dict[str, Any]) -> Lines:
    phase = status.get("phase", "")
    if metadata.get("deletionTimestamp") and phase not in {"Failed", "Succeeded"}:
        lines = [f"Status:\tTerminating (lasts {age_of(metadata['deletionTimestamp'])})"]
        lines.append(f"Termination Grace Period:\t{metadata.get('deletionGracePeriodSeconds', 0)}s")
    else:
        lines = [f"Status:\t{phase}"]
    return lines + [f"{name.capitalize()}:\t{status[name]}" for name in ("reason", "message") if status.get(name)]


def _gates(spec: dict[str, Any], status: dict[str, Any]) -> Lines:
    if not spec.get("readinessGates"):
        return []
    states = {c["type"]: c["status"] for c in status.get("conditions") or []}
    lines = ["Readiness Gates:", "  Type\tStatus"]
    return lines + [
        f"  {gate['conditionType']} \t{states.get(gate['conditionType'], '<none>')} " for gate in spec["readinessGates"]
    ]


def _resolver(pod: dict[str, Any]) -> Any:
    def resolve(container: dict[str, Any], entry: dict[str, Any]) -> str:
        source = entry["valueFrom"]
        if "fieldRef" in source:
            return _field(pod, source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return _resource(container, source["resourceFieldRef"])
        return ""

    return resolve


def _field(pod: dict[str, Any], path: str) -> str:
    """Return what the downward API says of a path: kubectl knows only metadata's."""
    metadata = pod["metadata"]
    start, bracket, rest = path.partition("['")
    if bracket:
        return str((metadata.get(start.removeprefix("metadata.")) or {}).get(rest.removesuffix("']"), ""))
    if path in {"metadata.name", "metadata.namespace", "metadata.uid"}:
        return str(metadata.get(path.removeprefix("metadata."), ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(pairs.items()))
    return ""


def _resource(container: dict[str, Any], reference: dict[str, Any]) -> str:
    import math
    from fractions import Fraction

    from localset.machinery.quantity import parse_quantity

    kind, _, name = str(reference.get("resource", "")).partition(".")
    value = ((container.get("resources") or {}).get(kind) or {}).get(name)
    if value is None:
        return "node allocatable" if kind == "limits" and name in {"cpu", "memory", "ephemeral-storage"} else "0"
    divisor = parse_quantity(reference.get("divisor") or "1") or Fraction(1)
    return str(math.ceil(parse_quantity(value) / divisor))
