"""Leases and EndpointSlices: what leaders and name servers agree through. Pure."""

from ipaddress import ip_address
from typing import Any

from localset.apis.addresses import PROTOCOLS, port_number_causes
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, duplicate, not_supported, required
from localset.machinery.metadata import Object, labels_of
from localset.machinery.names import dns1123_label, dns1123_subdomain, qualified_name

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
_ADDRESS_TYPES = ["FQDN", "IPv4", "IPv6"]
_MAX_ENDPOINTS, _MAX_ADDRESSES, _MAX_PORTS = 1000, 100, 100


class LeaseStrategy(Strategy):
    """Leases: PUT creates; the times are the holders' own."""

    creates_on_update = True

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the two numbers. Source: ValidateLeaseSpec."""
        spec = obj.get("spec") or {}
        duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        causes: list[Cause] = []
        if duration is not None and duration <= 0:
            causes.append(bad_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        if transitions is not None and transitions < 0:
            why = "must be greater than or equal to 0"
            causes.append(bad_value("spec.leaseTransitions", transitions, why))
        return causes


def default_lease(lease: Object) -> None:
    """`spec` is always serialized."""
    lease.setdefault("spec", {})


def default_endpoint_slice(endpoint_slice: Object) -> None:
    """Ports have a name and a protocol, endpoints have conditions; both lists are always serialized."""
    for port in endpoint_slice.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
    for endpoint in endpoint_slice.get("endpoints") or []:
        endpoint.setdefault("conditions", {})
    for field in ("endpoints", "ports"):
        if not endpoint_slice.get(field):
            endpoint_slice[field] = None


class EndpointSliceStrategy(Strategy):
    """EndpointSlices. Loopback addresses are fine here, as in Endpoints (parity)."""

    counts_generation = True

    def content(self, obj: Object) -> Any:
        """Everything but metadata counts."""
        return {field: value for field, value in obj.items() if field != "metadata"}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check type, endpoints and ports. Source: ValidateEndpointSlice."""
        kind = obj.get("addressType") or ""
        causes: list[Cause] = []
        if not kind:
            causes.append(required("addressType"))
        elif kind not in _ADDRESS_TYPES:
            causes.append(not_supported("addressType", kind, _ADDRESS_TYPES))
        endpoints, ports = obj.get("endpoints") or [], obj.get("ports") or []
        causes += _too_many("endpoints", endpoints, _MAX_ENDPOINTS) or [
            cause for i, e in enumerate(endpoints) for cause in _endpoint_causes(e, kind, f"endpoints[{i}]")
        ]
        return [*causes, *(_too_many("ports", ports, _MAX_PORTS) or _ports_causes(ports))]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The type of the addresses is fixed."""
        before, after = old.get("addressType"), new.get("addressType")
        return [] if before == after else [bad_value("addressType", after, "field is immutable")]

    def warnings(self, obj: Object) -> list[str]:
        """Slices that the house did not make are not looked at by its name service."""
        if labels_of(obj).get(MANAGED_BY) == "endpointslice-controller.k8s.io":
            return []
        return ["EndpointSlice: no effect here: names are answered from Endpoints, so write those instead"]


def _too_many(path: str, values: list[Any], limit: int) -> list[Cause]:
    if len(values) <= limit:
        return []
    return [Cause("FieldValueTooMany", f"Too many: {len(values)}: must have at most {limit} items", path)]


def _endpoint_causes(endpoint: Object, kind: str, path: str) -> list[Cause]:
    addresses = endpoint.get("addresses") or []
    causes = _too_many(f"{path}.addresses", addresses, _MAX_ADDRESSES)
    if not addresses:
        causes.append(required(f"{path}.addresses", "must contain at least 1 address"))
    for i, address in enumerate(addresses):
        at = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            causes += [bad_value(at, address, why) for why in dns1123_subdomain(address)]
        elif kind in {"IPv4", "IPv6"} and not _is_address(address, 4 if kind == "IPv4" else 6):
            causes.append(bad_value(at, address, f"must be a valid {kind} address"))
    for field, check in (("nodeName", dns1123_subdomain), ("hostname", dns1123_label)):
        value = endpoint.get(field)
        if value is not None:
            causes += [bad_value(f"{path}.{field}", value, why) for why in check(value)]
    return causes


def _is_address(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def _ports_causes(ports: list[Any]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"ports[{i}]", port.get("name") or ""
        if name:
            causes += [bad_value(f"{path}.name", name, why) for why in dns1123_label(name)]
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
        if port.get("protocol") not in PROTOCOLS:
            causes.append(not_supported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
        if port.get("port") is not None:
            causes += port_number_causes(f"{path}.port", port["port"])
        if port.get("appProtocol"):
            at = f"{path}.appProtocol"
            causes += [bad_value(at, port["appProtocol"], why) for why in qualified_name(port["appProtocol"])]
    return causes
