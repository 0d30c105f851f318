"""Which addresses stand behind a Service: pure.

Called by the endpoints controller with a Service and the Pods it selects; returns `subsets` in one canonical order, so
that an unchanged answer compares equal. Source of the rule: core/v1 endpoints controller (statefulset-semantics 4.1).
"""

from collections.abc import Iterable
from typing import Any

from localset.machinery.metadata import (
    Object,
    annotations_of,
    condition_of,
    is_being_deleted,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)

TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
HEADLESS_LABEL = "service.kubernetes.io/headless"

_Port = tuple[str, int, str]


def publishes_not_ready(service: Object) -> bool:
    """Tell whether unready and terminating Pods count as ready (the field or the old annotation)."""
    if (service.get("spec") or {}).get("publishNotReadyAddresses"):
        return True
    return annotations_of(service).get(TOLERATE_UNREADY) == "true"


def is_headless(service: Object) -> bool:
    """Tell whether the Service has no address of its own."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def subsets_of(service: Object, pods: Iterable[Object]) -> list[Object]:
    """Return Endpoints.subsets for the Pods that the Service selects."""
    publishes = publishes_not_ready(service)
    groups: dict[tuple[_Port, ...], tuple[list[Object], list[Object]]] = {}
    for pod in pods:
        status = pod.get("status") or {}
        if not status.get("podIP") or status.get("phase") in {"Failed", "Succeeded"}:
            continue
        if is_being_deleted(pod) and not publishes:
            continue
        ports = ports_for(service, pod)
        if ports is None:
            continue
        is_ready = publishes or (condition_of(pod, "Ready") or {}).get("status") == "True"
        groups.setdefault(ports, ([], []))[0 if is_ready else 1].append(_address(service, pod))
    subsets: list[Object] = []
    for ports in sorted(groups):
        ready, not_ready = groups[ports]
        subset: Object = {}
        if ready:
            subset["addresses"] = sorted(ready, key=_address_order)
        if not_ready:
            subset["notReadyAddresses"] = sorted(not_ready, key=_address_order)
        if ports:
            subset["ports"] = [_port_object(port) for port in ports]
        subsets.append(subset)
    return subsets


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Tell whether a Service's selector matches these labels."""
    return all(labels.get(name) == value for name, value in selector.items())


def endpoints_of(service: Object, pods: Iterable[Object]) -> Object:
    """Return the Endpoints object that belongs to `service`: name, labels, subsets."""
    labels = dict(service["metadata"].get("labels") or {})
    labels.pop(HEADLESS_LABEL, None)
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    metadata: Object = {"name": name_of(service), "namespace": namespace_of(service)}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets_of(service, pods)}


def is_same(stored: Object, wanted: Object) -> bool:
    """Tell whether `stored` says what `wanted` says already."""
    return (stored["metadata"].get("labels") or {}) == (wanted["metadata"].get("labels") or {}) and (
        stored.get("subsets") or []
    ) == wanted["subsets"]


def _address_order(address: Object) -> tuple[str, str]:
    return address["ip"], address["targetRef"]["uid"]


def _address(service: Object, pod: Object) -> Object:
    spec = pod.get("spec") or {}
    address: Object = {"ip": pod["status"]["podIP"]}
    if spec.get("hostname") and spec.get("subdomain") == name_of(service):
        address["hostname"] = spec["hostname"]
    if spec.get("nodeName"):
        address["nodeName"] = spec["nodeName"]
    address["targetRef"] = {
        "kind": "Pod",
        "namespace": namespace_of(pod),
        "name": name_of(pod),
        "uid": uid_of(pod),
    }
    return address


def ports_for(service: Object, pod: Object) -> tuple[_Port, ...] | None:
    """Return the Service's ports (name, number, protocol) as this Pod has them; None when it has none of them."""
    wanted = (service.get("spec") or {}).get("ports") or []
    if not wanted:
        # Only a headless Service may lack ports: its Pods are named all the same.
        return () if is_headless(service) else None
    found: list[_Port] = []
    for port in wanted:
        number = _target_port(port, pod)
        if number is not None:
            found.append((port.get("name") or "", number, port.get("protocol") or "TCP"))
    return tuple(sorted(found)) or None


def _target_port(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort")
    if target in {None, "", 0}:
        return int(port["port"])
    if isinstance(target, int):
        return target
    protocol = port.get("protocol") or "TCP"
    for container in (pod.get("spec") or {}).get("containers") or []:
        for candidate in container.get("ports") or []:
            if candidate.get("name") == target and (candidate.get("protocol") or "TCP") == protocol:
                return int(candidate["containerPort"])
    return None


def _port_object(port: _Port) -> Object:
    name, number, protocol = port
    entry: Object = {"port": number, "protocol": protocol}
    return {"name": name, **entry} if name else entry


def seen_of(pod: Object) -> tuple[Any, ...]:
    """Return all of a Pod that can change during its life and shows in Endpoints or slices."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return (
        labels_of(pod),
        status.get("podIP"),
        status.get("phase"),
        (condition_of(pod, "Ready") or {}).get("status"),
        is_being_deleted(pod),
        spec.get("nodeName"),
        uid_of(pod),
    )
