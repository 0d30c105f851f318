"""`run`: one Pod with one container, attached to when asked, with its exit code, and removed again with `--rm`.

The order and the words are kubectl's (cmd/run): create, wait until it runs, attach, wait for the end, delete. Where the
container has ended before one could attach, its log is printed instead.
"""

import time
from typing import Any

import click

from localset.apis.pods import is_terminal as is_over
from localset.apis.resources import BY_NAME
from localset.cli.attach import attach_to
from localset.cli.context import Context, say_warnings
from localset.cli.durations import DURATION
from localset.cli.output import CommandError, fail, put, say, to_json, to_yaml
from localset.cli.pods import PODS, hint_of
from localset.cli.runobjects import overridden, pod_of, service_of
from localset.cli.sessions import code_in
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError

_Pod = dict[str, Any]
_SERVICES = BY_NAME["services"]


@click.command()
@click.argument("name")
@click.argument("words", nargs=-1)
@click.option("--image", required=True, help="The container's image; `host` for programs of this machine.")
@click.option("-i", "--stdin", "has_stdin", is_flag=True, help="Keep its standard input open, and attach.")
@click.option("-t", "--tty", "has_tty", is_flag=True, help="Give it a terminal.")
@click.option("--attach/--no-attach", "is_attached", default=None, help="Attach once it runs; default with -i.")
@click.option("--rm", "is_removed", is_flag=True, help="Delete the Pod when it has ended.")
@click.option("--restart", type=click.Choice(["Always", "OnFailure", "Never"]), default="Always", show_default=True)
@click.option("--command", "is_command", is_flag=True, help="The words are the command, not its arguments.")
@click.option("--env", "variables", multiple=True, help="NAME=VALUE; may be given more than once.")
@click.option("-l", "--labels", default="", help="KEY=VALUE,…; default: run=NAME.")
@click.option("--annotations", multiple=True, help="KEY=VALUE; may be given more than once.")
@click.option("--port", type=int, default=None, help="The port that the container opens.")
@click.option("--expose", "is_exposed", is_flag=True, help="A Service too, for --port.")
@click.option("--overrides", default="", help="JSON or YAML that changes the Pod before it is sent.")
@click.option("--override-type", default="merge", help="How --overrides is meant: merge, strategic or json.")
@click.option("--image-pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), default=None)
@click.option("--leave-stdin-open", is_flag=True, help="A detached client does not end its standard input.")
@click.option("--dry-run", type=click.Choice(["none", "client", "server"]), default="none")
@click.option("-o", "--output", default="", help="yaml, json or name.")
@click.option("-q", "--quiet", is_flag=True, help="No hint of a prompt.")
@click.option("--pod-running-timeout", type=DURATION, default="1m", help="How long to wait until it runs.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.pass_obj
def run(context: Context, /, name: str, words: tuple[str, ...], **options: Any) -> int:
    """Run a Pod: `run dns-test -it --image=busybox --restart=Never --rm -- sh`."""
    is_attached = options["has_stdin"] if options["is_attached"] is None else options["is_attached"]
    if options["has_tty"] and not options["has_stdin"]:
        fail("-i/--stdin is required for containers with -t/--tty=true")
    if options["is_removed"] and not is_attached:
        fail("--rm should only be used for attached containers\nSee 'localset run -h' for help and examples")
    if is_attached and options["dry_run"] != "none":
        fail("--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)")
    if options["is_exposed"] and options["port"] is None:
        fail("--port must be set when exposing a service\nSee 'localset run -h' for help and examples")
    pod = overridden(pod_of(name, words, options), options["overrides"], options["override_type"])
    service = service_of(pod, options["port"]) if options["is_exposed"] else None
    if options["dry_run"] == "client":
        _show([service, pod], options, "created (dry run)")
        return 0
    from localset.cli.up import ensure_daemon

    ensure_daemon(context)
    query = {"fieldManager": "kubectl-run", "dryRun": "All" if options["dry_run"] == "server" else ""}
    verb = "created" if options["dry_run"] == "none" else "created (server dry run)"
    reply = context.api.request("POST", path_of(PODS, options["namespace"]), pod, query=query)
    say_warnings(reply.warnings)
    if service is not None:
        service = context.api.request("POST", path_of(_SERVICES, options["namespace"]), service, query=query).body
    if not is_attached:
        _show([service, reply.body], options, verb)
        return 0
    if service is not None:
        _show([service], options, verb)
    return _attached(context, reply.body, options)


def _show(objects: list[_Pod | None], options: dict[str, Any], verb: str) -> None:
    for number, obj in enumerate([obj for obj in objects if obj is not None]):
        label = f"{obj['kind'].lower()}/{obj['metadata']['name']}"
        shown = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
        match options["output"]:
            case "":
                put(f"{label} {verb}")
            case "name":
                put(label)
            case "yaml":
                put(("---\n" if number else "") + to_yaml(shown).rstrip("\n"))
            case "json":
                put(to_json(shown))
            case other:
                fail(f'unable to match a printer suitable for the output format "{other}"', hint="yaml, json, name")


def _attached(context: Context, pod: _Pod, options: dict[str, Any]) -> int:
    name = pod["metadata"]["name"]
    try:
        pod = _wait(context, pod, _has_begun, options["pod_running_timeout"])
        _carry(context, pod, options)
        if options["restart"] == "Always":
            if not options["is_removed"]:
                again = f"localset attach {name} -c {name} -i -t"
                say(f"Session ended, resume using '{again}' command when the pod is running")
            return 0
        pod = _wait(context, pod, is_over, None)
    finally:
        if options["is_removed"]:
            _delete(context, pod)
    return _code_of(pod)


def _carry(context: Context, pod: _Pod, options: dict[str, Any]) -> None:
    """Attach; who only listens reads the log, which has what was said before one could attach."""
    if not options["has_stdin"]:
        _print_log(context, pod)
        return
    name = pod["metadata"]["name"]
    try:
        code_in(attach_to(context, pod, name, options))
    except CommandError as error:
        if not options["quiet"]:
            say(f"warning: couldn't attach to pod/{name}, falling back to streaming logs: {error}")
        _print_log(context, pod)


def _print_log(context: Context, pod: _Pod) -> None:
    from localset.cli.logsources import Source, print_all

    options = dict.fromkeys(("previous", "timestamps", "tail", "since", "since_time", "prefix", "ignore_errors"))
    print_all(context, [Source(pod, pod["metadata"]["name"])], {**options, "follow": True, "limit_bytes": 0})


def _has_begun(pod: _Pod) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return is_over(pod) or any(s.get("started") or "terminated" in (s.get("state") or {}) for s in statuses)


def _wait(context: Context, pod: _Pod, is_enough: Any, seconds: float | None) -> _Pod:
    """Return the Pod once `is_enough`, told by a watch; what keeps it from running is said once."""
    metadata = pod["metadata"]
    deadline = None if seconds is None else time.monotonic() + seconds
    path = path_of(PODS, metadata["namespace"])
    told = ""
    while True:
        pod = context.get(PODS, metadata["namespace"], metadata["name"])
        query = {
            "fieldSelector": f"metadata.name={metadata['name']}",
            "resourceVersion": pod["metadata"]["resourceVersion"],
        }
        if deadline is not None:
            query["timeoutSeconds"] = str(max(1, round(deadline - time.monotonic())))
        changes = context.api.watch(path, query=query)
        while not is_enough(pod):
            told = _tell_why(pod, told)
            event = next(changes, None)
            if event is None:
                break
            pod = event["object"]
            if event["type"] == "DELETED" or pod["metadata"]["uid"] != metadata["uid"]:
                fail(f"pod/{metadata['name']} was deleted before it ended")
        else:
            return pod
        if deadline is not None and time.monotonic() >= deadline:
            fail("timed out waiting for the condition", hint=hint_of(context, pod))


def _tell_why(pod: _Pod, told: str) -> str:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("message") and waiting["reason"] != told:
            say(f"waiting: {waiting['reason']}: {waiting['message']}")
            return str(waiting["reason"])
    return told


def _delete(context: Context, pod: _Pod) -> None:
    metadata = pod["metadata"]
    path = path_of(PODS, metadata["namespace"], metadata["name"])
    try:
        context.api.request("DELETE", path, {"kind": "DeleteOptions", "preconditions": {"uid": metadata["uid"]}})
    except StatusError as error:
        if error.code != 404:
            raise
    put(f'pod "{metadata["name"]}" deleted')


def _code_of(pod: _Pod) -> int:
    metadata, state = pod["metadata"], pod.get("status") or {}
    if state.get("phase") == "Succeeded":
        return 0
    ends = [(s.get("state") or {}).get("terminated") or {} for s in state.get("containerStatuses") or []]
    ended = next((end for end in ends if end.get("exitCode")), None)
    if ended is None:
        fail(f"pod {metadata['namespace']}/{metadata['name']} failed: {state.get('reason') or 'unknown reason'}")
    say(f"pod {metadata['namespace']}/{metadata['name']} terminated ({ended.get('reason', 'Error')})")
    return int(ended["exitCode"])
