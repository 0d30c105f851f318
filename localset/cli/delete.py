"""`delete`: by file, by name, by label; waits until the objects are gone unless told otherwise."""

import time
from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, fail, put, say
from localset.cli.selection import (
    ALL,
    ALL_NAMESPACES,
    FIELD_SELECTOR,
    FILENAME,
    KUSTOMIZE,
    RECURSIVE,
    SELECTOR,
    Found,
    Place,
    live,
    places,
)
from localset.cli.transport import path_of
from localset.cli.writing import DRY_RUN
from localset.machinery.errors import StatusError

FLAGS = Flags(
    "delete",
    "delete ([-f FILE] | TYPE [(NAME | -l label | --all)]) [flags]",
    "Delete objects: `delete sts zk`, `delete -f zookeeper.yaml`, `delete pvc -l app=zk`.",
    *(FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, SELECTOR, FIELD_SELECTOR, ALL, ALL_NAMESPACES, DRY_RUN),
    Flag(
        "cascade", default="background", bare="background", help="background, foreground or orphan: what depends on it."
    ),
    Flag("grace-period", "int", -1, "Seconds before SIGKILL; -1: the object's own."),
    Flag("force", "bool", False, "Forget the object at once."),
    Flag("now", "bool", False, "As --grace-period=1."),
    Flag("wait", "bool", True, "Wait until it is gone."),
    Flag("timeout", "duration", 0.0, "How long to wait; 0: as long as it takes."),
    Flag("ignore-not-found", "bool", False, "Exit 0 when an object is absent."),
    Flag("output", short="o", help="name."),
    Flag("interactive", "bool", False, "Ask first.", "i"),
)
_FORCED = (
    "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
    "The resource may continue to run on the cluster indefinitely."
)


def main(context: Context, arguments: list[str]) -> int:
    """Run `delete ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    return _Delete(context, given).run()


class _Delete:
    def __init__(self, context: Context, given: Given) -> None:
        self._context, self._given = context, given
        if given["output"] not in {"", "name"}:
            fail(f"unexpected -o output mode: {given['output']}. We only support '-o name'")
        if given["dry-run"] not in {"none", "client", "server", "unchanged"}:
            fail(f'Invalid dry-run value ({given["dry-run"]}). Must be "none", "server", or "client".')
        if given["cascade"] in {"true", "false"}:
            given["cascade"] = "background" if given["cascade"] == "true" else "orphan"
        if given["cascade"] not in {"background", "foreground", "orphan"}:
            fail(f'invalid cascade value ({given["cascade"]}). Must be "background", "foreground", or "orphan"')
        self._is_client_run = given["dry-run"] in {"client", "unchanged"}
        self._grace = self._grace_seconds()
        self._deadline = time.monotonic() + given["timeout"] if given["timeout"] > 0 else None

    def _grace_seconds(self) -> int | None:
        given, grace = self._given, self._given["grace-period"]
        if given["now"]:
            if grace != -1:
                fail("--now and --grace-period cannot be specified together")
            return 1
        if given["force"]:
            if grace > 0:
                fail("--force and --grace-period greater than 0 cannot be specified together")
            say(_FORCED)
            return 0
        if grace == 0:
            return 1  # as kubectl: 0 needs --force
        return None if grace < 0 else int(grace)

    def run(self) -> int:
        given = self._given
        errors: list[StatusError | CommandError] = []
        deleted: list[Found] = []
        places_wanted = places(self._context, given, verb="delete")
        is_lenient = given["ignore-not-found"] or given["all"] or given["selector"] or given["field-selector"]
        for place in places_wanted:
            try:
                deleted += self._delete_place(place)
            except StatusError as error:
                if error.code == 404 and is_lenient:
                    continue
                if place.source:
                    error.message = f'error when deleting "{place.source}": {error.message}'
                errors.append(error)
        if given["wait"] and not self._is_client_run and given["dry-run"] != "server":
            for found in deleted:
                try:
                    wait_until_gone(self._context, found, self._deadline)
                except CommandError as error:
                    errors.append(error)
        if errors:
            from localset.cli.failures import tell_refusals

            return tell_refusals(self._context, errors)
        if not deleted and not given["ignore-not-found"] and not any(p.name for p in places_wanted):
            put("No resources found")
        return 0

    def _delete_place(self, place: Place) -> list[Found]:
        if place.name is not None and not self._is_client_run:
            return [self._delete(Found(place.kind, place.namespace, place.name, {}, place.source))]
        return [self._delete(found) for found in list(live(self._context, self._given, place))]

    def _delete(self, found: Found) -> Found:
        body = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": self._given["cascade"].capitalize(),
        }  # fmt: skip
        if self._grace is not None:
            body["gracePeriodSeconds"] = self._grace
        if self._given["dry-run"] == "server":
            body["dryRun"] = ["All"]
        gone = found.obj
        if not self._is_client_run:
            gone = self._context.api.request("DELETE", found.path(), body).body
        self._say(found)
        return found._replace(obj=gone if isinstance(gone, dict) else {})

    def _say(self, found: Found) -> None:
        if self._given["output"] == "name":
            put(found.label)
            return
        verb = "force deleted" if self._grace == 0 else "deleted"
        dry = {"server": " (server dry run)", "none": ""}.get(self._given["dry-run"], " (dry run)")
        put(f'{found.kind.label} "{found.name}" {verb}{dry}')


def uid_of(answer: dict[str, Any]) -> str:
    """Return the uid of what a DELETE answered: the object, or a Status that names it."""
    if answer.get("kind") == "Status":
        return str((answer.get("details") or {}).get("uid", ""))
    return str((answer.get("metadata") or {}).get("uid", ""))


def delete_and_wait(context: Context, found: Found, grace: int) -> None:
    """Delete an object and wait until it is gone; `grace` -1 means its own."""
    body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    if grace >= 0:
        body["gracePeriodSeconds"] = grace
    answer = context.api.request("DELETE", found.path(), body).body
    wait_until_gone(context, found._replace(obj=answer), None)


def wait_until_gone(context: Context, found: Found, deadline: float | None) -> None:
    """Wait for DELETED on a watch; an object of another uid is a new one. CommandError after `deadline`."""
    uid = uid_of(found.obj)
    while True:
        try:
            now = context.api.request("GET", found.path()).body
        except StatusError as error:
            if error.code == 404:
                return
            raise
        if uid and now["metadata"]["uid"] != uid:
            return
        query: dict[str, Any] = {
            "fieldSelector": f"metadata.name={found.name}",
            "resourceVersion": now["metadata"]["resourceVersion"],
        }
        if deadline is not None:
            left = int(deadline - time.monotonic())
            if left <= 0:
                fail(f"timed out waiting for the condition on {found.kind.resource.plural}/{found.name}")
            query["timeoutSeconds"] = max(1, left)
        path = path_of(found.kind.resource, found.namespace, version=found.kind.version)
        for event in context.api.watch(path, query=query):
            if event["type"] == "DELETED":
                return
