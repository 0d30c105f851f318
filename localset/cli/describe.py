"""`describe`: what a person asks of an object, then its events. The order is kubectl's; what we know more of is
added."""

from typing import Any

import click

from localset.apis.resources import BY_NAME, Resource
from localset.cli.ages import age_of
from localset.cli.context import Context, parse_targets
from localset.cli.events import last_seen
from localset.cli.output import put, to_yaml
from localset.cli.reasons import reason_of


@click.command()
@click.argument("words", nargs=-1)
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.pass_obj
def describe(context: Context, words: tuple[str, ...], namespace: str, selector: str) -> int:
    """Show objects in detail: `describe pod zk-0`, `describe sts/zk`."""
    is_first = True
    for resource, name in parse_targets(context, words):
        where = namespace if resource.namespaced else ""
        found = [context.get(resource, where, name)] if name else context.items(resource, where, labelSelector=selector)
        for obj in found:
            if not is_first:
                put("\n")
            is_first = False
            put("\n".join(_lines(context, resource, obj)))
    return 0


def _lines(context: Context, resource: Resource, obj: dict[str, Any]) -> list[str]:
    metadata = obj["metadata"]
    lines = [_field("Name", metadata["name"])]
    if resource.namespaced:
        lines.append(_field("Namespace", metadata["namespace"]))
    lines.append(
        _field("Created", f"{metadata.get('creationTimestamp')} ({age_of(metadata.get('creationTimestamp', ''))} ago)")
    )
    lines += _mapping("Labels", metadata.get("labels"))
    annotations = {
        k: v
        for k, v in (metadata.get("annotations") or {}).items()
        if k != "kubectl.kubernetes.io/last-applied-configuration"
    }
    lines += _mapping("Annotations", annotations)
    for owner in metadata.get("ownerReferences") or []:
        if owner.get("controller"):
            lines.append(_field("Controlled By", f"{owner['kind']}/{owner['name']}"))
    events = _events(context, obj)
    if resource.kind == "Pod":
        lines += _pod_lines(obj, events)
    elif resource.kind == "StatefulSet":
        lines += _set_lines(obj)
    elif resource.kind == "Secret":
        lines += ["Data", *(f"  {k}:  {len(v) * 3 // 4} bytes" for k, v in sorted((obj.get("data") or {}).items()))]
    else:
        for part in ("spec", "data", "subsets", "provisioner", "reclaimPolicy", "status"):
            if obj.get(part):
                lines += _block(part.capitalize(), obj[part])
    return [*lines, *_event_lines(events)]


def _field(name: str, value: object) -> str:
    return f"{name + ':':<18}{value}"


def _mapping(name: str, values: dict[str, str] | None) -> list[str]:
    pairs = [f"{k}={v}" for k, v in sorted((values or {}).items())] or ["<none>"]
    return [_field(name, pairs[0]), *(" " * 18 + pair for pair in pairs[1:])]


def _block(name: str, value: object) -> list[str]:
    if not isinstance(value, dict | list):
        return [_field(name, value)]
    return [f"{name}:", *("  " + line for line in to_yaml(value).rstrip("\n").splitlines())]


def _pod_lines(pod: dict[str, Any], events: list[dict[str, Any]]) -> list[str]:
    spec, status = pod["spec"], pod.get("status") or {}
    lines = [_field("Node", spec.get("nodeName") or "<none>"), _field("Status", status.get("phase", "Pending"))]
    why = reason_of(pod, events)
    if why:
        lines.append(_field("Why", why))
    lines.append(_field("IP", status.get("podIP") or "<none>"))
    states = {
        s["name"]: s for s in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    }
    for field, title in (("initContainers", "Init Containers"), ("containers", "Containers")):
        if spec.get(field):
            lines.append(f"{title}:")
            for container in spec[field]:
                lines += _container_lines(container, states.get(container["name"], {}))
    lines.append("Conditions:")
    for condition in status.get("conditions") or []:
        text = f"  {condition['type']:<28}{condition['status']}"
        lines.append(f"{text}  {condition.get('message', '')}".rstrip())
    lines.append("Volumes:" if spec.get("volumes") else _field("Volumes", "<none>"))
    for volume in spec.get("volumes") or []:
        source = next((k for k in volume if k != "name"), "")
        lines += [f"  {volume['name']}:", f"    {source}: {_short(volume.get(source))}"]
    return lines


def _short(value: object) -> str:
    """Return a map's plain values on one line; a command as a person would type it."""
    if isinstance(value, dict) and value.get("command"):
        return "[" + " ".join(value["command"]) + "]"
    return (
        ", ".join(f"{k}={v}" for k, v in value.items() if not isinstance(v, dict | list))
        if isinstance(value, dict)
        else str(value)
    )


_DETAILS = {
    "startedAt": "Started",
    "finishedAt": "Finished",
    "exitCode": "Exit Code",
    "reason": "Reason",
    "message": "Message",
}


def _container_lines(container: dict[str, Any], state: dict[str, Any]) -> list[str]:
    lines = [f"  {container['name']}:", f"    Image:          {container.get('image')}"]
    if state.get("containerID"):
        lines.append(f"    Container ID:   {state['containerID']}")
    ports = ", ".join(f"{p['containerPort']}/{p.get('protocol', 'TCP')}" for p in container.get("ports") or [])
    lines.append(f"    Ports:          {ports or '<none>'}")
    words = [(field.capitalize() + ":", container[field]) for field in ("command", "args") if container.get(field)]
    lines += [f"    {title:<16}{' '.join(given)}" for title, given in words]
    for title, key in (("State", "state"), ("Last State", "lastState")):
        for kind, detail in (state.get(key) or {}).items():
            lines.append(f"    {title + ':':<16}{kind.capitalize()}")
            shown = {_DETAILS.get(name, name): value for name, value in (detail or {}).items() if name != "containerID"}
            lines += [f"      {name + ':':<14}{value}" for name, value in shown.items()]
    lines.append(f"    Ready:          {state.get('ready', False)}")
    lines.append(f"    Restart Count:  {state.get('restartCount', 0)}")
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe:
            action = next((k for k in ("exec", "httpGet", "tcpSocket", "grpc") if probe.get(k)), "?")
            delay, timeout, period = (
                probe.get("initialDelaySeconds", 0),
                probe["timeoutSeconds"],
                probe["periodSeconds"],
            )
            numbers = f"delay={delay}s timeout={timeout}s period={period}s"
            title = field.removesuffix("Probe").capitalize()
            lines.append(f"    {title + ':':<16}{action} {_short(probe[action])} {numbers}")
    mounts = container.get("volumeMounts") or []
    lines.append("    Mounts:" if mounts else "    Mounts:         <none>")
    lines += [f"      {m['mountPath']} from {m['name']} ({'ro' if m.get('readOnly') else 'rw'})" for m in mounts]
    return lines


def _set_lines(statefulset: dict[str, Any]) -> list[str]:
    spec, status = statefulset["spec"], statefulset.get("status") or {}
    strategy = spec["updateStrategy"]
    lines = [
        _field("Replicas", f"{spec.get('replicas', 1)} desired | {status.get('replicas', 0)} total"),
        _field("Ready", f"{status.get('readyReplicas', 0)} ready | {status.get('updatedReplicas', 0)} updated"),
        _field("Update Strategy", strategy["type"]),
        _field("Revision", f"{status.get('currentRevision', '')} -> {status.get('updateRevision', '')}"),
        _field("Service", spec.get("serviceName", "")),
        "Pod Template:",
    ]
    for container in spec["template"]["spec"]["containers"]:
        lines += _container_lines(container, {})[:-3]
    claims = spec.get("volumeClaimTemplates") or []
    lines.append("Volume Claims:" if claims else _field("Volume Claims", "<none>"))
    for claim in claims:
        size = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "")
        lines.append(f"  {claim['metadata']['name']}: {size} {','.join(claim['spec'].get('accessModes') or [])}")
    return lines


def _events(context: Context, obj: dict[str, Any]) -> list[dict[str, Any]]:
    namespace = obj["metadata"].get("namespace", "default")
    selector = f"involvedObject.uid={obj['metadata']['uid']}"
    return sorted(context.items(BY_NAME["events"], namespace, fieldSelector=selector), key=last_seen)


def _event_lines(events: list[dict[str, Any]]) -> list[str]:
    if not events:
        return [_field("Events", "<none>")]
    lines = ["Events:", "  Type      Reason                 Age    From                     Message"]
    for event in events:
        age = age_of(last_seen(event))
        count = event.get("count") or 1
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent", "")
        message = event.get("message", "").strip() + (f" (x{count})" if count > 1 else "")
        lines.append(f"  {event.get('type', ''):<9} {event.get('reason', ''):<22} {age:<6} {source:<24} {message}")
    return lines
