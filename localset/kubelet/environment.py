"""A container's environment, from the manifest and nothing else (design 3.14, semantics 3.8). Pure.

`starter` gives it the objects that references may name; a missing one raises `ConfigError`, which becomes
CreateContainerConfigError. The shell that started the daemon never shows through here.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from localset.base.frozen import frozen
from localset.kubelet.expansion import expand
from localset.kubelet.records import container_of
from localset.machinery.metadata import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from localset.machinery.quantity import parse_quantity

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


class ConfigError(Exception):
    """A reference that cannot be resolved; the text is what Kubernetes shows as the waiting message."""


@frozen
class Sources:
    """What references may look at. Finders answer None for an absent object of the Pod's namespace."""

    find_config_map: Callable[[str], Object | None]
    find_secret: Callable[[str], Object | None]
    services: Iterable[Object]
    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str]


@dataclass(slots=True)
class Environment:
    """The result: variables in order of definition, and the names that envFrom had to leave out."""

    variables: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def build_environment(pod: Object, container: Object, base: Mapping[str, str], sources: Sources) -> Environment:
    """Return the environment: base (image, clean defaults), Service variables, envFrom, env; later ones win."""
    result = Environment()
    services = service_variables(pod, sources.services)
    declared: dict[str, str] = {}
    for entry in container.get("envFrom") or []:
        declared.update(_from_source(entry, sources, result.skipped))
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _value_from(pod, container, entry["valueFrom"], sources)
            if value is not None:
                declared[name] = value
        else:
            declared[name] = expand(entry.get("value") or "", declared, services)
    result.variables = {**base, **services, **declared}
    return result


def references_in(pod: Object) -> set[tuple[str, str]]:
    """Return (`configmaps`|`secrets`, name) of what the containers' environments refer to: a change may end a wait."""
    found: set[tuple[str, str]] = set()
    spec = pod.get("spec") or {}
    for container in [c for name in _CONTAINERS for c in spec.get(name) or []]:
        sources = [entry.get("valueFrom") or {} for entry in container.get("env") or []]
        for source in [*sources, *(container.get("envFrom") or [])]:
            for kind, keys in (
                ("configmaps", ("configMapKeyRef", "configMapRef")),
                ("secrets", ("secretKeyRef", "secretRef")),
            ):
                found.update((kind, source[key].get("name") or "") for key in keys if source.get(key))
    return found


def service_variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """Return the Service variables for `pod`: `kubernetes` of `default` always, others of its namespace when linked."""
    is_linked = (pod.get("spec") or {}).get("enableServiceLinks", True)
    namespace = namespace_of(pod)
    variables: dict[str, str] = {}
    for service in services:
        is_kubernetes = name_of(service) == "kubernetes" and namespace_of(service) == "default"
        if not is_kubernetes and not (is_linked and namespace_of(service) == namespace):
            continue
        variables.update(_variables_of_service(service))
    return variables


def _variables_of_service(service: Object) -> dict[str, str]:
    spec = service.get("spec") or {}
    address = spec.get("clusterIP") or ""
    ports = spec.get("ports") or []
    if not address or address == "None" or not ports:
        return {}
    prefix = name_of(service).upper().replace("-", "_")
    variables = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    first = ports[0]
    variables[f"{prefix}_PORT"] = f"{(first.get('protocol') or 'TCP').lower()}://{address}:{first['port']}"
    for port in ports:
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        protocol = port.get("protocol") or "TCP"
        stem = f"{prefix}_PORT_{port['port']}_{protocol}"
        variables[stem] = f"{protocol.lower()}://{address}:{port['port']}"
        variables[f"{stem}_PROTO"] = protocol.lower()
        variables[f"{stem}_PORT"] = str(port["port"])
        variables[f"{stem}_ADDR"] = address
    return variables


def _from_source(entry: Object, sources: Sources, skipped: list[str]) -> dict[str, str]:
    prefix = entry.get("prefix") or ""
    if entry.get("configMapRef"):
        reference, kind, find = entry["configMapRef"], "configmap", sources.find_config_map
    else:
        reference, kind, find = entry.get("secretRef") or {}, "secret", sources.find_secret
    found = find(reference.get("name") or "")
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference.get("name")}" not found')
    values: dict[str, str] = {}
    for key, value in sorted((found.get("data") or {}).items()):
        name = prefix + key
        if not name or "=" in name or not name.isascii() or not name.isprintable():
            skipped.append(key)
            continue
        values[name] = decode_secret(value) if kind == "secret" else value
    return values


def decode_secret(value: str) -> str:
    """Return a Secret's base64 value as text; bytes that are no UTF-8 survive as surrogates, as in os.environ."""
    try:
        return base64.b64decode(value).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise ConfigError(f"secret value is not base64: {error}") from error


def _value_from(pod: Object, container: Object, source: Object, sources: Sources) -> str | None:
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"].get("fieldPath") or "", sources.host_ip, sources.pod_ip)
    if source.get("resourceFieldRef"):
        return resource_value(pod, container, source["resourceFieldRef"], sources.allocatable)
    if source.get("configMapKeyRef"):
        return _key_of(source["configMapKeyRef"], "configmap", sources.find_config_map, pod)
    if source.get("secretKeyRef"):
        value = _key_of(source["secretKeyRef"], "secret", sources.find_secret, pod)
        return None if value is None else decode_secret(value)
    raise ConfigError("valueFrom names no source that localset knows")


def _key_of(reference: Object, kind: str, find: Callable[[str], Object | None], pod: Object) -> str | None:
    name, key = reference.get("name") or "", reference.get("key") or ""
    found = find(name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind} "{name}" not found')
    data = found.get("data") or {}
    if key in data:
        return str(data[key])
    if reference.get("optional"):
        return None
    title = "ConfigMap" if kind == "configmap" else "Secret"
    raise ConfigError(f"couldn't find key {key} in {title} {namespace_of(pod)}/{name}")


def field_value(pod: Object, path: str, host_ip: str, pod_ip: str) -> str:
    """Return a downward API field as text; ConfigError for one that is not supported."""
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        found = labels_of(pod) if subscript[1] == "labels" else annotations_of(pod)
        return found.get(subscript[2], "")
    spec = pod.get("spec") or {}
    simple = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": uid_of(pod),
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
    }
    if path == "metadata.labels":
        return _format_map(labels_of(pod))
    if path == "metadata.annotations":
        return _format_map(annotations_of(pod))
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return simple[path]


def _format_map(values: Mapping[str, str]) -> str:
    lines = []
    for key in sorted(values):
        escaped = values[key].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        lines.append(f'{key}="{escaped}"')
    return "\n".join(lines)


def resource_value(pod: Object, container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """Return ceil(resource / divisor) of a container; an unset limit is what the node has."""
    if reference.get("containerName"):
        named = container_of(pod, reference["containerName"])
        if named is None:
            raise ConfigError(f"container {reference['containerName']} not found")
        container = named
    kind, _, resource = (reference.get("resource") or "").partition(".")
    if kind not in {"limits", "requests"} or not resource:
        raise ConfigError(f"unsupported container resource: {reference.get('resource')}")
    resources = container.get("resources") or {}
    text = (resources.get(kind) or {}).get(resource)
    if text is None:
        text = allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = parse_quantity(str(reference.get("divisor") or "1")) or Fraction(1)
    return str(math.ceil(parse_quantity(str(text)) / divisor))
