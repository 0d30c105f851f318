"""What `describe node` prints, with the Pods on it and what they ask for."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from localset.cli.ages import age_of
from localset.cli.describing.lines import Lines, annotations, flag, labels, moment
from localset.machinery.quantity import parse_quantity

_INFO = (
    ("Machine ID", "machineID"),
    ("System UUID", "systemUUID"),
    ("Boot ID", "bootID"),
    ("Kernel Version", "kernelVersion"),
    ("OS Image", "osImage"),
    ("Operating System", "operatingSystem"),
    ("Architecture", "architecture"),
    ("Container Runtime Version", "containerRuntimeVersion"),
    ("Kubelet Version", "kubeletVersion"),
    ("Kube-Proxy Version", "kubeProxyVersion"),
)
_BINARY = (("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10))


def node_lines(node: dict[str, Any], ask: Callable[..., list[dict[str, Any]]], lease: Lines) -> Lines:
    """Return a Node without its events; `lease` is what is known of its Lease."""
    metadata, spec, status = node["metadata"], node["spec"], node.get("status") or {}
    roles = sorted(
        key.removeprefix("node-role.kubernetes.io/")
        for key in metadata.get("labels") or {}
        if key.startswith("node-role.kubernetes.io/")
    )
    lines = [f"Name:\t{metadata['name']}", f"Roles:\t{','.join(roles) or '<none>'}"]
    lines += labels("Labels", metadata.get("labels")) + annotations("Annotations", metadata.get("annotations"))
    lines.append(f"CreationTimestamp:\t{moment(metadata.get('creationTimestamp'))}")
    taints = [
        f"{taint['key']}{'=' + taint['value'] if taint.get('value') else ''}:{taint['effect']}"
        for taint in spec.get("taints") or []
    ] or ["<none>"]
    lines += [f"Taints:\t{taints[0]}", *(f"\t{taint}" for taint in taints[1:])]
    lines += [f"Unschedulable:\t{flag(spec.get('unschedulable'))}", *lease]
    if status.get("conditions"):
        lines += ["Conditions:", "  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage"]
        lines.append("  ----\t------\t-----------------\t------------------\t------\t-------")
        for c in status["conditions"]:
            beat, changed = moment(c.get("lastHeartbeatTime")), moment(c.get("lastTransitionTime"))
            cells = [c["type"], c["status"], beat, changed, c.get("reason", "")]
            lines.append("  " + "".join(f"{cell} \t" for cell in cells) + c.get("message", ""))
    lines.append("Addresses:")
    lines += [f"  {address['type']}:\t{address['address']}" for address in status.get("addresses") or []]
    for title, field in (("Capacity", "capacity"), ("Allocatable", "allocatable")):
        if status.get(field):
            lines.append(f"{title}:")
            lines += [f"  {name}:\t{value}" for name, value in sorted(status[field].items())]
    info = status.get("nodeInfo") or {}
    lines += ["System Info:", *(f"  {title}:\t{info.get(field, '')}" for title, field in _INFO)]
    for title, field in (("PodCIDR", "podCIDR"), ("ProviderID", "providerID")):
        if spec.get(field):
            lines.append(f"{title}:\t{spec[field]}")
    selector = f"spec.nodeName={metadata['name']},status.phase!=Succeeded,status.phase!=Failed"
    return lines + _pod_lines(ask("pods", "", fieldSelector=selector), status.get("allocatable") or {})


def _pod_lines(pods: list[dict[str, Any]], allocatable: dict[str, str]) -> Lines:
    lines = [f"Non-terminated Pods:\t({len(pods)} in total)"]
    lines.append("  Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge")
    lines.append("  ---------\t----\t\t------------\t----------\t---------------\t-------------\t---")
    totals: dict[tuple[str, str], Fraction] = {}
    for pod in pods:
        asked = {(name, field): _asked(pod, name, field) for name in _RESOURCES for field in ("requests", "limits")}
        for key, value in asked.items():
            totals[key] = totals.get(key, Fraction(0)) + value
        metadata = pod["metadata"]
        cells = [
            _share(asked[name, field], name, allocatable)
            for name in ("cpu", "memory")
            for field in ("requests", "limits")
        ]
        age = age_of(metadata.get("creationTimestamp", ""))
        lines.append(f"  {metadata['namespace']}\t{metadata['name']}\t\t" + "\t".join(cells) + f"\t{age}")
    lines += ["Allocated resources:", "  (Total limits may be over 100 percent, i.e., overcommitted.)"]
    lines += ["  Resource\tRequests\tLimits", "  --------\t--------\t------"]
    for name in _RESOURCES:
        cells = [_share(totals.get((name, field), Fraction(0)), name, allocatable) for field in ("requests", "limits")]
        lines.append(f"  {name}\t" + "\t".join(cells))
    return lines


_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def _asked(pod: dict[str, Any], name: str, field: str) -> Fraction:
    """Return what a Pod asks for: its containers together, or its hungriest init container if that is more."""

    def of(container: dict[str, Any]) -> Fraction:
        return parse_quantity(((container.get("resources") or {}).get(field) or {}).get(name, "0"))

    together = sum((of(c) for c in pod["spec"].get("containers") or []), Fraction(0))
    return max([together, *(of(c) for c in pod["spec"].get("initContainers") or [])])


def _share(value: Fraction, name: str, allocatable: dict[str, str]) -> str:
    whole = parse_quantity(allocatable.get(name, "0"))
    percent = int(value / whole * 100) if whole else 0
    return f"{_shown(value, name)} ({percent}%)"


def _shown(value: Fraction, name: str) -> str:
    if name == "cpu":
        return str(value) if value.denominator == 1 else f"{int(value * 1000)}m"
    if value:
        for suffix, power in _BINARY:
            if (value / 2**power).denominator == 1:
                return f"{value / 2**power}{suffix}"
    return str(int(value))
