"""What may stand in a PodSpec and a PodTemplateSpec, and which of it has no effect here. Pure.

Shared by Pods and the templates of StatefulSets. Every cause at once, in Kubernetes' words and order.
Source: core/validation ValidatePodSpec.
"""

from localset.apis.containers import container_causes, init_container_causes
from localset.apis.ephemeral import refused_causes
from localset.apis.pods import VOLUME_SOURCES
from localset.apis.strategy import label_causes
from localset.machinery.errors import Cause, bad_value, duplicate, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_label, dns1123_subdomain

_RESTART_POLICIES = ["Always", "OnFailure", "Never"]
_DNS_POLICIES = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]
_WITHOUT_EFFECT = {
    "affinity": "every Pod runs on this machine",
    "topologySpreadConstraints": "every Pod runs on this machine",
    "priorityClassName": "there is no preemption here",
    "runtimeClassName": "processes run on the host's kernel",
}

_NO_LIMITS = "processes share the machine unlimited"


def template_causes(template: Object, path: str, claims: set[str]) -> list[Cause]:
    """Return what is wrong with a template. `claims` are the names that claim templates add as volumes."""
    labels, spec = (template.get("metadata") or {}).get("labels") or {}, template.get("spec") or {}
    return [
        *label_causes(labels, f"{path}.labels"),
        *spec_causes(spec, f"{path}.spec", claims),
        *refused_causes(spec, f"{path}.spec", "ephemeral containers not allowed in pod template"),
    ]


def spec_causes(spec: Object, path: str, claims: set[str]) -> list[Cause]:
    """Return what is wrong with a PodSpec, in validation order."""
    causes: list[Cause] = []
    volumes, found = _volumes(spec, path, claims)
    causes += found
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or []):
            causes += container_causes(container, f"{path}.{field}[{i}]", volumes, names)
            if field == "initContainers":
                causes += init_container_causes(container, f"{path}.{field}[{i}]")
    for field, supported in (("restartPolicy", _RESTART_POLICIES), ("dnsPolicy", _DNS_POLICIES)):
        value = spec.get(field)
        if not value:
            causes.append(required(f"{path}.{field}"))
        elif value not in supported:
            causes.append(not_supported(f"{path}.{field}", value, supported))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        why = "must be between 1 and 2147483647, inclusive"
        causes.append(bad_value(f"{path}.activeDeadlineSeconds", deadline, why))
    causes += _identity_causes(spec.get("securityContext") or {}, f"{path}.securityContext")
    for field, check in (
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
        ("serviceAccountName", dns1123_subdomain),
        ("nodeName", dns1123_subdomain),
    ):
        if spec.get(field):
            causes += [bad_value(f"{path}.{field}", spec[field], why) for why in check(spec[field])]
    return [*causes, *label_causes(spec.get("nodeSelector") or {}, f"{path}.nodeSelector")]


def _identity_causes(context: Object, path: str) -> list[Cause]:
    return [
        bad_value(f"{path}.{field}", context[field], "must be between 0 and 2147483647, inclusive")
        for field in ("runAsUser", "runAsGroup", "fsGroup")
        if context.get(field) is not None and not 0 <= context[field] < 2**31
    ]


def _volumes(spec: Object, path: str, claims: set[str]) -> tuple[set[str], list[Cause]]:
    """Return the names that can be mounted, and what is wrong with the others: a wrong volume cannot be mounted."""
    names, causes = set(claims), []
    for i, volume in enumerate(spec.get("volumes") or []):
        found = _volume_causes(volume, f"{path}.volumes[{i}]", names - claims)
        causes += found
        if not found:
            names.add(volume.get("name", ""))
    return names, causes


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


def template_warnings(template: Object, path: str) -> list[str]:
    """Return one text per field that is stored but has no effect on one machine; a bare Pod's `path` is empty."""
    spec = template.get("spec") or {}
    at = f"{path}.spec" if path else "spec"
    found = [f"{at}.{field}: no effect here: {why}" for field, why in _WITHOUT_EFFECT.items() if spec.get(field)]
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or []):
            if (container.get("resources") or {}).get("limits"):
                found.append(f"{at}.{field}[{i}].resources.limits: no effect here: {_NO_LIMITS}")
    return found
