"""What may stand in a container: names, ports, environment, mounts, probes, resources. Pure; used by `podspec`.

Source: core/validation validateContainers.
"""

import re
from fractions import Fraction
from typing import Any

from localset.apis.addresses import PROTOCOLS, port_number_causes
from localset.machinery.errors import Cause, bad_value, duplicate, missing, not_allowed, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import config_map_key, dns1123_label, env_var_name, port_name
from localset.machinery.quantity import parse_quantity

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PULL_POLICIES = ["Always", "IfNotPresent", "Never"]
_MESSAGE_POLICIES = ["FallbackToLogsOnError", "File"]
_ONE_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
_FIELDS = [
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
]  # fmt: skip
_FIELD = re.compile(r"(?:" + "|".join(map(re.escape, _FIELDS)) + r"|metadata\.(?:labels|annotations)\['[^']*'\])\Z")
_KNOWN_FIELD = re.compile(
    r"(?:metadata\.(?:labels|annotations)|spec\.(?:restartPolicy|schedulerName|hostNetwork)"
    r"|status\.(?:phase|nominatedNodeName))\Z"
)
_RESOURCES = [
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
]  # fmt: skip
_RESOURCE = re.compile(r"(?:limits|requests)\.(?:cpu|memory|ephemeral-storage|hugepages-.+)\Z")


def container_causes(container: Object, path: str, volumes: set[str], names: set[str]) -> list[Cause]:
    """Return what is wrong with a container. `names` are those of the Pod's containers so far, and grow by this one."""
    name = container.get("name", "")
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{path}.name"))
    else:
        causes += [bad_value(f"{path}.name", name, why) for why in dns1123_label(name)]
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    if "image" in container and container["image"] != str(container["image"]).strip():
        causes.append(bad_value(f"{path}.image", container["image"], "must not have leading or trailing whitespace"))
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    causes += _port_causes(container, path)
    causes += _env_causes(container, path)
    mounted: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts") or []):
        causes += _mount_causes(mount, f"{path}.volumeMounts[{i}]", volumes, mounted)
    for field in _PROBES:
        if container.get(field) is not None:
            causes += _probe_causes(container[field], f"{path}.{field}", is_readiness=field == "readinessProbe")
    for hook, action in (container.get("lifecycle") or {}).items():
        if isinstance(action, dict):
            actions = [a for a in ("exec", "httpGet", "tcpSocket", "sleep") if action.get(a) is not None]
            causes += _handler_causes(action, f"{path}.lifecycle.{hook}", actions)
    for field, supported in (("imagePullPolicy", _PULL_POLICIES), ("terminationMessagePolicy", _MESSAGE_POLICIES)):
        if container.get(field) not in supported:
            causes.append(not_supported(f"{path}.{field}", container.get(field, ""), supported))
    return [*causes, *_resource_causes(container.get("resources") or {}, f"{path}.resources")]


def init_container_causes(container: Object, path: str) -> list[Cause]:
    """Return what an init container may not have; those that are restarted always (sidecars) may have all of it."""
    policy = container.get("restartPolicy")
    if policy == "Always":
        return []
    causes = [] if policy is None else [not_supported(f"{path}.restartPolicy", policy, ["Always"])]
    why = "may not be set for init containers without restartPolicy=Always"
    return causes + [
        not_allowed(f"{path}.{field}", why) for field in ("lifecycle", *_PROBES) if container.get(field) is not None
    ]


def _resource_causes(resources: Object, path: str) -> list[Cause]:
    """Return what is wrong with the amounts; a limit below its request could never be kept."""
    causes: list[Cause] = []
    amounts: dict[str, dict[str, Fraction]] = {}
    for field in ("limits", "requests"):
        amounts[field] = {}
        for name, text in (resources.get(field) or {}).items():
            try:
                amounts[field][name] = value = parse_quantity(text)
            except ValueError as error:
                causes.append(bad_value(f"{path}.{field}[{name}]", text, str(error)))
                continue
            if value < 0:
                causes.append(bad_value(f"{path}.{field}[{name}]", text, "must be greater than or equal to 0"))
    for name, value in amounts["requests"].items():
        limit = amounts["limits"].get(name)
        if limit is not None and value > limit:
            why = f"must be less than or equal to {name} limit"
            causes.append(bad_value(f"{path}.requests", resources["requests"][name], why))
    return causes


def _port_causes(container: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for i, port in enumerate(container.get("ports") or []):
        at = f"{path}.ports[{i}]"
        name = port.get("name", "")
        if name:
            causes += [bad_value(f"{at}.name", name, why) for why in port_name(name)]
            if name in seen:
                causes.append(duplicate(f"{at}.name", name))
            seen.add(name)
        number = port.get("containerPort")
        causes += [required(f"{at}.containerPort")] if not number else port_number_causes(f"{at}.containerPort", number)
        if port.get("hostPort"):
            causes += port_number_causes(f"{at}.hostPort", port["hostPort"])
        if port.get("protocol") not in PROTOCOLS:
            causes.append(not_supported(f"{at}.protocol", port.get("protocol", ""), PROTOCOLS))
    return causes


def _env_causes(container: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for i, env in enumerate(container.get("env") or []):
        at = f"{path}.env[{i}]"
        name = env.get("name", "")
        causes += (
            [required(f"{at}.name")] if not name else [bad_value(f"{at}.name", name, w) for w in env_var_name(name)]
        )
        if env.get("valueFrom") is not None:
            causes += _value_from_causes(env["valueFrom"], f"{at}.valueFrom")
            if env.get("value"):
                causes.append(bad_value(f"{at}.valueFrom", "", "may not be specified when `value` is not empty"))
    for i, source in enumerate(container.get("envFrom") or []):
        causes += _env_from_causes(source, f"{path}.envFrom[{i}]")
    return causes


def _value_from_causes(source: Object, path: str) -> list[Cause]:
    given = [kind for kind in source if source[kind] is not None]
    if not given:
        return [bad_value(path, "", _ONE_SOURCE)]
    causes: list[Cause] = []
    if len(given) > 1:
        causes.append(bad_value(path, "", "may not have more than one field specified at a time"))
    if source.get("fieldRef") is not None:
        field = str(source["fieldRef"].get("fieldPath") or "")
        if not field:
            causes.append(required(f"{path}.fieldRef.fieldPath"))
        elif not _FIELD.match(field):
            if _KNOWN_FIELD.match(field):
                causes.append(not_supported(f"{path}.fieldRef.fieldPath", field, _FIELDS))
            else:
                why = f"error converting fieldPath: field label not supported: {field}"
                causes.append(bad_value(f"{path}.fieldRef.fieldPath", field, why))
    if source.get("resourceFieldRef") is not None:
        resource = str(source["resourceFieldRef"].get("resource") or "")
        at = f"{path}.resourceFieldRef.resource"
        if not resource:
            causes.append(required(at))
        elif not _RESOURCE.match(resource):
            causes.append(not_supported(at, resource, _RESOURCES))
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind) is not None:
            key = str(source[kind].get("key") or "")
            causes += [required(f"{path}.{kind}.key")] if not key else []
            causes += [bad_value(f"{path}.{kind}.key", key, why) for why in config_map_key(key)] if key else []
    return causes


def _env_from_causes(source: Object, path: str) -> list[Cause]:
    given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
    if not given:
        return [bad_value(path, "", "must specify one of: `configMapRef` or `secretRef`")]
    if len(given) > 1:
        return [bad_value(path, "", "may not have more than one field specified at a time")]
    return [] if source[given[0]].get("name") else [required(f"{path}.{given[0]}.name")]


def _mount_causes(mount: Object, path: str, volumes: set[str], mounted: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name, target = mount.get("name", ""), mount.get("mountPath", "")
    if not name:
        causes.append(required(f"{path}.name"))
    elif name not in volumes:
        causes.append(missing(f"{path}.name", name))
    if not target:
        causes.append(required(f"{path}.mountPath"))
    elif target in mounted:
        causes.append(bad_value(f"{path}.mountPath", target, "must be unique"))
    mounted.add(target)
    for field in ("subPath", "subPathExpr"):
        value = mount.get(field) or ""
        if value.startswith("/"):
            causes.append(bad_value(f"{path}.{field}", value, "must be a relative path"))
        if ".." in value.split("/"):
            causes.append(bad_value(f"{path}.{field}", value, "must not contain '..'"))
    return causes


def _probe_causes(probe: Object, path: str, *, is_readiness: bool) -> list[Cause]:
    causes: list[Cause] = []
    actions = [a for a in ("exec", "httpGet", "tcpSocket", "grpc") if probe.get(a) is not None]
    causes += _handler_causes(probe, path, actions)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        value: Any = probe.get(field) or 0
        if value < 0:
            causes.append(bad_value(f"{path}.{field}", value, "must be greater than or equal to 0"))
    if not is_readiness and probe.get("successThreshold", 1) != 1:
        causes.append(bad_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def _handler_causes(handler: Object, path: str, actions: list[str]) -> list[Cause]:
    causes = [] if actions else [required(path, "must specify a handler type")]
    causes += [not_allowed(f"{path}.{a}", "may not specify more than 1 handler type") for a in actions[1:]]
    if handler.get("exec") is not None and not handler["exec"].get("command"):
        causes.append(required(f"{path}.exec.command"))
    for action in ("httpGet", "tcpSocket"):
        if handler.get(action) is not None:
            port = handler[action].get("port")
            at = f"{path}.{action}.port"
            if isinstance(port, int):
                causes += port_number_causes(at, port)
            else:
                causes += [bad_value(at, port or "", why) for why in port_name(port or "")]
    return causes
