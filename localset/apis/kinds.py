"""The small kinds: Namespace, Node, Endpoints, ControllerRevision. Pure."""

from localset.apis.addresses import PROTOCOLS, address_causes, port_number_causes
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_label


def default_endpoints(endpoints: Object) -> None:
    """Ports are TCP unless they say otherwise."""
    for subset in endpoints.get("subsets") or []:
        for port in subset.get("ports") or []:
            port.setdefault("protocol", "TCP")


class NamespaceStrategy(Strategy):
    """Namespaces: the registry's admission fills in finalizer and phase."""

    def prepare_create(self, obj: Object) -> None:
        """A new namespace is Active."""
        obj["status"] = {"phase": "Active"}

    def validate_name(self, name: str) -> list[str]:
        """A namespace is a DNS label."""
        return dns1123_label(name)


NODE_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip


class NodeStrategy(Strategy):
    """Nodes: created with their status by the kubelet that registers itself."""

    def prepare_create(self, obj: Object) -> None:
        """Keep the status: upstream does so for Nodes alone. What is always serialized is there from the start."""
        obj.setdefault("spec", {})
        status = obj.setdefault("status", {})
        status.setdefault("daemonEndpoints", {"kubeletEndpoint": {"Port": 0}})
        status.setdefault("nodeInfo", dict.fromkeys(NODE_INFO, ""))


class EndpointsStrategy(Strategy):
    """Endpoints. Loopback addresses are fine here, where upstream refuses them: Pods have no others (parity)."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check addresses and ports. Source: ValidateEndpoints."""
        causes: list[Cause] = []
        for i, subset in enumerate(obj.get("subsets") or []):
            path = f"subsets[{i}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                causes.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
            for field in ("addresses", "notReadyAddresses"):
                for j, address in enumerate(subset.get(field) or []):
                    causes += _address_causes(address, f"{path}.{field}[{j}]")
            ports = subset.get("ports") or []
            for j, port in enumerate(ports):
                causes += _endpoint_port_causes(port, f"{path}.ports[{j}]", is_only=len(ports) == 1)
        return causes


def _address_causes(address: Object, path: str) -> list[Cause]:
    causes = address_causes(f"{path}.ip", address.get("ip", ""))
    if address.get("hostname"):
        causes += [bad_value(f"{path}.hostname", address["hostname"], w) for w in dns1123_label(address["hostname"])]
    return causes


def _endpoint_port_causes(port: Object, path: str, *, is_only: bool) -> list[Cause]:
    name, protocol = port.get("name", ""), port.get("protocol", "")
    causes = [required(f"{path}.name")] if not name and not is_only else []
    if name:
        causes += [bad_value(f"{path}.name", name, why) for why in dns1123_label(name)]
    causes += port_number_causes(f"{path}.port", port.get("port", 0))
    if protocol not in PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    return causes


class ControllerRevisionStrategy(Strategy):
    """ControllerRevisions: data never changes."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check that there is data and a number."""
        causes: list[Cause] = [] if obj.get("data") is not None else [required("data", "data is mandatory")]
        revision = obj.get("revision") or 0
        if revision < 0:
            causes.append(bad_value("revision", revision, "must be greater than or equal to 0"))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Only metadata and the number may change."""
        return [] if new.get("data") == old.get("data") else [bad_value("data", new.get("data"), "field is immutable")]
