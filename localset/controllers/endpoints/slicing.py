"""EndpointSlices of one Service: which ones should exist, and the fewest writes that make it so. Pure.

Called by the endpoint slice controller with the Service, what stands behind it and the slices that it has. A change of
one Pod touches one slice of at most 100 endpoints, however many Pods there are. Source: endpointslice reconciler.
"""

from collections.abc import Iterable, Iterator

from localset.apis.coordination import MANAGED_BY, SERVICE_NAME
from localset.base.frozen import frozen
from localset.controllers.endpoints.plan import HEADLESS_LABEL, is_headless, ports_for, publishes_not_ready
from localset.machinery.metadata import (
    Object,
    condition_of,
    is_being_deleted,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)

RESOURCE = "endpointslices.discovery.k8s.io"
FROM_PODS = "endpointslice-controller.k8s.io"
FROM_ENDPOINTS = "endpointslicemirroring-controller.k8s.io"
MAX_ENDPOINTS = 100
_MAX_STEM = 57

Ports = tuple[tuple[str, int, str], ...]
Groups = dict[Ports, list[Object]]
"""Endpoints by the ports that they share: a slice has one list of ports."""


@frozen
class Create:
    """Make this slice; the server finds its name."""

    slice: Object


@frozen
class Update:
    """Write this slice over the stored one that it was made from."""

    slice: Object


@frozen
class Delete:
    """Remove this slice: nothing is left in it."""

    slice: Object


Step = Create | Update | Delete


def groups_from_pods(service: Object, pods: Iterable[Object]) -> Groups:
    """Return the endpoints of the Pods that `service` selects; Pods on their way out are among them, unready."""
    publishes = publishes_not_ready(service)
    groups: Groups = {}
    for pod in sorted(pods, key=name_of):
        status = pod.get("status") or {}
        if not status.get("podIP") or status.get("phase") in {"Failed", "Succeeded"}:
            continue
        ports = ports_for(service, pod)
        if ports is not None:
            groups.setdefault(ports, []).append(_endpoint_of_pod(service, pod, publishes=publishes))
    return groups


def _endpoint_of_pod(service: Object, pod: Object, *, publishes: bool) -> Object:
    spec = pod.get("spec") or {}
    is_serving = (condition_of(pod, "Ready") or {}).get("status") == "True"
    is_leaving = is_being_deleted(pod)
    endpoint: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": publishes or (is_serving and not is_leaving),
            "serving": is_serving,
            "terminating": is_leaving,
        },
        "targetRef": {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)},
    }
    if spec.get("hostname") and spec.get("subdomain") == name_of(service):
        endpoint["hostname"] = spec["hostname"]
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    return endpoint


def groups_from_endpoints(endpoints: Object) -> Groups:
    """Return what a user's Endpoints say, for a Service that selects no Pods."""
    groups: Groups = {}
    for subset in endpoints.get("subsets") or []:
        found = [(p.get("name") or "", int(p["port"]), p.get("protocol") or "TCP") for p in subset.get("ports") or []]
        group = groups.setdefault(tuple(sorted(found)), [])
        for field, is_ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or []:
                if ":" in address["ip"]:
                    continue  # slices hold one family each, and Services here are IPv4
                endpoint: Object = {"addresses": [address["ip"]], "conditions": {"ready": is_ready}}
                endpoint.update({k: address[k] for k in ("targetRef", "hostname", "nodeName") if address.get(k)})
                group.append(endpoint)
    return groups


def plan_slices(service: Object, manager: str, groups: Groups, stored: Iterable[Object]) -> list[Step]:
    """Return the steps from `stored`, the slices that `manager` made for `service`, to `groups`.

    A Service whose Pods are all gone keeps one empty slice.
    """
    waiting = {ports: {_identity(e): e for e in endpoints} for ports, endpoints in groups.items()}
    kept: list[tuple[Object, Ports, list[Object], bool]] = []
    for old in sorted(stored, key=name_of):
        ports = _ports_of(old)
        endpoints = old.get("endpoints") or []
        wanted = waiting.get(ports, {})
        mine = [found for e in endpoints if (found := wanted.pop(_identity(e), None)) is not None]
        kept.append((old, ports, mine, mine != endpoints or not _has_metadata(old, service, manager)))
    return list(_steps(service, manager, waiting, kept))


def _steps(
    service: Object,
    manager: str,
    waiting: dict[Ports, dict[tuple[str, ...], Object]],
    kept: list[tuple[Object, Ports, list[Object], bool]],
) -> Iterator[Step]:
    # Slices that are written anyway take up new endpoints first, then those that have room.
    survivors = 0
    deletes: list[Object] = []
    for old, ports, mine, is_changed in sorted(kept, key=lambda k: not k[3]):
        rest = waiting.get(ports) or {}
        added = [rest.pop(key) for key in list(rest)[: MAX_ENDPOINTS - len(mine)]]
        if not mine and not added:
            deletes.append(old)
            continue
        survivors += 1
        if is_changed or added:
            yield Update({**old, **_slice(service, manager, ports, [*mine, *added], old)})
    for ports, rest in waiting.items():
        endpoints = list(rest.values())
        for start in range(0, len(endpoints), MAX_ENDPOINTS):
            survivors += 1
            yield Create(_slice(service, manager, ports, endpoints[start : start + MAX_ENDPOINTS], None))
    if not survivors and manager == FROM_PODS:
        empty = next((old for old in deletes if not _ports_of(old)), None)
        if empty is None:
            yield Create(_slice(service, manager, (), [], None))
        else:
            deletes.remove(empty)
            if empty.get("endpoints") or not _has_metadata(empty, service, manager):
                yield Update({**empty, **_slice(service, manager, (), [], empty)})
    for old in deletes:
        yield Delete(old)


def _identity(endpoint: Object) -> tuple[str, ...]:
    return (str((endpoint.get("targetRef") or {}).get("uid") or ""), *endpoint["addresses"])


def _ports_of(endpoint_slice: Object) -> Ports:
    ports = endpoint_slice.get("ports") or []
    return tuple(sorted((p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP") for p in ports))


def _labels(service: Object, manager: str) -> dict[str, str]:
    labels = {k: v for k, v in labels_of(service).items() if k not in {HEADLESS_LABEL, SERVICE_NAME, MANAGED_BY}}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return {**labels, SERVICE_NAME: name_of(service), MANAGED_BY: manager}


def _has_metadata(endpoint_slice: Object, service: Object, manager: str) -> bool:
    owners = [o.get("uid") for o in endpoint_slice["metadata"].get("ownerReferences") or []]
    return labels_of(endpoint_slice) == _labels(service, manager) and uid_of(service) in owners


def _slice(service: Object, manager: str, ports: Ports, endpoints: list[Object], old: Object | None) -> Object:
    name = name_of(service)
    metadata = dict(old["metadata"]) if old is not None else {"generateName": f"{name[:_MAX_STEM]}-"}
    metadata |= {
        "namespace": namespace_of(service),
        "labels": _labels(service, manager),
        "ownerReferences": [owner_reference(service, "v1", "Service")],
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": name, "port": port, "protocol": protocol} for name, port, protocol in ports],
    }
