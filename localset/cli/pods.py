"""Which Pod and which container a person means: `web-0`, `pod/web-0`, `web/0` (SET/ORDINAL), `sts/web`, `svc/nginx`.

Used by the commands that work on one Pod. What kubectl takes is taken in the same meaning; SET/ORDINAL is ours, and
only where the word before the slash is no kind.
"""

from typing import Any

from localset.apis.pods import is_running_and_ready, phase_of
from localset.apis.resources import BY_NAME, Resource, find_by_word
from localset.apis.statefulsets import parent_and_ordinal, pod_name
from localset.cli.context import Context, resource_of
from localset.cli.output import fail, say
from localset.machinery.errors import StatusError

PODS = BY_NAME["pods"]
SETS = BY_NAME["statefulsets.apps"]
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_Pod = dict[str, Any]


def parse_target(word: str) -> tuple[Resource, str]:
    """Return the resource and the name that `word` means; a bare word is a Pod."""
    kind, slash, name = word.partition("/")
    if not slash:
        return PODS, word
    if not kind or not name or "/" in name:
        fail(f'"{word}" is not of the form kind/name', hint="a Pod's name, kind/name, or SET/ORDINAL as web/0")
    if name.isdecimal() and find_by_word(kind) is None:
        return PODS, pod_name(kind, int(name))
    return resource_of(kind), name


def pod_meant(context: Context, word: str, namespace: str, *, is_told: bool = False) -> _Pod:
    """Return the Pod; of a set or Service its first running one, which is said when `is_told` and there are more."""
    resource, name = parse_target(word)
    if resource == PODS:
        return context.get(PODS, namespace, name)
    pods = pods_behind(context, context.get(resource, namespace, name), resource)
    if not pods:
        fail(f"no Pod of {resource.singular}/{name} is there", hint="`localset status` shows every set")
    chosen = pods[0]
    if is_told and len(pods) > 1:
        say(f"Found {len(pods)} pods, using pod/{chosen['metadata']['name']}")
    return chosen


def pods_behind(context: Context, obj: dict[str, Any], resource: Resource) -> list[_Pod]:
    """Return the Pods that a set, a Service or a budget selects: those that run first, then by ordinal."""
    selector = (obj.get("spec") or {}).get("selector")
    if not selector:
        fail(f"cannot get Pods of {resource.singular}/{obj['metadata']['name']}: it has no selector")
    text = selector_text(selector if resource.kind != "Service" else {"matchLabels": selector})
    found = context.items(PODS, obj["metadata"]["namespace"], labelSelector=text)
    return sorted(found, key=_usefulness)


def selector_text(selector: dict[str, Any]) -> str:
    """Return a LabelSelector as the text of a query."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule["key"], rule["operator"], ",".join(rule.get("values") or [])
        parts.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(operator, f"!{key}")
        )
    return ",".join(parts)


def _usefulness(pod: _Pod) -> tuple[bool, bool, str, int, str]:
    name = pod["metadata"]["name"]
    return (phase_of(pod) != "Running", not is_running_and_ready(pod), *parent_and_ordinal(name), name)


def all_containers(pod: _Pod) -> list[str]:
    """Return the names of a Pod's containers: those before, the main ones, those for debugging."""
    spec = pod["spec"]
    return [c["name"] for f in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(f) or []]


def refuse_when_over(pod: _Pod, deed: str) -> None:
    """Fail when a Pod has run to its end: nothing can be started in it, nor attached to."""
    phase = phase_of(pod)
    if phase in {"Succeeded", "Failed"}:
        fail(f"cannot {deed} a container in a completed pod; current phase is {phase}")


def container_meant(pod: _Pod, given: str, *, is_quiet: bool = False) -> str:
    """Return the container to use; says which of several was taken, fails with the list when there is none such."""
    names = all_containers(pod)
    if given:
        if given not in names:
            fail(
                f"container {given} is not valid for pod {pod['metadata']['name']}",
                hint=f"its containers are: {', '.join(names)}",
            )
        return given
    default = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default in names:
        return str(default)
    main = str(pod["spec"]["containers"][0]["name"])
    if len(names) > 1 and not is_quiet:
        spec = pod["spec"]
        told = [c["name"] for c in spec["containers"]]
        told += [f"{c['name']} (ephem)" for c in spec.get("ephemeralContainers") or []]
        told += [f"{c['name']} (init)" for c in spec.get("initContainers") or []]
        say(f'Defaulted container "{main}" out of: {", ".join(told)}')
    return main


def hint_of(context: Context, pod: _Pod) -> str:
    """Return why a Pod does not run or is not ready, for a hint; empty when all is well."""
    from localset.cli.reasons import reason_of

    metadata = pod["metadata"]
    try:
        pod = context.get(PODS, metadata["namespace"], metadata["name"])
        selector = f"involvedObject.uid={metadata['uid']}"
        events = context.items(BY_NAME["events"], metadata["namespace"], fieldSelector=selector)
    except StatusError:
        return ""
    why = reason_of(pod, events)
    return f"pod {metadata['name']} is not ready: {why}" if why else ""
