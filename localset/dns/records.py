"""Words of DNS: record types, codes, names, and the records that one Service or Pod gives.

Pure. `zone` keeps what is made here, `wire` turns it into bytes. Nothing here knows a socket, a clock or dnslib. The
rules are those of the Kubernetes DNS schema 1.1.0, with CoreDNS' reading of it where the schema is silent
(plugin/kubernetes/kubernetes.go). Names are text, lower case, without the trailing dot.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from localset.machinery.metadata import Object, name_of, namespace_of

POSITIVE_TTL_SECONDS = 5
SCHEMA_VERSION = "1.1.0"
SCHEMA_TTL_SECONDS = 28800
MAXIMUM_NAME_LENGTH = 253

REMEMBERED = 8192
"""How many answers of small pure functions are kept: a Service of 1,000 Pods is read again at every change of one."""

_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?")


class RecordType(IntEnum):
    """The record types that have a meaning here."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    IXFR = 251
    AXFR = 252
    ANY = 255


class Code(IntEnum):
    """Answer codes; BADVERS needs EDNS to be told."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Srv(NamedTuple):
    """Data of an SRV record."""

    priority: int
    weight: int
    port: int
    target: str


class Soa(NamedTuple):
    """Data of an SOA record; times in seconds."""

    name_server: str
    mailbox: str
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


class Record(NamedTuple):
    """One resource record of class IN. `data` is an address or a name, or `Srv`/`Soa` for these types."""

    name: str
    type: RecordType
    ttl: int
    data: str | Srv | Soa


Node = dict[RecordType, tuple[Record, ...]]
"""What stands at one name. An empty Node is a name that exists and has nothing: NODATA for every type."""

Nodes = dict[str, Node]


class EndpointAddress(NamedTuple):
    """One ready address of a Service as this view shows it; `name` is the full name of the endpoint."""

    name: str
    address: str
    has_hostname: bool


@lru_cache(maxsize=REMEMBERED)
def is_usable_name(name: str) -> bool:
    """Tell whether `name` can be put on the wire: labels of 1–63 letters, digits, `-`, `_`; 253 in all."""
    return len(name) <= MAXIMUM_NAME_LENGTH and all(_LABEL.fullmatch(label) for label in name.split("."))


def normalised_address(text: object) -> str | None:
    """Return the canonical spelling of an IP address, or None when it is none."""
    return _normalised(str(text))


@lru_cache(maxsize=REMEMBERED)
def _normalised(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def address_record(name: str, address: str) -> Record:
    """Return the A or AAAA record of a canonical address."""
    kind = RecordType.AAAA if ":" in address else RecordType.A
    return Record(name, kind, POSITIVE_TTL_SECONDS, address)


@lru_cache(maxsize=REMEMBERED)
def reverse_name(address: str) -> str:
    """Return `4.3.2.1.in-addr.arpa` (or the ip6.arpa form) of a canonical address."""
    return ipaddress.ip_address(address).reverse_pointer


def dashed(address: str) -> str:
    """Return the address as a label: dots or colons become dashes."""
    return address.replace(".", "-").replace(":", "-")


def node_of(records: list[Record]) -> Node:
    """Group records of one name by type, dropping repeats, keeping order."""
    grouped: dict[RecordType, dict[Record, None]] = {}
    for record in records:
        grouped.setdefault(record.type, {})[record] = None
    return {kind: tuple(found) for kind, found in grouped.items()}


def cluster_addresses(service: Object, host_address: str | None) -> list[str]:
    """Return the clusterIPs of a Service in canonical form, or its host address alone when the view asks for that."""
    if host_address is not None:
        found = normalised_address(host_address)
        return [found] if found else []
    spec = service.get("spec") or {}
    given = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [address for address in map(normalised_address, given) if address]


def is_headless(service: Object) -> bool:
    """Tell whether the Service has no clusterIP on purpose."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def is_external_name(service: Object) -> bool:
    """Tell whether the Service is only an alias."""
    return (service.get("spec") or {}).get("type") == "ExternalName"


def ready_addresses(
    service_name: str, endpoints: Object, translate: Callable[[Object], str | None]
) -> Iterator[tuple[EndpointAddress, list[Object]]]:
    """Yield each ready address of an Endpoints object with its subset's ports. notReadyAddresses are never shown."""
    for subset in endpoints.get("subsets") or []:
        ports = subset.get("ports") or []
        for entry in subset.get("addresses") or []:
            pod_address = normalised_address(entry.get("ip"))
            shown = normalised_address(translate(entry)) if pod_address else None
            if pod_address is None or shown is None:
                continue
            hostname = str(entry.get("hostname") or "").lower()
            name = f"{hostname or dashed(pod_address)}.{service_name}"
            if is_usable_name(name):
                yield EndpointAddress(name, shown, bool(hostname)), ports


class _PortTarget(NamedTuple):
    port_name: str
    protocol: str
    port: int
    target: str


def _port_target(port: Object, target: str) -> _PortTarget:
    protocol = str(port.get("protocol") or "TCP").lower()
    return _PortTarget(str(port.get("name") or "").lower(), protocol, int(port.get("port") or 0), target)


def _srv_records(name: str, targets: list[_PortTarget]) -> list[Record]:
    unique = list(dict.fromkeys((target.port, target.target) for target in targets))
    weight = max(1, 100 // len(unique)) if unique else 1
    return [Record(name, RecordType.SRV, POSITIVE_TTL_SECONDS, Srv(0, weight, port, target)) for port, target in unique]


def _named_port_nodes(service_name: str, targets: list[_PortTarget]) -> Nodes:
    by_port: dict[str, list[_PortTarget]] = {}
    for target in targets:
        if target.port_name:
            by_port.setdefault(f"_{target.port_name}._{target.protocol}.{service_name}", []).append(target)
    return {name: node_of(_srv_records(name, found)) for name, found in by_port.items() if is_usable_name(name)}


def external_name_nodes(service_name: str, service: Object) -> Nodes:
    """Return the CNAME of an ExternalName Service; nothing when its target cannot be a name."""
    target = str((service.get("spec") or {}).get("externalName") or "").lower().rstrip(".")
    if not is_usable_name(target):
        return {}
    return {service_name: node_of([Record(service_name, RecordType.CNAME, POSITIVE_TTL_SECONDS, target)])}


class ServiceRecords(NamedTuple):
    """All that one Service gives: its nodes, and what each address is called (best name first per Service)."""

    nodes: Nodes
    reverse: dict[str, list[str]]
    named_addresses: frozenset[str]


def service_records(
    service_name: str,
    service: Object,
    endpoints: Object | None,
    host_address: str | None,
    translate: Callable[[Object], str | None],
) -> ServiceRecords:
    """Return the records of one Service.

    `host_address` replaces its clusterIPs when not None; `translate` gives the shown address of an Endpoints address
    (None hides it). A headless Service without a ready address gives nothing at all, so that its name is NXDOMAIN.
    """
    if is_external_name(service):
        return ServiceRecords(external_name_nodes(service_name, service), {}, frozenset())
    nodes: Nodes = {}
    reverse: dict[str, list[str]] = {}
    own: list[Record] = []
    targets: list[_PortTarget] = []
    if not is_headless(service):
        for address in cluster_addresses(service, host_address):
            own.append(address_record(service_name, address))
            reverse.setdefault(address, []).append(service_name)
        if own:
            ports = (service.get("spec") or {}).get("ports") or []
            targets = [_port_target(port, service_name) for port in ports]
    named: set[str] = set()
    per_endpoint: dict[str, tuple[list[Record], list[_PortTarget]]] = {}
    for endpoint, ports in ready_addresses(service_name, endpoints or {}, translate):
        records, endpoint_targets = per_endpoint.setdefault(endpoint.name, ([], []))
        records.append(address_record(endpoint.name, endpoint.address))
        endpoint_targets.extend(_port_target(port, endpoint.name) for port in ports)
        if endpoint.name not in reverse.setdefault(endpoint.address, []):
            reverse[endpoint.address].append(endpoint.name)
        if endpoint.has_hostname:
            named.add(endpoint.address)
        if is_headless(service):
            own.append(address_record(service_name, endpoint.address))
    for name, (records, endpoint_targets) in per_endpoint.items():
        nodes[name] = node_of(records + _srv_records(name, endpoint_targets))
        if is_headless(service):
            targets.extend(endpoint_targets)
    if own:
        nodes[service_name] = node_of(own + _srv_records(service_name, targets))
        nodes.update(_named_port_nodes(service_name, targets))
    return ServiceRecords(nodes, reverse, frozenset(named))


def pod_address(pod: Object) -> str | None:
    """Return status.podIP in canonical form; None without one or when the Pod has ended."""
    status = pod.get("status") or {}
    if status.get("phase") in {"Succeeded", "Failed"}:
        return None
    return normalised_address(status["podIP"]) if status.get("podIP") else None


def object_id(obj: Object) -> tuple[str, str]:
    """Return (namespace, name)."""
    return namespace_of(obj), name_of(obj)
