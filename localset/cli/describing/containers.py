"""Containers, volumes and Pod templates, as `describe` and `rollout history` print them."""

from collections.abc import Callable
from typing import Any

from localset.cli.describing.lines import Lines, annotations, flag, labels, moment, spread, tolerations, truth

Resolve = Callable[[dict[str, Any], dict[str, Any]], str]
"""(container, env entry) → what a field reference stands for."""

_L1, _L2, _L3 = "  ", "    ", "      "


def pod_template_text(template: dict[str, Any]) -> str:
    """Return a Pod template below its title, with tabs and a newline at its end."""
    return "\n".join(pod_template(template)) + "\n"


def pod_template(template: dict[str, Any]) -> Lines:
    """Return a Pod template below its title."""
    metadata, spec = template.get("metadata") or {}, template["spec"]
    lines = labels("  Labels", metadata.get("labels"))
    if metadata.get("annotations"):
        lines += annotations("  Annotations", metadata["annotations"])
    if spec.get("serviceAccountName"):
        lines.append(f"{_L1}Service Account:\t{spec['serviceAccountName']}")
    if spec.get("initContainers"):
        lines += containers("Init Containers", spec["initContainers"], {}, space="  ")
    lines += containers("Containers", spec.get("containers") or [], {}, space="  ")
    lines += volumes(spec.get("volumes") or [], space="  ")
    lines += spread(spec.get("topologySpreadConstraints"), indent="  ")
    if spec.get("priorityClassName"):
        lines.append(f"{_L1}Priority Class Name:\t{spec['priorityClassName']}")
    lines += labels("Node-Selectors", spec.get("nodeSelector"), indent="  ")
    return lines + tolerations(spec.get("tolerations"), indent="  ")


def containers(
    title: str,
    given: list[dict[str, Any]],
    statuses: dict[str, dict[str, Any]],
    *,
    space: str = "",
    resolve: Resolve | None = None,
) -> Lines:
    """Return containers with their states, below a title."""
    if not given:
        return [f"{space}{title}: <none>"]
    lines = [f"{space}{title}:"]
    for container in given:
        status = statuses.get(container["name"])
        lines += _basics(container, status, " " if space else "")
        for field, name in (("command", "Command"), ("args", "Args")):
            if container.get(field):
                lines.append(f"{_L2}{name}:")
                lines += [f"{_L3}{line}" for word in container[field] for line in str(word).split("\n")]
        if status is not None:
            lines += _state_lines(status)
        lines += resources(container.get("resources") or {}, _L2)
        lines += _probes(container)
        lines += _env_from(container)
        lines += _env(container, resolve)
        lines += _mounts(container)
    return lines


def _basics(container: dict[str, Any], status: dict[str, Any] | None, indent: str) -> Lines:
    lines = [f"{_L1}{indent}{container['name']}:"]
    if status is not None:
        lines.append(f"{_L2}Container ID:\t{status.get('containerID', '')}")
    lines.append(f"{_L2}Image:\t{container.get('image', '')}")
    if status is not None:
        lines.append(f"{_L2}Image ID:\t{status.get('imageID', '')}")
    given = container.get("ports") or []
    for title, field in (("Port", "containerPort"), ("Host Port", "hostPort")):
        ports = ", ".join(f"{port.get(field, 0)}/{port.get('protocol', 'TCP')}" for port in given)
        lines.append(f"{_L2}{title}{'s' if ',' in ports else ''}:\t{ports or '<none>'}")
    return lines


def _state_lines(status: dict[str, Any]) -> Lines:
    lines = _one_state("State", status.get("state") or {})
    if (status.get("lastState") or {}).get("terminated"):
        lines += _one_state("Last State", status["lastState"])
    ready, restarts = truth(status.get("ready")), status.get("restartCount", 0)
    return [*lines, f"{_L2}Ready:\t{ready}", f"{_L2}Restart Count:\t{restarts}"]


def _one_state(title: str, state: dict[str, Any]) -> Lines:
    if state.get("running") is not None:
        return [f"{_L2}{title}:\tRunning", f"{_L3}Started:\t{moment(state['running'].get('startedAt'))}"]
    if state.get("terminated") is not None:
        ended = state["terminated"]
        lines = [f"{_L2}{title}:\tTerminated"]
        lines += [f"{_L3}{k.capitalize()}:\t{ended[k]}" for k in ("reason", "message") if ended.get(k)]
        lines.append(f"{_L3}Exit Code:\t{ended.get('exitCode', 0)}")
        lines += [f"{_L3}Signal:\t{ended['signal']}"] if ended.get("signal") else []
        times = (("Started", "startedAt"), ("Finished", "finishedAt"))
        return [*lines, *(f"{_L3}{name}:\t{moment(ended.get(field))}" for name, field in times)]
    reason = (state.get("waiting") or {}).get("reason")
    return [f"{_L2}{title}:\tWaiting", *([f"{_L3}Reason:\t{reason}"] if reason else [])]


def resources(given: dict[str, Any], indent: str) -> Lines:
    """Return limits and requests."""
    lines: Lines = []
    for field in ("limits", "requests"):
        if given.get(field):
            lines.append(f"{indent}{field.capitalize()}:")
            lines += [f"{indent}  {name}:\t{value}" for name, value in sorted(given[field].items())]
    return lines


def _probes(container: dict[str, Any]) -> Lines:
    kinds = (("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe"))
    return [f"{_L2}{title}:\t{_probe(container[field])}" for title, field in kinds if container.get(field)]


def _probe(probe: dict[str, Any]) -> str:
    times = (
        f"delay={probe.get('initialDelaySeconds', 0)}s timeout={probe.get('timeoutSeconds', 0)}s "
        f"period={probe.get('periodSeconds', 0)}s #success={probe.get('successThreshold', 0)} "
        f"#failure={probe.get('failureThreshold', 0)}"
    )
    if probe.get("exec"):
        return f"exec [{' '.join(probe['exec'].get('command') or [])}] {times}"
    if probe.get("httpGet"):
        get = probe["httpGet"]
        path = get.get("path", "/")
        path = path if path.startswith("/") else f"/{path}"
        return f"http-get {get.get('scheme', 'HTTP').lower()}://{get.get('host', '')}:{get['port']}{path} {times}"
    if probe.get("tcpSocket"):
        return f"tcp-socket {probe['tcpSocket'].get('host', '')}:{probe['tcpSocket']['port']} {times}"
    if probe.get("grpc"):
        return f"grpc <pod>:{probe['grpc']['port']} {probe['grpc'].get('service') or ''} {times}"
    return f"unknown {times}"


def _env_from(container: dict[str, Any]) -> Lines:
    if not container.get("envFrom"):
        return []
    lines = [f"{_L2}Environment Variables from:"]
    for entry in container["envFrom"]:
        kind, source = ("ConfigMap", entry.get("configMapRef")) if "configMapRef" in entry else ("Secret", None)
        source = source if source is not None else entry.get("secretRef") or {}
        prefix = f" with prefix '{entry['prefix']}'" if entry.get("prefix") else ""
        optional = flag(source.get("optional"))
        lines.append(f"{_L3}{source.get('name', '')}\t{kind}{prefix}\tOptional: {optional}")
    return lines


def _env(container: dict[str, Any], resolve: Resolve | None) -> Lines:
    if not container.get("env"):
        return [f"{_L2}Environment:\t<none>"]
    lines = [f"{_L2}Environment:"]
    for entry in container["env"]:
        name, source = entry["name"], entry.get("valueFrom")
        if not source:
            first, *rest = str(entry.get("value", "")).split("\n")
            lines += [f"{_L3}{name}:\t{first}", *(f"{_L3}\t{line}" for line in rest)]
        elif "secretKeyRef" in source:
            ref = source["secretKeyRef"]
            where = f"<set to the key '{ref['key']}' in secret '{ref.get('name', '')}'>"
            lines.append(f"{_L3}{name}:\t{where}\tOptional: {flag(ref.get('optional'))}")
        elif "configMapKeyRef" in source:
            ref = source["configMapKeyRef"]
            where = f"<set to the key '{ref['key']}' of config map '{ref.get('name', '')}'>"
            lines.append(f"{_L3}{name}:\t{where}\tOptional: {flag(ref.get('optional'))}")
        else:
            value = resolve(container, entry) if resolve else ""
            if "fieldRef" in source:
                ref = source["fieldRef"]
                lines.append(f"{_L3}{name}:\t{value} ({ref.get('apiVersion', 'v1')}:{ref['fieldPath']})")
            else:
                lines.append(f"{_L3}{name}:\t{value} ({(source.get('resourceFieldRef') or {}).get('resource', '')})")
    return lines


def _mounts(container: dict[str, Any]) -> Lines:
    mounts = sorted(container.get("volumeMounts") or [], key=lambda mount: str(mount["mountPath"]))
    lines = [f"{_L2}Mounts:" if mounts else f"{_L2}Mounts:\t<none>"]
    for mount in mounts:
        flags = "ro" if mount.get("readOnly") else "rw"
        flags += f',path="{mount["subPath"]}"' if mount.get("subPath") else ""
        lines.append(f"{_L3}{mount['mountPath']} from {mount['name']} ({flags})")
    devices = sorted(container.get("volumeDevices") or [], key=lambda device: str(device["devicePath"]))
    if devices:
        lines.append(f"{_L2}Devices:")
        lines += [f"{_L3}{device['devicePath']} from {device['name']}" for device in devices]
    return lines


def volumes(given: list[dict[str, Any]], *, space: str = "") -> Lines:
    """Return the volumes of a Pod."""
    if not given:
        return [f"{space}Volumes:\t<none>"]
    lines = [f"{space}Volumes:"]
    for volume in given:
        lines.append(f"{_L1}{' ' if space else ''}{volume['name']}:")
        lines += [f"{_L2}{line}" for line in _volume(volume)]
    return lines


def _volume(volume: dict[str, Any]) -> Lines:
    source: Any = None
    if (source := volume.get("hostPath")) is not None:
        path = f"Path:\t{source.get('path', '')}"
        return ["Type:\tHostPath (bare host directory volume)", path, f"HostPathType:\t{source.get('type', '')}"]
    if (source := volume.get("emptyDir")) is not None:
        return [
            "Type:\tEmptyDir (a temporary directory that shares a pod's lifetime)",
            f"Medium:\t{source.get('medium', '')}",
            f"SizeLimit:\t{source.get('sizeLimit', '<unset>')}",
        ]
    if (source := volume.get("secret")) is not None:
        named = f"SecretName:\t{source.get('secretName', '')}"
        return ["Type:\tSecret (a volume populated by a Secret)", named, f"Optional:\t{flag(source.get('optional'))}"]
    if (source := volume.get("configMap")) is not None:
        optional = f"Optional:\t{flag(source.get('optional'))}"
        return ["Type:\tConfigMap (a volume populated by a ConfigMap)", f"Name:\t{source.get('name', '')}", optional]
    if (source := volume.get("persistentVolumeClaim")) is not None:
        return [
            "Type:\tPersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
            f"ClaimName:\t{source['claimName']}",
            f"ReadOnly:\t{flag(source.get('readOnly'))}",
        ]
    if (source := volume.get("downwardAPI")) is not None:
        items = [f"  {_item_source(item)} -> {item['path']}" for item in source.get("items") or []]
        return ["Type:\tDownwardAPI (a volume populated by information about the pod)", "Items:", *items]
    if (source := volume.get("projected")) is not None:
        title = "Type:\tProjected (a volume that contains injected data from multiple sources)"
        return [title, *(line for part in source.get("sources") or [] for line in _projected(part))]
    kind = next((key for key in volume if key != "name"), "unknown")
    return [f"Type:\t{kind}"]


def _item_source(item: dict[str, Any]) -> str:
    if item.get("fieldRef"):
        return str(item["fieldRef"]["fieldPath"])
    return str((item.get("resourceFieldRef") or {}).get("resource", ""))


def _projected(part: dict[str, Any]) -> Lines:
    if part.get("secret"):
        return [f"SecretName:\t{part['secret'].get('name', '')}", f"Optional:\t{flag(part['secret'].get('optional'))}"]
    if part.get("configMap"):
        source = part["configMap"]
        return [f"ConfigMapName:\t{source.get('name', '')}", f"Optional:\t{flag(source.get('optional'))}"]
    if part.get("downwardAPI") is not None:
        return ["DownwardAPI:\ttrue"]
    if part.get("serviceAccountToken"):
        return [f"TokenExpirationSeconds:\t{part['serviceAccountToken'].get('expirationSeconds', 3600)}"]
    return []
