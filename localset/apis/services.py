"""Services: defaults, validation, predicates. Pure."""

from typing import Any

from localset.apis.addresses import PROTOCOLS, address_causes, port_number_causes
from localset.apis.strategy import Strategy, label_causes
from localset.machinery.errors import Cause, bad_value, duplicate, not_allowed, not_supported, required
from localset.machinery.metadata import Object, annotations_of
from localset.machinery.names import dns1035_label, dns1123_label, dns1123_subdomain, port_name

TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
_AFFINITIES = ["ClientIP", "None"]
_TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]


def is_headless(service: Object) -> bool:
    """Tell whether clusterIP is None."""
    return bool(service.get("spec", {}).get("clusterIP") == "None")


def publishes_not_ready(service: Object) -> bool:
    """Tell whether unready Pods are published: the old annotation, where it parses, overrides the field."""
    annotation = annotations_of(service).get(TOLERATE_UNREADY, "").lower()
    if annotation in {"1", "t", "true"}:
        return True
    if annotation in {"0", "f", "false"}:
        return False
    return bool(service.get("spec", {}).get("publishNotReadyAddresses"))


def default_service(service: Object) -> None:
    """Fill in defaults in place. Source: core/v1/defaults.go SetDefaults_Service."""
    spec = service.setdefault("spec", {})
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("type", "ClusterIP")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    service.setdefault("status", {}).setdefault("loadBalancer", {})


class ServiceStrategy(Strategy):
    """How Services are written."""

    def prepare_create(self, obj: Object) -> None:
        """Status is the server's."""
        obj["status"] = {"loadBalancer": {}}

    def validate_name(self, name: str) -> list[str]:
        """A Service's name is a DNS-1035 label."""
        return dns1035_label(name)

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check type, ports, addresses and selector. Source: ValidateService."""
        spec = obj.get("spec") or {}
        kind = spec.get("type", "")
        ports: list[Any] = spec.get("ports") or []
        causes: list[Cause] = []
        if kind == "ExternalName":
            causes += _external_name_causes(spec)
        elif is_headless(obj) and kind in {"LoadBalancer", "NodePort"}:
            causes.append(bad_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
        if not ports and not is_headless(obj) and kind != "ExternalName":
            causes.append(required("spec.ports"))
        causes += _ports_causes(ports, kind)
        causes += label_causes(spec.get("selector") or {}, "spec.selector")
        if spec.get("sessionAffinity") not in _AFFINITIES:
            causes.append(not_supported("spec.sessionAffinity", spec.get("sessionAffinity", ""), _AFFINITIES))
        address = spec.get("clusterIP") or ""
        if kind != "ExternalName" and address not in {"", "None"}:
            causes += address_causes("spec.clusterIPs[0]", address)
        if kind not in _TYPES:
            causes.append(not_supported("spec.type", kind, _TYPES))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """clusterIP may not change while the Service has one."""
        before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
        if before and before != after and "ExternalName" not in {new["spec"].get("type"), old["spec"].get("type")}:
            return [bad_value("spec.clusterIPs[0]", [after or ""], "may not change once set")]
        return []


def _external_name_causes(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("clusterIP"):
        causes.append(not_allowed("spec.clusterIPs", "may not be set for ExternalName services"))
    name = str(spec.get("externalName") or "")
    if not name:
        return [*causes, required("spec.externalName")]
    return [*causes, *(bad_value("spec.externalName", name, why) for why in dns1123_subdomain(name.removesuffix(".")))]


def _ports_causes(ports: list[Any], kind: str) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    seen: list[tuple[Any, Any]] = []
    for i, port in enumerate(ports):
        causes += _port_causes(port, f"spec.ports[{i}]", is_only=len(ports) == 1, names=names)
    for i, port in enumerate(ports):
        if port.get("nodePort") and kind in {"ClusterIP", "ExternalName"}:
            causes.append(not_allowed(f"spec.ports[{i}].nodePort", f"may not be used when `type` is '{kind}'"))
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            causes.append(duplicate(f"spec.ports[{i}]", {"protocol": key[0], "port": key[1]}))
        seen.append(key)
    return causes


def _port_causes(port: Object, path: str, *, is_only: bool, names: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = port.get("name", "")
    if not name and not is_only:
        causes.append(required(f"{path}.name"))
    elif name:
        causes += [bad_value(f"{path}.name", name, why) for why in dns1123_label(name)]
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    causes += port_number_causes(f"{path}.port", port.get("port", 0))
    if port.get("protocol") not in PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, int):
        causes += port_number_causes(f"{path}.targetPort", target)
    elif isinstance(target, str):
        causes += [bad_value(f"{path}.targetPort", target, why) for why in port_name(target)]
    return causes
