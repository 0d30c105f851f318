"""From Services, Endpoints and Pods to the forwarder's table. Pure.

A row is one address and port that somebody listens on, and the targets behind it. `host` rows listen in the host's
network: a Pod's sticky address, and a Service's. `pods` rows listen in the Pods' network, where there is one: a
Service's clusterIP, and at the gateway the host's own ports that a Pod's annotation asks for. Source of what a Service
leads to: kube-proxy, pkg/proxy/iptables (Ready endpoints only).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from localset.apis.views import HOST_ADDRESS
from localset.machinery.metadata import Object, annotations_of, is_being_deleted, key_of, name_of, namespace_of

HOST_PORTS = "localset.dev/host-ports"
"""Ports of the host's 127.0.0.1 that Pods may reach at `status.hostIP`: `5432, 8125/udp`."""
HOST_LOOPBACK = "127.0.0.1"
API_SERVICE = ("default", "kubernetes")
_FORWARDED = {"TCP", "UDP"}


class Row(NamedTuple):
    """One listener. `owner` is (resource, namespace, name) of the object whose address it is."""

    side: str
    protocol: str
    address: str
    port: int
    targets: tuple[tuple[str, int], ...]
    sticks: bool
    owner: tuple[str, str, str]

    def to_json(self) -> dict[str, Any]:
        """Return what the forwarder is sent."""
        return {
            "side": self.side,
            "protocol": self.protocol,
            "address": self.address,
            "port": self.port,
            "targets": self.targets,
            "sticks": self.sticks,
        }


Place = tuple[str, str, str, int]
"""(side, protocol, address, port): only one row may have it."""


def table_of(
    services: Iterable[Object], endpoints: Iterable[Object], pods: Iterable[Object], *, has_pod_network: bool
) -> list[Row]:
    """Return all rows, each place once: a Pod's own port comes before what a Service says of it."""
    found: dict[Place, Row] = {}
    by_key = {key_of(e): e for e in endpoints}
    rows: list[Row] = []
    if has_pod_network:
        pods = list(pods)
        rows += [row for pod in pods for row in _pod_rows(pod)]
        rows += _selected_rows(pods, by_key.values())
        rows += [row for pod in pods for row in _host_port_rows(pod)]
    for service in services:
        rows += _service_rows(service, by_key.get(key_of(service)), has_pod_network=has_pod_network)
    for row in rows:
        found.setdefault((row.side, row.protocol, row.address, row.port), row)
    return list(found.values())


def pod_facts(pod: Object) -> tuple[Any, ...]:
    """Return all that the table depends on, of a Pod."""
    status, annotations = pod.get("status") or {}, annotations_of(pod)
    is_over = status.get("phase") in {"Succeeded", "Failed"}
    is_on_host = (pod.get("spec") or {}).get("hostNetwork")
    return (
        status.get("podIP"),
        is_over,
        annotations.get(HOST_ADDRESS),
        is_on_host,
        status.get("hostIP"),
        annotations.get(HOST_PORTS),
    )


def _addresses(pod: Object) -> tuple[str, str] | None:
    """Return (host address, Pod's own), or None for a Pod that has no network of its own, or no more."""
    inner, is_over, outer, is_on_host, *_ = pod_facts(pod)
    if not inner or not outer or inner == outer or is_over or is_on_host:
        return None
    return str(outer), str(inner)


def _pod_rows(pod: Object) -> list[Row]:
    addresses = _addresses(pod)
    if addresses is None:
        return []
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    ports = [port for container in containers for port in container.get("ports") or []]
    owner = ("pods", namespace_of(pod), name_of(pod))
    return [
        _to_pod(addresses, port.get("protocol") or "TCP", int(port["containerPort"]), owner)
        for port in ports
        if (port.get("protocol") or "TCP") in _FORWARDED
    ]


def host_ports(text: str) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the (protocol, port) that an annotation names, and the words of it that name none."""
    found: list[tuple[str, int]] = []
    wrong: list[str] = []
    for word in text.replace(",", " ").split():
        number, _, protocol = word.partition("/")
        protocol = protocol.lower() or "tcp"
        is_port = number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 65536
        if is_port and protocol.upper() in _FORWARDED:
            found.append((protocol, int(number)))
        else:
            wrong.append(word)
    return found, wrong


def _host_port_rows(pod: Object) -> list[Row]:
    text, gateway = annotations_of(pod).get(HOST_PORTS), (pod.get("status") or {}).get("hostIP")
    if not text or not gateway or _addresses(pod) is None:
        return []
    owner = ("pods", namespace_of(pod), name_of(pod))
    return [
        Row("pods", protocol, str(gateway), port, ((HOST_LOOPBACK, port),), sticks=False, owner=owner)
        for protocol, port in host_ports(text)[0]
    ]


def _to_pod(addresses: tuple[str, str], protocol: str, port: int, owner: tuple[str, str, str]) -> Row:
    outer, inner = addresses
    return Row("host", protocol.lower(), outer, port, ((inner, port),), sticks=False, owner=owner)


def _selected_rows(pods: Iterable[Object], endpoints: Iterable[Object]) -> list[Row]:
    """Return rows for the ports that Services know of Pods, Ready or not: a Pod need not declare what it serves."""
    by_address: dict[str, tuple[tuple[str, str], Object]] = {}
    for pod in pods:
        addresses = _addresses(pod)
        if addresses is not None:
            by_address[addresses[1]] = addresses, pod
    rows: list[Row] = []
    for one in endpoints:
        for subset in one.get("subsets") or []:
            known = [*(subset.get("addresses") or []), *(subset.get("notReadyAddresses") or [])]
            ports = [port for port in subset.get("ports") or [] if (port.get("protocol") or "TCP") in _FORWARDED]
            for entry in (by_address[e["ip"]] for e in known if e["ip"] in by_address):
                addresses, pod = entry
                owner = ("pods", namespace_of(pod), name_of(pod))
                rows += [_to_pod(addresses, port.get("protocol") or "TCP", int(port["port"]), owner) for port in ports]
    return rows


def _service_rows(service: Object, endpoints: Object | None, *, has_pod_network: bool) -> list[Row]:
    spec = service.get("spec") or {}
    cluster_ip = spec.get("clusterIP") or "None"
    if cluster_ip == "None" or spec.get("type") == "ExternalName" or is_being_deleted(service):
        return []
    is_api = (namespace_of(service), name_of(service)) == API_SERVICE
    if is_api and not has_pod_network:
        return []  # the API listens on that address itself
    owner = ("services", namespace_of(service), name_of(service))
    outer = annotations_of(service).get(HOST_ADDRESS)
    rows: list[Row] = []
    for port in spec.get("ports") or []:
        protocol = port.get("protocol") or "TCP"
        targets = _targets(endpoints, port.get("name") or "", protocol)
        if protocol not in _FORWARDED:
            continue
        sticks = spec.get("sessionAffinity") == "ClientIP"
        row = Row("pods", protocol.lower(), cluster_ip, int(port["port"]), targets, sticks=sticks, owner=owner)
        if has_pod_network:
            rows.append(row)  # without targets too: who has the address can refuse at once, else ARP waits for 3 s
        if outer and targets and not is_api:
            rows.append(row._replace(side="host", address=outer))
    return rows


def _targets(endpoints: Object | None, name: str, protocol: str) -> tuple[tuple[str, int], ...]:
    """Return the Ready addresses behind a Service's port."""
    if endpoints is None:
        return ()
    return tuple(
        (str(address["ip"]), int(port["port"]))
        for subset in endpoints.get("subsets") or []
        for port in subset.get("ports") or []
        if (port.get("name") or "") == name and (port.get("protocol") or "TCP") == protocol
        for address in subset.get("addresses") or []
    )
