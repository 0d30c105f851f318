"""Services: defaults, validation, predicates. Pure."""

from typing import Any

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_supported, required
from localset.machinery.metadata import Object, annotations_of
from localset.machinery.names import dns1035_label, port_name

TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
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
        """Check type, ports and their names."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        ports: list[Any] = spec.get("ports") or []
        kind = spec.get("type")
        if kind not in _TYPES:
            causes.append(not_supported("spec.type", kind, _TYPES))
        if not ports and not is_headless(obj) and kind != "ExternalName":
            causes.append(required("spec.ports"))
        seen: set[tuple[Any, Any]] = set()
        names: set[str] = set()
        for i, port in enumerate(ports):
            causes += _port_causes(port, f"spec.ports[{i}]", is_only=len(ports) == 1, names=names)
            key = (port.get("port"), port.get("protocol"))
            if key in seen:
                causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {key}", f"spec.ports[{i}]"))
            seen.add(key)
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """clusterIP may not change."""
        before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
        if before and before != after and new["spec"].get("type") != "ExternalName":
            return [bad_value("spec.clusterIPs[0]", [after], "may not change once set")]
        return []


def _port_causes(port: Object, path: str, *, is_only: bool, names: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = port.get("name", "")
    if not name and not is_only:
        causes.append(required(f"{path}.name"))
    elif name:
        if name in names:
            causes.append(Cause("FieldValueDuplicate", f'Duplicate value: "{name}"', f"{path}.name"))
        names.add(name)
    number = port.get("port", 0)
    if not 1 <= number <= 65535:
        causes.append(bad_value(f"{path}.port", number, "must be between 1 and 65535, inclusive"))
    if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
        causes.append(not_supported(f"{path}.protocol", port.get("protocol", ""), ["SCTP", "TCP", "UDP"]))
    target = port.get("targetPort")
    if isinstance(target, int) and not 1 <= target <= 65535:
        causes.append(bad_value(f"{path}.targetPort", target, "must be between 1 and 65535, inclusive"))
    if isinstance(target, str):
        causes += [bad_value(f"{path}.targetPort", target, why) for why in port_name(target)]
    return causes
