"""`scale`: through the scale subresource, as kubectl."""

from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, put
from localset.cli.selection import ALL, FILENAME, KUSTOMIZE, RECURSIVE, SELECTOR, Found, run_each
from localset.cli.writing import DRY_RUN, MERGE, PRINTING, Writer
from localset.machinery.errors import StatusError

FLAGS = Flags(
    "scale",
    "scale [--resource-version=N] [--current-replicas=N] --replicas=N (-f FILE | TYPE NAME) [flags]",
    "Set the number of replicas: `scale sts zk --replicas=5`.",
    *(FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, SELECTOR, ALL, DRY_RUN, *PRINTING),
    Flag("replicas", "int", 0, "The wanted number."),
    Flag("current-replicas", "int", -1, "Only if this is the present number."),
    Flag("resource-version", help="Only if the object is at this version."),
    Flag("timeout", "duration", 0.0, "Wait so long until as many are there; 0: do not wait."),
)


def main(context: Context, arguments: list[str]) -> int:
    """Run `scale ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    if "replicas" not in given.given:
        raise CommandError('required flag(s) "replicas" not set')
    if given["replicas"] < 0:
        raise CommandError("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    writer = Writer(context, given)

    def act(found: Found) -> None:
        if not writer.is_client_run:
            _scale(context, given, writer, found)
        writer.done(found.label, "scaled", found.obj)
        if given["timeout"] > 0 and not writer.is_client_run and not writer.is_server_run:
            _wait(context, given, found)

    return run_each(context, given, act, verb="scale", empty="no objects passed to scale")


def _scale(context: Context, given: Given, writer: Writer, found: Found) -> None:
    query = writer.query
    spec = {"spec": {"replicas": given["replicas"]}}
    if given["current-replicas"] < 0 and not given["resource-version"]:
        try:
            context.api.request("PATCH", found.path("scale"), spec, query=query, content_type=MERGE)
        except StatusError as error:
            raise _unscalable(error) from error
        return
    present: dict[str, Any] = context.api.request("GET", found.path("scale")).body
    now = present["spec"].get("replicas", 0)
    if given["current-replicas"] >= 0 and now != given["current-replicas"]:
        raise CommandError(f"Expected replicas to be {given['current-replicas']}, was {now}")
    version = present["metadata"].get("resourceVersion", "")
    if given["resource-version"] and version != given["resource-version"]:
        raise CommandError(f"Expected resource version to be {given['resource-version']}, was {version}")
    present["spec"]["replicas"] = given["replicas"]
    context.api.request("PUT", found.path("scale"), present, query=query)


def _unscalable(error: StatusError) -> StatusError:
    if error.code == 404 and not error.details.get("name"):
        return StatusError(404, "NotFound", "the server could not find the requested resource")
    return error


def _wait(context: Context, given: Given, found: Found) -> None:
    import time

    from localset.cli.transport import path_of

    deadline = time.monotonic() + given["timeout"]
    path = path_of(found.kind.resource, found.namespace, version=found.kind.version)
    while True:
        now = context.api.request("GET", found.path()).body
        left = deadline - time.monotonic()
        query = {"fieldSelector": f"metadata.name={found.name}", "resourceVersion": now["metadata"]["resourceVersion"]}
        if (now.get("status") or {}).get("replicas", 0) == given["replicas"]:
            return
        if left <= 0:
            raise CommandError("timed out waiting for the condition")
        for event in context.api.watch(path, query={**query, "timeoutSeconds": max(1, int(left))}):
            if (event["object"].get("status") or {}).get("replicas", 0) == given["replicas"]:
                return
