"""What `describe` prints of the kinds that are not Pods or Nodes and have a form of their own."""

import base64
from collections.abc import Callable
from typing import Any

from localset.cli.describing.containers import pod_template
from localset.cli.describing.lines import Lines, annotations, labels, moment
from localset.cli.describing.minor import scope_lines
from localset.cli.describing.selectors import selector_text

List = Callable[..., list[dict[str, Any]]]
"""(`pods`, namespace, labelSelector=…, fieldSelector=…) → objects."""


def _head(obj: dict[str, Any], *, namespaced: bool = True) -> Lines:
    metadata = obj["metadata"]
    lines = [f"Name:\t{metadata['name']}"]
    return lines + ([f"Namespace:\t{metadata.get('namespace', '')}"] if namespaced else [])


def _marks(obj: dict[str, Any]) -> Lines:
    metadata = obj["metadata"]
    return labels("Labels", metadata.get("labels")) + annotations("Annotations", metadata.get("annotations"))


def statefulset_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a StatefulSet without its events."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    pods = ask("pods", metadata["namespace"], labelSelector=_query(spec.get("selector")))
    own = [p for p in pods if any(o["uid"] == metadata["uid"] for o in p["metadata"].get("ownerReferences") or [])]
    phases = [(p.get("status") or {}).get("phase") for p in own]
    counts = " / ".join(
        f"{phases.count(phase)} {word}"
        for phase, word in (("Running",) * 2, ("Pending", "Waiting"), ("Succeeded",) * 2, ("Failed",) * 2)
    )
    lines = _head(obj)
    lines.append(f"CreationTimestamp:\t{moment(metadata.get('creationTimestamp'))}")
    lines.append(f"Selector:\t{selector_text(spec.get('selector'))}")
    lines += _marks(obj)
    lines.append(f"Replicas:\t{spec.get('replicas', 0)} desired | {status.get('replicas', 0)} total")
    strategy = spec.get("updateStrategy") or {}
    lines.append(f"Update Strategy:\t{strategy.get('type', '')}")
    rolling = strategy.get("rollingUpdate")
    if rolling is not None:
        lines.append(f"  Partition:\t{rolling.get('partition', 0)}")
        if rolling.get("maxUnavailable") is not None:
            lines.append(f"  MaxUnavailable:\t{rolling['maxUnavailable']}")
    lines.append(f"Pods Status:\t{counts}")
    lines += ["Pod Template:", *pod_template(spec["template"])]
    claims = spec.get("volumeClaimTemplates") or []
    lines.append("Volume Claims:" if claims else "Volume Claims:\t<none>")
    for claim in claims:
        lines += _claim_template(claim)
    return lines


def _query(selector: dict[str, Any] | None) -> str:
    text = selector_text(selector)
    return "" if text.startswith("<") else text


def _claim_template(claim: dict[str, Any]) -> Lines:
    metadata, spec = claim["metadata"], claim["spec"]
    lines = [f"  Name:\t{metadata.get('name', '')}", f"  StorageClass:\t{spec.get('storageClassName', '')}"]
    lines += labels("  Labels", metadata.get("labels"))
    lines += annotations("  Annotations", metadata.get("annotations"))
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "<default>")
    return [*lines, f"  Capacity:\t{size}", f"  Access Modes:\t[{' '.join(spec.get('accessModes') or [])}]"]


def service_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a Service without its events."""
    metadata, spec = obj["metadata"], obj["spec"]
    slices = ask(
        "endpointslices.discovery.k8s.io",
        metadata["namespace"],
        labelSelector=f"kubernetes.io/service-name={metadata['name']}",
    )
    lines = _head(obj) + _marks(obj)
    lines.append(f"Selector:\t{_plain_selector(spec)}")
    lines.append(f"Type:\t{spec.get('type', '')}")
    if spec.get("ipFamilyPolicy"):
        lines.append(f"IP Family Policy:\t{spec['ipFamilyPolicy']}")
    if spec.get("ipFamilies"):
        lines.append(f"IP Families:\t{','.join(spec['ipFamilies'])}")
    else:
        lines.append("IP Families:\t<none>")
    lines.append(f"IP:\t{spec.get('clusterIP', '')}")
    lines.append(f"IPs:\t{','.join(spec.get('clusterIPs') or []) or '<none>'}")
    for title, field in (("External IPs", "externalIPs"), ("External Name", "externalName")):
        if spec.get(field):
            lines.append(f"{title}:\t{','.join(spec[field]) if isinstance(spec[field], list) else spec[field]}")
    for port in spec.get("ports") or []:
        lines += _service_port(port, slices)
    lines.append(f"Session Affinity:\t{spec.get('sessionAffinity', '')}")
    for title, field in (
        ("External Traffic Policy", "externalTrafficPolicy"),
        ("Internal Traffic Policy", "internalTrafficPolicy"),
        ("Traffic Distribution", "trafficDistribution"),
    ):
        if spec.get(field):
            lines.append(f"{title}:\t{spec[field]}")
    return lines


def _plain_selector(spec: dict[str, Any]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items())) or "<none>"


def _service_port(port: dict[str, Any], slices: list[dict[str, Any]]) -> Lines:
    name, protocol = port.get("name") or "<unset>", port.get("protocol", "TCP")
    lines = [f"Port:\t{name}\t{port['port']}/{protocol}", f"TargetPort:\t{port.get('targetPort', 0)}/{protocol}"]
    if port.get("nodePort"):
        lines.append(f"NodePort:\t{name}\t{port['nodePort']}/{protocol}")
    found = []
    for endpoints in slices:
        numbers = [p.get("port") for p in endpoints.get("ports") or [] if (p.get("name") or "") == port.get("name", "")]
        for endpoint in endpoints.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready", True):
                found += [f"{address}:{n}" for address in endpoint["addresses"][:1] for n in numbers[:1]]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [*lines, f"Endpoints:\t{','.join(found[:3])}{more}"]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: list[str] | None) -> str:
    return ",".join(short for long, short in _MODES.items() if long in (modes or []))


def claim_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a PersistentVolumeClaim without its events."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    pods = ask("pods", metadata["namespace"])
    users = [
        pod["metadata"]["name"]
        for pod in pods
        if any(
            (v.get("persistentVolumeClaim") or {}).get("claimName") == metadata["name"]
            for v in pod["spec"].get("volumes") or []
        )
    ]
    lines = _head(obj)
    lines.append(f"StorageClass:\t{spec.get('storageClassName', '')}")
    if metadata.get("deletionTimestamp"):
        from localset.cli.ages import age_of

        lines.append(f"Status:\tTerminating (lasts {age_of(metadata['deletionTimestamp'])})")
    else:
        lines.append(f"Status:\t{status.get('phase', '')}")
    lines.append(f"Volume:\t{spec.get('volumeName', '')}")
    lines += _marks(obj)
    lines.append(f"Finalizers:\t[{' '.join(metadata.get('finalizers') or [])}]")
    is_bound = bool(spec.get("volumeName"))
    lines.append(f"Capacity:\t{(status.get('capacity') or {}).get('storage', '') if is_bound else ''}")
    lines.append(f"Access Modes:\t{_modes(status.get('accessModes')) if is_bound else ''}")
    if spec.get("volumeMode"):
        lines.append(f"VolumeMode:\t{spec['volumeMode']}")
    shown = sorted(users) or ["<none>"]
    return [*lines, f"Used By:\t{shown[0]}", *(f"\t{name}" for name in shown[1:])]


def volume_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a PersistentVolume without its events."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    claim = spec.get("claimRef") or {}
    lines = _head(obj, namespaced=False) + _marks(obj)
    lines.append(f"Finalizers:\t[{' '.join(metadata.get('finalizers') or [])}]")
    lines.append(f"StorageClass:\t{spec.get('storageClassName', '')}")
    phase = "Terminating" if metadata.get("deletionTimestamp") else status.get("phase", "")
    lines.append(f"Status:\t{phase}")
    lines.append(f"Claim:\t{claim['namespace'] + '/' + claim['name'] if claim else ''}")
    lines.append(f"Reclaim Policy:\t{spec.get('persistentVolumeReclaimPolicy', '')}")
    lines.append(f"Access Modes:\t{_modes(spec.get('accessModes'))}")
    if spec.get("volumeMode"):
        lines.append(f"VolumeMode:\t{spec['volumeMode']}")
    lines.append(f"Capacity:\t{(spec.get('capacity') or {}).get('storage', '')}")
    lines += ["Node Affinity:\t<none>", f"Message:\t{status.get('message', '')}", "Source:"]
    if (path := spec.get("hostPath")) is not None:
        lines.append("    Type:\tHostPath (bare host directory volume)")
        lines += [f"    Path:\t{path.get('path', '')}", f"    HostPathType:\t{path.get('type', '')}"]
    return lines


def class_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a StorageClass without its events."""
    marks = obj["metadata"].get("annotations") or {}
    shown = ",".join(f"{k}={v}" for k, v in sorted(marks.items())) or "<none>"
    parameters = ",".join(f"{k}={v}" for k, v in sorted((obj.get("parameters") or {}).items())) or "<none>"
    is_default = marks.get("storageclass.kubernetes.io/is-default-class") == "true"
    expansion = obj.get("allowVolumeExpansion")
    options = obj.get("mountOptions") or []
    return [
        f"Name:\t{obj['metadata']['name']}",
        f"IsDefaultClass:\t{'Yes' if is_default else 'No'}",
        f"Annotations:\t{shown}",
        f"Provisioner:\t{obj['provisioner']}",
        f"Parameters:\t{parameters}",
        f"AllowVolumeExpansion:\t{'<unset>' if expansion is None else 'True' if expansion else 'False'}",
        f"MountOptions:\t{' '.join(options) or '<none>'}",
        f"ReclaimPolicy:\t{obj.get('reclaimPolicy', '')}",
        f"VolumeBindingMode:\t{obj.get('volumeBindingMode', '')}",
    ]


def budget_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a PodDisruptionBudget without its events."""
    spec, status = obj["spec"], obj.get("status") or {}
    lines = _head(obj)
    if spec.get("minAvailable") is not None:
        lines.append(f"Min available:\t{spec['minAvailable']}")
    elif spec.get("maxUnavailable") is not None:
        lines.append(f"Max unavailable:\t{spec['maxUnavailable']}")
    return [
        *lines,
        f"Selector:\t{selector_text(spec.get('selector'))}",
        "Status:",
        f"    Allowed disruptions:\t{status.get('disruptionsAllowed', 0)}",
        f"    Current:\t{status.get('currentHealthy', 0)}",
        f"    Desired:\t{status.get('desiredHealthy', 0)}",
        f"    Total:\t{status.get('expectedPods', 0)}",
    ]


def map_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a ConfigMap without its events."""
    lines = [*_head(obj), *_marks(obj), "", "Data", "===="]
    for key, value in sorted((obj.get("data") or {}).items()):
        lines += [f"{key}:", "----", *value.split("\n"), ""]
    lines += ["", "BinaryData", "===="]
    for key, value in sorted((obj.get("binaryData") or {}).items()):
        lines.append(f"{key}: {_size(value)} bytes")
    return [*lines, ""]


def _size(text: str) -> int:
    return len(base64.b64decode(text))


def secret_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a Secret; its values are only measured."""
    lines = [*_head(obj), *_marks(obj), "", f"Type:\t{obj.get('type', '')}", "", "Data", "===="]
    for key, value in sorted((obj.get("data") or {}).items()):
        is_token = obj.get("type") == "kubernetes.io/service-account-token" and key == "token"
        shown = base64.b64decode(value).decode(errors="replace") if is_token else f"{_size(value)} bytes"
        lines.append(f"{key}:\t{shown}")
    return lines


def account_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a ServiceAccount without its events."""
    lines = _head(obj) + _marks(obj)
    for title, field in (("Image pull secrets", "imagePullSecrets"), ("Mountable secrets", "secrets")):
        names = [reference["name"] for reference in obj.get(field) or []] or ["<none>"]
        lines += [f"{title}:\t{names[0]}", *(f"\t{name}" for name in names[1:])]
    tokens = [
        secret["metadata"]["name"]
        for secret in ask("secrets", obj["metadata"]["namespace"])
        if secret.get("type") == "kubernetes.io/service-account-token"
        and (secret["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name")
        == obj["metadata"]["name"]
    ] or ["<none>"]
    return [*lines, f"Tokens:\t{tokens[0]}", *(f"\t{name}" for name in tokens[1:])]


def namespace_lines(obj: dict[str, Any], ask: List) -> Lines:
    """Return a Namespace; kubectl shows no events of one."""
    lines = _head(obj, namespaced=False) + _marks(obj)
    lines.append(f"Status:\t{(obj.get('status') or {}).get('phase', '')}")
    lines += [""]
    name = obj["metadata"]["name"]
    quotas, limits = ask("resourcequotas", name), ask("limitranges", name)
    lines.append("No resource quota." if not quotas else "Resource Quotas")
    for quota in quotas:
        lines += [f"  Name:\t{quota['metadata']['name']}", *(f"  {line}" for line in scope_lines(quota))]
        lines += ["  Resource\tUsed\tHard", "  --------\t---\t---"]
        status = quota.get("status") or {}
        for resource, hard in sorted((status.get("hard") or {}).items()):
            lines.append(f"  {resource}\t{(status.get('used') or {}).get(resource, '')}\t{hard}")
    lines += [""]
    lines.append("No LimitRange resource." if not limits else "Resource Limits")
    if limits:
        heads = ("Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio")
        lines += [" " + "\t".join(heads), " " + "\t".join("-" * len(head) for head in heads)]
    for limit in limits:
        for item in limit["spec"].get("limits") or []:
            lines += [" " + line for line in _limits(item)]
    return lines


def _limits(item: dict[str, Any]) -> Lines:
    fields = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")
    names = sorted({name for field in fields for name in item.get(field) or {}})
    return [
        "\t".join([item["type"], name, *(str((item.get(field) or {}).get(name, "-")) for field in fields)])
        for name in names
    ]
