"""`rollout status|history|undo|restart`, of StatefulSets: what kubectl says of them, from the same revisions."""

from collections.abc import Callable
from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, fail, put, write
from localset.cli.podtemplates import change
from localset.cli.selection import FILENAME, KUSTOMIZE, RECURSIVE, SELECTOR, Found, live, places
from localset.cli.transport import path_of
from localset.cli.writing import DRY_RUN, PRINTING, STRATEGIC, Writer, manager
from localset.machinery.errors import StatusError

_COMMON = (FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, SELECTOR)
STATUS = Flags(
    "rollout status",
    "rollout status (TYPE NAME | TYPE/NAME) [flags]",
    "Show how far a rollout is, until it is done.",
    *_COMMON,
    Flag("watch", "bool", True, "Go on until it is done.", "w"),
    Flag("timeout", "duration", 0.0, "How long at most; 0: as long as it takes."),
    Flag("revision", "int", 0, "Accepted for kubectl's sake."),
)
HISTORY = Flags(
    "rollout history",
    "rollout history (TYPE NAME | TYPE/NAME) [flags]",
    "Show the revisions of a set.",
    *(*_COMMON, *PRINTING),
    Flag("revision", "int", 0, "Show this one."),
)
UNDO = Flags(
    "rollout undo",
    "rollout undo (TYPE NAME | TYPE/NAME) [flags]",
    "Go back to an earlier revision.",
    *(*_COMMON, DRY_RUN, *PRINTING),
    Flag("to-revision", "int", 0, "Which; 0: the one before."),
)
RESTART = Flags(
    "rollout restart",
    "rollout restart (TYPE NAME | TYPE/NAME) [flags]",
    "Replace every Pod of a set, one after another.",
    *(*_COMMON, *PRINTING, manager("kubectl-rollout")),
)
PAUSE = Flags("rollout pause", "rollout pause TYPE NAME", "StatefulSets cannot be paused.", *(*_COMMON, *PRINTING))


FLAGS = {"status": STATUS, "history": HISTORY, "undo": UNDO, "restart": RESTART}


def main(context: Context, arguments: list[str]) -> int:
    """Run `rollout SUBCOMMAND ARGUMENTS`."""
    known = {"status": (STATUS, _status), "history": (HISTORY, _history), "undo": (UNDO, _undo)}
    known |= {"restart": (RESTART, _restart), "pause": (PAUSE, _pause), "resume": (PAUSE, _resume)}
    if not arguments or arguments[0] in {"-h", "--help"}:
        put("Manage the rollout of a set.\n\nUsage:\n  localset rollout (status | history | undo | restart) …")
        return 0 if arguments else 1
    if arguments[0] not in known:
        fail(f"unknown command \"{arguments[0]}\"\nSee 'localset rollout -h' for help and examples")
    flags, act = known[arguments[0]]
    given = flags.parse(arguments[1:])
    if given["help"]:
        put(flags.help_text())
        return 0
    if not given.words and not given["filename"]:
        raise CommandError("required resource not specified")
    return _each(context, given, lambda found: act(context, given, found))


def _each(context: Context, given: Given, act: Callable[[Found], None]) -> int:
    """Do `act` to every object; all of a kind where no name is given, as kubectl's rollout does."""
    errors: list[StatusError | CommandError] = []
    whole = given if given["selector"] or given["filename"] or len(given.words) > 1 else _with_all(given)
    for place in places(context, whole, verb="rollout"):
        try:
            for found in list(live(context, given, place)):
                act(found)
        except (StatusError, CommandError) as error:
            errors.append(error)
    if not errors:
        return 0
    from localset.cli.failures import tell_refusals

    return tell_refusals(context, errors)


def _with_all(given: Given) -> Given:
    if "/" in given.words[0]:
        return given
    whole = Given(given)
    whole.words, whole.given, whole.dash = given.words, given.given, given.dash
    whole["all"] = True
    return whole


# --- status ---------------------------------------------------------------------------------------------------------


def _status(context: Context, given: Given, found: Found) -> None:
    if found.kind.resource.kind != "StatefulSet":
        raise CommandError(f"no status viewer has been implemented for {found.kind.resource.kind}")
    import time

    deadline = time.monotonic() + given["timeout"] if given["timeout"] > 0 else None
    text, is_done = status_of(found.obj)
    write(text)
    version = found.obj["metadata"]["resourceVersion"]
    while not is_done and given["watch"]:
        query: dict[str, Any] = {"fieldSelector": f"metadata.name={found.name}", "resourceVersion": version}
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandError("timed out waiting for the condition")
            query["timeoutSeconds"] = max(1, int(left + 0.999))
        path = path_of(found.kind.resource, found.namespace, version=found.kind.version)
        for event in context.api.watch(path, query=query):
            if event["type"] == "DELETED":
                raise CommandError("object has been deleted")
            version = event["object"]["metadata"]["resourceVersion"]
            text, is_done = status_of(event["object"])
            write(text)
            if is_done:
                break


def status_of(statefulset: dict[str, Any]) -> tuple[str, bool]:
    """Return (kubectl's line, whether the rollout is done). CommandError for a set that is not rolled.

    Source: kubectl's polymorphichelpers StatefulSetStatusViewer.
    """
    spec, status = statefulset["spec"], statefulset.get("status") or {}
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") != "RollingUpdate":
        raise CommandError("rollout status is only available for RollingUpdate strategy type")
    observed = status.get("observedGeneration", 0)
    if observed == 0 or statefulset["metadata"].get("generation", 0) > observed:
        return "Waiting for statefulset spec update to be observed...\n", False
    wanted = spec.get("replicas", 1)
    missing = wanted - status.get("readyReplicas", 0)
    if missing > 0:
        return f"Waiting for {missing} pods to be ready...\n", False
    updated = status.get("updatedReplicas", 0)
    if strategy.get("rollingUpdate") is not None:
        moving = wanted - strategy["rollingUpdate"].get("partition", 0)
        if updated < moving:
            text = f"{updated} out of {moving} new pods have been updated...\n"
            return f"Waiting for partitioned roll out to finish: {text}", False
        return f"partitioned roll out complete: {updated} new pods have been updated...\n", True
    revision = status.get("updateRevision", "")
    if revision != status.get("currentRevision", ""):
        text = f"waiting for statefulset rolling update to complete {updated} pods at revision {revision}...\n"
        return text, False
    current = status.get("currentReplicas", 0)
    return f"statefulset rolling update complete {current} pods at revision {revision}...\n", True


# --- history and undo -----------------------------------------------------------------------------------------------


def _revisions(context: Context, found: Found, what: str) -> list[dict[str, Any]]:
    """Return the set's ControllerRevisions, the oldest first."""
    if found.kind.resource.kind != "StatefulSet":
        raise CommandError(f'no {what} has been implemented for "{found.kind.resource.kind}"')
    from localset.apis.resources import BY_NAME

    items = context.items(BY_NAME["controllerrevisions.apps"], found.namespace)
    uid = found.obj["metadata"]["uid"]
    own = [r for r in items if any(o["uid"] == uid for o in r["metadata"].get("ownerReferences") or [])]
    return sorted(own, key=lambda r: int(r["revision"]))


def _history(context: Context, given: Given, found: Found) -> None:
    revisions = _revisions(context, found, "history viewer")
    chosen = given["revision"]
    if given["output"] or given["template"]:
        writer = Writer(context, given)
        for revision in revisions:
            if not chosen or revision["revision"] == chosen:
                writer.done(found.label, "", _applied(found, revision))
        return
    if chosen:
        matching = [r for r in revisions if r["revision"] == chosen]
        if not matching:
            raise CommandError("unable to find the specified revision")
        from localset.cli.describing.containers import pod_template_text

        template = _applied(found, matching[0])["spec"]["template"]
        put(f"{found.label} with revision #{chosen}\nPod Template:\n{pod_template_text(template)}")
        return
    from localset.machinery.tabwriter import aligned

    rows = ["REVISION\tCHANGE-CAUSE"]
    for revision in revisions:
        annotations = revision["metadata"].get("annotations") or {}
        rows.append(f"{revision['revision']}\t{annotations.get('kubernetes.io/change-cause') or '<none>'}")
    put(f"{found.label} \n" + aligned("\n".join(rows)) + "\n")


def _applied(found: Found, revision: dict[str, Any]) -> dict[str, Any]:
    """Return the set as it would be with an earlier revision's template."""
    from localset.apis.schema.types import patch_rules
    from localset.machinery.strategic_patch import apply_strategic_patch

    rules = patch_rules(found.kind.resource.group, found.kind.version, found.kind.resource.kind)
    return dict(apply_strategic_patch(found.obj, revision["data"], rules))


def _undo(context: Context, given: Given, found: Found) -> None:
    revisions = _revisions(context, found, "rollbacker")
    wanted = given["to-revision"]
    if wanted < 0:
        raise CommandError(f"unable to find specified revision {wanted} in history")
    if wanted:
        matching = [r for r in revisions if r["revision"] == wanted]
        if not matching:
            raise CommandError(f"unable to find specified revision {wanted} in history")
        target = matching[0]
    elif len(revisions) < 2:
        raise CommandError("no last revision to roll back to")
    else:
        target = revisions[-2]
    writer = Writer(context, given)
    after = _applied(found, target)
    if writer.is_client_run:
        from localset.cli.describing.containers import pod_template_text

        text = pod_template_text(after["spec"]["template"])
        writer.done(found.label, f"will roll back to Pod Template:\n{text}", after)
        return
    if after["spec"]["template"] == found.obj["spec"]["template"]:
        text = f"skipped rollback (current template already matches revision {wanted})"
        writer.done(found.label, text, found.obj)
        return
    writer.done(found.label, "rolled back", writer.patch(found, target["data"], STRATEGIC))


# --- restart --------------------------------------------------------------------------------------------------------


def _restart(context: Context, given: Given, found: Found) -> None:
    if found.kind.resource.kind != "StatefulSet":
        raise _unsupported(found, "restarting")
    import time

    zone = time.strftime("%z")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S") + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")

    def edit(obj: dict[str, Any]) -> None:
        metadata = obj["spec"]["template"].setdefault("metadata", {})
        annotations = {**(metadata.get("annotations") or {}), "kubectl.kubernetes.io/restartedAt": moment}
        metadata["annotations"] = annotations

    change(found, Writer(context, given), "restarted", edit, failing="failed to patch")


def _pause(context: Context, given: Given, found: Found) -> None:
    raise _unsupported(found, "pausing")


def _resume(context: Context, given: Given, found: Found) -> None:
    raise _unsupported(found, "resuming")


def _unsupported(found: Found, what: str) -> CommandError:
    return CommandError(f'{found.kind.resource.name} "{found.name}" {what} is not supported')
