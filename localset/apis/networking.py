"""NetworkPolicy, Ingress and IngressClass: stored and checked; nothing listens or filters here. Pure.

Source: networking/validation ValidateNetworkPolicySpec, ValidateIngressSpec.
"""

import re
from ipaddress import ip_address, ip_network
from typing import Any

from localset.apis.addresses import port_number_causes
from localset.apis.selectors import selector_causes
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_allowed, not_supported, required
from localset.machinery.metadata import Object, annotations_of
from localset.machinery.names import dns1035_label, dns1123_subdomain, port_name

_PROTOCOLS = ["TCP", "UDP", "SCTP"]
_POLICY_TYPES = ["Ingress", "Egress"]
_PATH_TYPES = ["Exact", "ImplementationSpecific", "Prefix"]
_FORBIDDEN_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_FORBIDDEN_ENDS = ("/..", "/.")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_WILDCARD = re.compile(r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII)
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    "regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def default_network_policy(policy: Object) -> None:
    """Ports are TCP; a policy without types is one for Ingress, and for Egress when it has such rules."""
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for field in ("ingress", "egress"):
        for rule in spec.get(field) or []:
            for port in rule.get("ports") or []:
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


class NetworkPolicyStrategy(Strategy):
    """NetworkPolicies."""

    counts_generation = True

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check selector, rules and types."""
        spec = obj.get("spec") or {}
        causes = selector_causes(spec.get("podSelector") or {}, "spec.podSelector")
        for field, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(field) or []):
                at = f"spec.{field}[{i}]"
                for j, port in enumerate(rule.get("ports") or []):
                    causes += _policy_port_causes(port, f"{at}.ports[{j}]")
                for j, peer in enumerate(rule.get(peers) or []):
                    causes += _peer_causes(peer, f"{at}.{peers}[{j}]")
        types = spec.get("policyTypes") or []
        if len(types) > len(_POLICY_TYPES):
            return [*causes, bad_value("spec.policyTypes", types, "may not specify more than two policyTypes")]
        for i, given in enumerate(types):
            if given not in _POLICY_TYPES:
                causes.append(not_supported(f"spec.policyTypes[{i}]", given, _POLICY_TYPES))
        return causes


def _policy_port_causes(port: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if port.get("protocol") not in _PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", port.get("protocol", ""), _PROTOCOLS))
    number, end = port.get("port"), port.get("endPort")
    causes += _port_causes(number, f"{path}.port")
    if end is not None:
        if not isinstance(number, int):
            why = "may not be specified when `port` is not specified"
            if number is not None:
                why = "may not be specified when `port` is non-numeric"
            causes.append(not_allowed(f"{path}.endPort", why))
        elif end < number:
            causes.append(bad_value(f"{path}.endPort", end, "must be greater than or equal to `port`"))
    return causes


def _port_causes(value: Any, path: str) -> list[Cause]:
    if isinstance(value, int):
        return port_number_causes(path, value)
    return [bad_value(path, value, why) for why in port_name(value)] if isinstance(value, str) else []


def _peer_causes(peer: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None]
    for field in given:
        at = f"{path}.{field}"
        causes += _block_causes(peer[field], at) if field == "ipBlock" else selector_causes(peer[field], at)
    if not given:
        causes.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        causes.append(not_allowed(path, "may not specify both ipBlock and another peer"))
    return causes


def _block_causes(block: Object, path: str) -> list[Cause]:
    text = str(block.get("cidr") or "")
    if not text:
        return [required(f"{path}.cidr")]
    try:
        outer = ip_network(text, strict=False)
    except ValueError:
        return [bad_value(f"{path}.cidr", text, "not a valid CIDR")]
    causes: list[Cause] = []
    for i, excepted in enumerate(block.get("except") or []):
        at = f"{path}.except[{i}]"
        try:
            inner = ip_network(excepted, strict=False)
        except ValueError:
            return [*causes, bad_value(at, excepted, "not a valid CIDR")]
        inside = inner.version == outer.version and inner.network_address in outer
        if not inside or inner.prefixlen <= outer.prefixlen:
            causes.append(bad_value(at, excepted, "must be a strict subset of `cidr`"))
    return causes


class IngressStrategy(Strategy):
    """Ingresses."""

    counts_generation = True

    def prepare_create(self, obj: Object) -> None:
        """The status is always serialized."""
        super().prepare_create(obj)
        obj["status"] = {"loadBalancer": {}}

    def validate(self, obj: Object) -> list[Cause]:
        """On create the old annotation and the class field exclude each other."""
        causes = super().validate(obj)
        name = annotations_of(obj).get(_CLASS_ANNOTATION)
        if name is not None and (obj.get("spec") or {}).get("ingressClassName") is not None:
            why = "can not be set when the class field is also set"
            causes.append(bad_value(f"annotations.{_CLASS_ANNOTATION}", name, why))
        return causes

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check backends, rules, TLS and class."""
        spec = obj.get("spec") or {}
        rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
        causes: list[Cause] = []
        if not rules and backend is None:
            causes.append(bad_value("spec", [], "either `defaultBackend` or `rules` must be specified"))
        if backend is not None:
            causes += _backend_causes(backend, "spec.defaultBackend")
        for i, rule in enumerate(rules):
            causes += _rule_causes(rule, f"spec.rules[{i}]")
        for i, tls in enumerate(spec.get("tls") or []):
            for j, host in enumerate(tls.get("hosts") or []):
                causes += _host_causes(host, f"spec.tls[{i}].hosts[{j}]")
            if tls.get("secretName"):
                at = f"spec.tls[{i}].secretName"
                causes += [bad_value(at, tls["secretName"], why) for why in dns1123_subdomain(tls["secretName"])]
        name = spec.get("ingressClassName")
        if name is not None:
            causes += [bad_value("spec.ingressClassName", name, why) for why in dns1123_subdomain(name)]
        return causes


def _host_causes(host: str, path: str) -> list[Cause]:
    if "*" in host:
        return [] if _WILDCARD.match(host) else [bad_value(path, host, _WILDCARD_TEXT)]
    return [bad_value(path, host, why) for why in dns1123_subdomain(host)]


def _rule_causes(rule: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    host = rule.get("host") or ""
    if host:
        try:
            ip_address(host)
            causes.append(bad_value(f"{path}.host", host, "must be a DNS name, not an IP address"))
        except ValueError:
            pass
        causes += _host_causes(host, f"{path}.host")
    http = rule.get("http")
    if http is None:
        return causes
    if not http.get("paths"):
        causes.append(required(f"{path}.http.paths"))
    for i, entry in enumerate(http.get("paths") or []):
        causes += _path_causes(entry, f"{path}.http.paths[{i}]")
    return causes


def _path_causes(entry: Object, path: str) -> list[Cause]:
    kind, text = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    causes: list[Cause] = []
    if kind not in _PATH_TYPES:
        causes.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        causes.append(bad_value(f"{path}.path", text, "must be an absolute path"))
    if kind in {"Exact", "Prefix"}:
        bad = [f"must not contain '{mark}'" for mark in _FORBIDDEN_SEQUENCES if mark in text]
        bad += [f"cannot end with '{end}'" for end in _FORBIDDEN_ENDS if text.endswith(end)]
        causes += [bad_value(f"{path}.path", text, why) for why in bad]
    return [*causes, *_backend_causes(entry.get("backend") or {}, f"{path}.backend")]


def _backend_causes(backend: Object, path: str) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [bad_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference_causes(resource, f"{path}.resource")
    if service is None:
        return [bad_value(path, "", "resource or service backend is required")]
    causes: list[Cause] = []
    name = service.get("name") or ""
    if name:
        causes += [bad_value(f"{path}.service.name", name, why) for why in dns1035_label(name)]
    else:
        causes.append(required(f"{path}.service.name"))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        causes.append(bad_value(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        causes += _port_causes(port["name"], f"{path}.service.port.name")
    elif port.get("number"):
        causes += _port_causes(port["number"], f"{path}.service.port.number")
    else:
        causes.append(required(path, "port name or number is required"))
    return causes


def _reference_causes(reference: Object, path: str) -> list[Cause]:
    absent = [field for field in ("kind", "name") if not reference.get(field)]
    return [required(f"{path}.{field}", f"{field} is required") for field in absent]


class IngressClassStrategy(Strategy):
    """IngressClasses: the controller is a domain-prefixed path and fixed."""

    counts_generation = True
    MAX_CONTROLLER = 250

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check controller and parameters."""
        spec = obj.get("spec") or {}
        controller, path = str(spec.get("controller") or ""), "spec.controller"
        causes: list[Cause] = []
        if len(controller) > self.MAX_CONTROLLER:
            causes.append(Cause("FieldValueTooLong", f"Too long: must have at most {self.MAX_CONTROLLER} bytes", path))
        domain, slash, rest = controller.partition("/")
        if not controller:
            causes.append(required(path))
        elif not slash or not domain or not rest:
            why = 'must be a domain-prefixed path (such as "acme.io/foo")'
            causes.append(bad_value(path, controller, why))
        else:
            causes += [bad_value(path, domain, why) for why in dns1123_subdomain(domain)]
        parameters = spec.get("parameters")
        return causes if parameters is None else [*causes, *_reference_causes(parameters, "spec.parameters")]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The controller is fixed."""
        before, after = ((obj.get("spec") or {}).get("controller") for obj in (old, new))
        return [] if before == after else [bad_value("spec.controller", after, "field is immutable")]


def default_ingress_class(ingress_class: Object) -> None:
    """Parameters are cluster-scoped unless they say otherwise."""
    parameters = (ingress_class.setdefault("spec", {})).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")
