"""Where a Pod goes, or why it cannot: pure.

Called by the scheduler controller with the Pod, the Nodes and the Pods that are placed already. `relaxed` starts
everything this machine can start, whatever was requested; `strict` answers as kube-scheduler does, text and all.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from localset.controllers.scheduler.affinity import (
    NODE_AFFINITY,
    has_rules_about_pods,
    pod_affinity_refusals,
    taint_refusal,
    wants_node,
)
from localset.machinery.metadata import Object, is_being_deleted, name_of
from localset.machinery.quantity import parse_quantity


class Mode(StrEnum):
    """How much of a cluster's rules count."""

    RELAXED = "relaxed"
    STRICT = "strict"


@dataclass(frozen=True)
class Decision:
    """`node` is empty when the Pod stays Pending, and `message` says why. `ignored` are rules that relaxed broke."""

    node: str = ""
    message: str = ""
    ignored: list[str] = field(default_factory=list)


def is_waiting(pod: Object) -> bool:
    """Tell whether the Pod is to be placed."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName") or spec.get("schedulingGates") or is_being_deleted(pod):
        return False
    return (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}


def holds_resources(pod: Object) -> bool:
    """Tell whether the Pod takes room on its Node."""
    has_ended = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    return bool((pod.get("spec") or {}).get("nodeName")) and not has_ended


def place(pod: Object, nodes: Iterable[Object], placed: Iterable[Object], mode: Mode) -> Decision:
    """Return the first Node (by name) that takes the Pod."""
    ordered = sorted(nodes, key=name_of)
    if not ordered:
        return Decision(message="no nodes available to schedule pods")
    is_alone = mode is Mode.RELAXED and not has_rules_about_pods(pod)  # most are: what it costs must not grow with them
    everyone = [] if is_alone else [other for other in placed if holds_resources(other)]
    refusals: Counter[str] = Counter()
    for node in ordered:
        here = [other for other in everyone if other["spec"]["nodeName"] == name_of(node)]
        refusal = taint_refusal(pod, node)
        if refusal:
            refusals[refusal] += 1
            continue
        rules = [] if wants_node(pod, node) else [NODE_AFFINITY]
        rules += pod_affinity_refusals(pod, node, here)
        if mode is Mode.RELAXED:
            return Decision(name_of(node), ignored=rules)
        shortages = rules or _shortages(pod, node, here)
        if not shortages:
            return Decision(name_of(node))
        refusals.update(shortages)
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in refusals.items()))
    return Decision(message=f"0/{len(ordered)} nodes are available: {reasons}.")


def ignored_text(ignored: list[str]) -> str:
    """Return the sentence about rules that a cluster would have kept."""
    needs = {NODE_AFFINITY: "a node that matches the Pod's nodeSelector or node affinity"}
    wanted = " and ".join(needs.get(rule, "another node, by the Pod's rules about other Pods") for rule in ignored)
    return f"a cluster would have needed {wanted}; this is the only machine. localset starts it here all the same"


def _shortages(pod: Object, node: Object, here: list[Object]) -> list[str]:
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    shortages: list[str] = []
    if "pods" in allocatable and len(here) + 1 > _amount(allocatable["pods"]):
        shortages.append("Too many pods")
    for resource, wanted in requests_of(pod).items():
        used = sum((requests_of(other).get(resource, Fraction(0)) for other in here), Fraction(0))
        if wanted and used + wanted > _amount(allocatable.get(resource)):
            shortages.append(f"Insufficient {resource}")
    return shortages


def requests_of(pod: Object) -> dict[str, Fraction]:
    """Return what the Pod asks for: its containers together, or its greediest init container."""
    spec = pod.get("spec") or {}
    total: dict[str, Fraction] = {}
    for container in spec.get("containers") or []:
        for resource, amount in _container_requests(container).items():
            total[resource] = total.get(resource, Fraction(0)) + amount
    for container in spec.get("initContainers") or []:
        for resource, amount in _container_requests(container).items():
            total[resource] = max(total.get(resource, Fraction(0)), amount)
    return total


def _container_requests(container: Object) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {resource: _amount(text) for resource, text in asked.items()}


def _amount(text: object) -> Fraction:
    try:
        return parse_quantity(str(text)) if text is not None else Fraction(0)
    except ValueError:
        return Fraction(0)
