"""What `describe` prints of kinds that have no effect here, and of Endpoints: rules, bindings, quotas, ingresses."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from localset.cli.describing.lines import Lines, annotations, labels, moment
from localset.cli.describing.selectors import selector_text
from localset.machinery.errors import StatusError

Object = dict[str, Any]
Ask = Callable[..., list[Object]]
_SCOPES = {
    "Terminating": "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before "
    "being actively terminated by the system.",
    "NotTerminating": "Matches all pods that do not have an active deadline. These pods usually include long running "
    "pods whose container command is not expected to terminate.",
    "BestEffort": "Matches all pods that do not have resource requirements set. These pods have a best effort quality "
    "of service.",
    "NotBestEffort": "Matches all pods that have at least one resource requirement set. These pods have a burstable or "
    "guaranteed quality of service.",
}


def _head(obj: Object, *, namespaced: bool = False) -> Lines:
    metadata = obj["metadata"]
    lines = [f"Name:\t{metadata['name']}"]
    if namespaced:
        lines.append(f"Namespace:\t{metadata.get('namespace', '')}")
    return lines + labels("Labels", metadata.get("labels")) + annotations("Annotations", metadata.get("annotations"))


def _go(values: list[str]) -> str:
    return f"[{' '.join(values)}]"


def _plain(values: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items())) or "<none>"


# --- who may do what ------------------------------------------------------------------------------------------------


def role_lines(obj: Object, _: Ask) -> Lines:
    """Return a Role or ClusterRole: its rules taken apart and put together by resource, as kubectl does."""
    lines = [*_head(obj), "PolicyRule:", "  Resources\tNon-Resource URLs\tResource Names\tVerbs"]
    lines.append("  ---------\t-----------------\t--------------\t-----")
    for verbs, group, resource, names, urls in sorted(_rules(obj.get("rules") or []), key=_rule_text):
        lines.append(f"  {_resource(group, resource)}\t{_go(urls)}\t{_go(names)}\t{_go(verbs)}")
    return lines


_Rule = tuple[list[str], str | None, str, list[str], list[str]]
"""verbs, group (None: no resource), resource, resource names, URLs."""


def _rules(rules: list[Object]) -> list[_Rule]:
    simple: dict[tuple[str, str, str], list[str]] = {}
    found: list[_Rule] = []
    for rule in rules:
        verbs = rule.get("verbs") or []
        for group in rule.get("apiGroups") or []:
            for resource in rule.get("resources") or []:
                for name in rule.get("resourceNames") or [""]:
                    simple.setdefault((group, resource, name), []).extend(verbs)
        found += [([verb], None, "", [], [url]) for url in rule.get("nonResourceURLs") or [] for verb in verbs]
    found += [(verbs, group, resource, [name] if name else [], []) for (group, resource, name), verbs in simple.items()]
    return found


def _rule_text(rule: _Rule) -> str:
    """Return what kubectl sorts rules by: the Go form of the rule."""
    verbs, group, resource, names, urls = rule
    groups, resources = ([group], [resource]) if group is not None else ([], [])
    return f"{_go(verbs)},APIGroups:{_go(groups)},Resources:{_go(resources)},{_go(names)},{_go(urls)}"


def _resource(group: str | None, resource: str) -> str:
    first, slash, rest = resource.partition("/")
    return f"{first}.{group}{slash}{rest}" if group else resource


def binding_lines(obj: Object, _: Ask) -> Lines:
    """Return a RoleBinding or ClusterRoleBinding."""
    role = obj.get("roleRef") or {}
    lines = [*_head(obj), "Role:", f"  Kind:\t{role.get('kind', '')}", f"  Name:\t{role.get('name', '')}", "Subjects:"]
    lines += ["  Kind\tName\tNamespace", "  ----\t----\t---------"]
    subjects = obj.get("subjects") or []
    return lines + [f"  {s.get('kind', '')}\t{s.get('name', '')}\t{s.get('namespace', '')}" for s in subjects]


# --- limits ---------------------------------------------------------------------------------------------------------


def priority_lines(obj: Object, _: Ask) -> Lines:
    """Return a PriorityClass."""
    metadata = obj["metadata"]
    notes = _plain(metadata.get("annotations"))
    return [
        f"Name:\t{metadata['name']}",
        f"Value:\t{obj.get('value', 0)}",
        f"GlobalDefault:\t{str(bool(obj.get('globalDefault'))).lower()}",
        f"PreemptionPolicy:\t{obj.get('preemptionPolicy', '')}",
        f"Description:\t{obj.get('description', '')}",
        *f"Annotations:\t{notes}".split("\n"),
    ]


def scope_lines(quota: Object) -> Lines:
    """Return what a quota is about, and what each word for it means; nothing for a quota of everything."""
    scopes = sorted((quota.get("spec") or {}).get("scopes") or [])
    head = [f"Scopes:\t{', '.join(scopes)}"] if scopes else []
    return head + [f"* {_SCOPES[scope]}" for scope in scopes if scope in _SCOPES]


def quota_lines(obj: Object, _: Ask) -> Lines:
    """Return a ResourceQuota: what its status counts."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata.get('namespace', '')}"]
    lines += [line if line.startswith("Scopes") else f" {line}" for line in scope_lines(obj)]
    lines += ["Resource\tUsed\tHard", "--------\t----\t----"]
    used = status.get("used") or {}
    return lines + [f"{name}\t{used.get(name, 0)}\t{hard}" for name, hard in sorted((status.get("hard") or {}).items())]


def limit_lines(obj: Object, _: Ask) -> Lines:
    """Return a LimitRange."""
    metadata = obj["metadata"]
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata.get('namespace', '')}"]
    lines.append("Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio")
    lines.append("----\t--------\t---\t---\t---------------\t-------------\t-----------------------")
    fields = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")
    for item in (obj.get("spec") or {}).get("limits") or []:
        values = [item.get(field) or {} for field in fields]
        names = sorted({name for value in values for name in value})
        rows = [[item.get("type", ""), name, *(str(value.get(name, "-")) for value in values)] for name in names]
        lines += ["\t".join(row) for row in rows]
    return lines


def autoscaler_lines(obj: Object, _: Ask) -> Lines:
    """Return a HorizontalPodAutoscaler."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    target = spec["scaleTargetRef"]
    lines = _head(obj, namespaced=True)
    lines.append(f"CreationTimestamp:\t{moment(metadata.get('creationTimestamp'))}")
    lines.append(f"Reference:\t{target['kind']}/{target['name']}")
    lines.append("Metrics:\t( current / target )")
    lines += [_metric(metric) for metric in spec.get("metrics") or []]
    lines += [f"Min replicas:\t{spec.get('minReplicas', '<unset>')}", f"Max replicas:\t{spec['maxReplicas']}"]
    counts = status.get("currentReplicas", 0), status.get("desiredReplicas", 0)
    lines.append(f"{target['kind']} pods:\t{counts[0]} current / {counts[1]} desired")
    return lines


def _metric(metric: Object) -> str:
    resource = metric.get("resource") or metric.get("containerResource") or {}
    target = resource.get("target") or {}
    name = resource.get("name") or metric.get("type", "")
    if target.get("averageUtilization") is not None:
        wanted = f"{target['averageUtilization']}%"
        return f"  resource {name} on pods  (as a percentage of request):\t<unknown> / {wanted}"
    return f"  resource {name} on pods:\t<unknown> / {target.get('averageValue', target.get('value', '<auto>'))}"


# --- networks -------------------------------------------------------------------------------------------------------


def endpoints_lines(obj: Object, _: Ask) -> Lines:
    """Return Endpoints."""
    lines = [*_head(obj, namespaced=True), "Subsets:"]
    for subset in obj.get("subsets") or []:
        for title, field in (("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")):
            addresses = ",".join(address["ip"] for address in subset.get(field) or [])
            lines.append(f"  {title}:\t{addresses or '<none>'}")
        lines += _ports(subset.get("ports") or [], "  ") or ["  Ports:\t<none>"]
        lines.append("")
    return lines


def _ports(ports: list[Object], indent: str) -> Lines:
    rows = [
        f"{indent}  {p.get('name') or '<unset>'}\t{p.get('port', '<unset>')}\t{p.get('protocol', '')}" for p in ports
    ]
    head = [f"{indent}Ports:", f"{indent}  Name\tPort\tProtocol", f"{indent}  ----\t----\t--------"]
    return [*head, *rows] if rows else []


def slice_lines(obj: Object, _: Ask) -> Lines:
    """Return an EndpointSlice."""
    lines = [*_head(obj, namespaced=True), f"AddressType:\t{obj.get('addressType', '')}"]
    lines += _ports(obj.get("ports") or [], "") or ["Ports: <unset>"]
    endpoints = obj.get("endpoints") or []
    lines.append("Endpoints:" if endpoints else "Endpoints: <none>")
    for endpoint in endpoints:
        lines.append(f"  - Addresses:\t{','.join(endpoint.get('addresses') or [])}")
        ready = (endpoint.get("conditions") or {}).get("ready")
        lines += ["    Conditions:", f"      Ready:\t{'<unset>' if ready is None else str(ready).lower()}"]
        lines.append(f"    Hostname:\t{endpoint.get('hostname') or '<unset>'}")
        if endpoint.get("targetRef"):
            lines.append(f"    TargetRef:\t{endpoint['targetRef'].get('kind')}/{endpoint['targetRef'].get('name')}")
        lines.append(f"    NodeName:\t{endpoint.get('nodeName') or '<unset>'}")
        lines.append(f"    Zone:\t{endpoint.get('zone') or '<unset>'}")
    return lines


def ingress_lines(obj: Object, ask: Ask) -> Lines:
    """Return an Ingress, with the addresses behind its backends."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    namespace = metadata["namespace"]
    lines = [f"Name:\t{metadata['name']}", *labels("Labels", metadata.get("labels")), f"Namespace:\t{namespace}"]
    entries = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    lines.append(f"Address:\t{','.join(e.get('ip') or e.get('hostname', '') for e in entries)}")
    lines.append(f"Ingress Class:\t{spec.get('ingressClassName') or '<none>'}")
    default = spec.get("defaultBackend")
    shown = _backend(default, namespace, ask) if default else "<default>"
    lines.append(f"Default backend:\t{shown}")
    if spec.get("tls"):
        lines.append("TLS:")
        for entry in spec["tls"]:
            secret, hosts = entry.get("secretName"), ",".join(entry.get("hosts") or [])
            lines.append(f"  {secret} terminates {hosts}" if secret else f"  SNI routes {hosts}")
    lines += ["Rules:", "  Host\tPath\tBackends", "  ----\t----\t--------"]
    rules = [rule for rule in spec.get("rules") or [] if rule.get("http")]
    for rule in rules:
        lines.append(f"  {rule.get('host') or '*'}\t")
        for path in rule["http"].get("paths") or []:
            lines.append(f"  \t{path.get('path', '')} \t{_backend(path['backend'], namespace, ask)}")
    if not rules:
        lines.append(f"  *\t*\t{shown}")
    return lines + annotations("Annotations", metadata.get("annotations"))


def _backend(backend: Object, namespace: str, ask: Ask) -> str:
    if backend.get("resource"):
        resource = backend["resource"]
        return f"APIGroup: {resource.get('apiGroup')}, Kind: {resource.get('kind')}, Name: {resource.get('name')}"
    service = backend.get("service") or {}
    port = service.get("port") or {}
    wanted = port.get("name") or port.get("number", "")
    return f"{service.get('name')}:{wanted} ({_behind(service.get('name', ''), wanted, namespace, ask)})"


def _behind(name: str, wanted: str | int, namespace: str, ask: Ask) -> str:
    """Return the addresses of a Service's port: three, and how many more."""
    found = ask("services", namespace, fieldSelector=f"metadata.name={name}")
    if not found:
        return f"<error: {StatusError(404, 'NotFound', f'services {chr(34)}{name}{chr(34)} not found')}>"
    ports = (found[0].get("spec") or {}).get("ports") or []
    called = next((p.get("name") or "" for p in ports if wanted in {p.get("name"), p.get("port")}), "")
    slices = ask("endpointslices.discovery.k8s.io", namespace, labelSelector=f"kubernetes.io/service-name={name}")
    if not slices:
        return "<none>"
    addresses = [
        f"{address}:{port.get('port')}"
        for part in slices
        for port in part.get("ports") or []
        if (port.get("name") or "") == called
        for endpoint in part.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"][:1]
    ]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return ",".join(addresses[:3]) + more


def ingress_class_lines(obj: Object, _: Ask) -> Lines:
    """Return an IngressClass."""
    spec = obj.get("spec") or {}
    lines = [*_head(obj), f"Controller:\t{spec.get('controller', '')}"]
    parameters = spec.get("parameters")
    if parameters:
        lines.append("Parameters:")
        if parameters.get("apiGroup"):
            lines.append(f"  APIGroup:\t{parameters['apiGroup']}")
        lines += [f"  Kind:\t{parameters.get('kind', '')}", f"  Name:\t{parameters.get('name', '')}"]
    return lines


def policy_lines(obj: Object, _: Ask) -> Lines:
    """Return a NetworkPolicy."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    created = datetime.fromisoformat(metadata["creationTimestamp"]).strftime("%Y-%m-%d %H:%M:%S %z UTC")
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata['namespace']}", f"Created on:\t{created}"]
    lines += labels("Labels", metadata.get("labels")) + annotations("Annotations", metadata.get("annotations"))
    selector = spec.get("podSelector") or {}
    everyone = "<none> (Allowing the specific traffic to all pods in this namespace)"
    lines += ["Spec:", f"  PodSelector:     {selector_text(selector) if selector else everyone}"]
    types = spec.get("policyTypes") or []
    for name, peers, word in (("Ingress", "from", "From"), ("Egress", "to", "To")):
        if name not in types:
            lines.append(f"  Not affecting {name.lower()} traffic")
            continue
        lines.append(f"  Allowing {name.lower()} traffic:")
        rules = spec.get(name.lower()) or []
        if not rules:
            lines.append(f"    <none> (Selected pods are isolated for {name.lower()} connectivity)")
        for number, rule in enumerate(rules):
            lines += ["    ----------"] if number else []
            lines += _traffic(rule.get("ports") or [], rule.get(peers) or [], word)
    return [*lines, f"  Policy Types: {', '.join(types)}"]


def _traffic(ports: list[Object], peers: list[Object], word: str) -> Lines:
    lines = [] if ports else ["    To Port: <any> (traffic allowed to all ports)"]
    for port in ports:
        protocol = port.get("protocol", "TCP")
        if port.get("endPort"):
            lines.append(f"    To Port Range: {port['port']}-{port['endPort']}/{protocol}")
        else:
            lines.append(f"    To Port: {port.get('port', '<any>')}/{protocol}")
    if not peers:
        where = "source" if word == "From" else "destination"
        lines.append(f"    {word}: <any> (traffic not restricted by {where})")
    for peer in peers:
        lines.append(f"    {word}:")
        selectors = (("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector"))
        lines += [f"      {t}: {selector_text(peer[field])}" for t, field in selectors if peer.get(field) is not None]
        if peer.get("ipBlock"):
            lines += ["      IPBlock:", f"        CIDR: {peer['ipBlock']['cidr']}"]
            lines.append(f"        Except: {', '.join(peer['ipBlock'].get('except') or [])}")
    return lines


MINOR: dict[str, Callable[[Object, Ask], Lines]] = {
    "Role": role_lines,
    "ClusterRole": role_lines,
    "RoleBinding": binding_lines,
    "ClusterRoleBinding": binding_lines,
    "PriorityClass": priority_lines,
    "ResourceQuota": quota_lines,
    "LimitRange": limit_lines,
    "HorizontalPodAutoscaler": autoscaler_lines,
    "Endpoints": endpoints_lines,
    "EndpointSlice": slice_lines,
    "Ingress": ingress_lines,
    "IngressClass": ingress_class_lines,
    "NetworkPolicy": policy_lines,
}
"""By kind; none of them is imported by a `describe` of another."""
