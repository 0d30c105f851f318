"""What may stand in a PodSpec and a PodTemplateSpec, and which of it has no effect here. Pure.

Shared by Pods and the templates of StatefulSets. Every cause at once, in Kubernetes' words and order.
Source: core/validation ValidatePodSpec.
"""

from typing import Any

from localset.apis.pods import VOLUME_SOURCES
from localset.apis.strategy import label_causes
from localset.machinery.errors import Cause, bad_value, duplicate, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_label, env_var_name, port_name

_WITHOUT_EFFECT = {
    "affinity": "every Pod runs on this machine",
    "topologySpreadConstraints": "every Pod runs on this machine",
    "priorityClassName": "there is no preemption here",
    "runtimeClassName": "processes run on the host's kernel",
}


def template_causes(template: Object, path: str, claims: set[str]) -> list[Cause]:
    """Return what is wrong with a template. `claims` are the names that claim templates add as volumes."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    return [*label_causes(labels, f"{path}.labels"), *spec_causes(template.get("spec") or {}, f"{path}.spec", claims)]


def spec_causes(spec: Object, path: str, claims: set[str]) -> list[Cause]:
    """Return what is wrong with a PodSpec, in validation order."""
    causes: list[Cause] = []
    volumes = set(claims)
    for i, volume in enumerate(spec.get("volumes") or []):
        causes += _volume_causes(volume, f"{path}.volumes[{i}]", volumes - claims)
        volumes.add(volume.get("name", ""))
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or []):
            causes += _container_causes(container, f"{path}.{field}[{i}]", volumes, names)
    if spec.get("restartPolicy") not in {"Always", "OnFailure", "Never"}:
        supported = ["Always", "OnFailure", "Never"]
        causes.append(not_supported(f"{path}.restartPolicy", spec.get("restartPolicy", ""), supported))
    policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]
    if spec.get("dnsPolicy") not in policies:
        causes.append(not_supported(f"{path}.dnsPolicy", spec.get("dnsPolicy", ""), policies))
    grace = spec.get("terminationGracePeriodSeconds") or 0
    if grace < 0:
        causes.append(bad_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0"))
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            causes += [bad_value(f"{path}.{field}", spec[field], why) for why in dns1123_label(spec[field])]
    return causes


def _volume_causes(volume: Object, path: str, names: set[str]) -> list[Cause]:
    name = volume.get("name", "")
    causes = (
        [required(f"{path}.name")]
        if not name
        else [bad_value(f"{path}.name", name, why) for why in dns1123_label(name)]
    )
    if name in names:
        causes.append(duplicate(f"{path}.name", name))
    sources = [source for source in VOLUME_SOURCES if volume.get(source) is not None]
    causes += [
        Cause("FieldValueForbidden", "Forbidden: may not specify more than 1 volume type", f"{path}.{source}")
        for source in sources[1:]
    ]
    for source, field in (("hostPath", "path"), ("persistentVolumeClaim", "claimName"), ("secret", "secretName")):
        if volume.get(source) is not None and not volume[source].get(field):
            causes.append(required(f"{path}.{source}.{field}"))
    if volume.get("hostPath") is not None and ".." in str(volume["hostPath"].get("path", "")).split("/"):
        causes.append(bad_value(f"{path}.hostPath.path", volume["hostPath"]["path"], "must not contain '..'"))
    if volume.get("configMap") is not None and not volume["configMap"].get("name"):
        causes.append(required(f"{path}.configMap.name"))
    return causes


def _container_causes(container: Object, path: str, volumes: set[str], names: set[str]) -> list[Cause]:
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
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            causes += _probe_causes(container[field], f"{path}.{field}", is_readiness=field == "readinessProbe")
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
        if not number:
            causes.append(required(f"{at}.containerPort"))
        elif not 1 <= number <= 65535:
            causes.append(bad_value(f"{at}.containerPort", number, "must be between 1 and 65535, inclusive"))
        if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
            causes.append(not_supported(f"{at}.protocol", port.get("protocol", ""), ["SCTP", "TCP", "UDP"]))
    return causes


def _env_causes(container: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for i, env in enumerate(container.get("env") or []):
        at = f"{path}.env[{i}]"
        name = env.get("name", "")
        causes += (
            [required(f"{at}.name")] if not name else [bad_value(f"{at}.name", name, w) for w in env_var_name(name)]
        )
        source = env.get("valueFrom")
        if source is None:
            continue
        if env.get("value"):
            causes.append(bad_value(f"{at}.valueFrom", "", "may not be specified when `value` is not empty"))
        given = [k for k in source if source[k] is not None]
        if len(given) != 1:
            why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            causes.append(
                bad_value(
                    f"{at}.valueFrom", "", why if not given else "may not have more than one field specified at a time"
                )
            )
            continue
        if given[0] in {"configMapKeyRef", "secretKeyRef"} and not source[given[0]].get("key"):
            causes.append(required(f"{at}.valueFrom.{given[0]}.key"))
    return causes


def _mount_causes(mount: Object, path: str, volumes: set[str], mounted: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name, target = mount.get("name", ""), mount.get("mountPath", "")
    if not name:
        causes.append(required(f"{path}.name"))
    elif name not in volumes:
        causes.append(Cause("FieldValueNotFound", f'Not found: "{name}"', f"{path}.name"))
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
    if not actions:
        causes.append(required(path, "must specify a handler type"))
    causes += [
        Cause("FieldValueForbidden", "Forbidden: may not specify more than 1 handler type", f"{path}.{a}")
        for a in actions[1:]
    ]
    if probe.get("exec") is not None and not probe["exec"].get("command"):
        causes.append(required(f"{path}.exec.command"))
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        value: Any = probe.get(field) or 0
        if value < 0:
            causes.append(bad_value(f"{path}.{field}", value, "must be greater than or equal to 0"))
    if not is_readiness and probe.get("successThreshold", 1) != 1:
        causes.append(bad_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def template_warnings(template: Object, path: str) -> list[str]:
    """Return one text per field that is stored but has no effect on one machine."""
    spec = template.get("spec") or {}
    return [f"{path}.spec.{field}: no effect here: {why}" for field, why in _WITHOUT_EFFECT.items() if spec.get(field)]
