"""`events`: what happened, oldest first."""

from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context, resource_of
from localset.cli.output import fail, print_rows, say
from localset.cli.transport import path_of


@click.command()
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("--for", "target", default="", help="Only of KIND/NAME.")
@click.option("--types", default="", help="Normal, Warning.")
@click.option("-w", "--watch", "is_watching", is_flag=True, help="Go on with what happens.")
@click.pass_obj
def events(context: Context, /, **options: Any) -> int:
    """List what happened: `events`, `events --for pod/zk-0`, `events -w`."""
    resource = BY_NAME["events"]
    namespace = "" if options["all_namespaces"] else options["namespace"]
    query = {"fieldSelector": _selector(context, options["target"])}
    body = context.api.request("GET", path_of(resource, namespace), query=query).body
    wanted = {t.strip().lower() for t in options["types"].split(",") if t.strip()}
    found = [e for e in body["items"] if not wanted or e.get("type", "").lower() in wanted]
    found.sort(key=last_seen)
    header = [*(["NAMESPACE"] if options["all_namespaces"] else []), "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    if not found and not options["is_watching"]:
        say(f"No events found in {namespace} namespace." if namespace else "No events found.")
        return 0
    widths = print_rows(header, [_row(e, has_namespace=options["all_namespaces"]) for e in found])
    if options["is_watching"]:
        query["resourceVersion"] = body["metadata"]["resourceVersion"]
        for change in context.api.watch(path_of(resource, namespace), query=query):
            event = change["object"]
            if change["type"] != "DELETED" and (not wanted or event.get("type", "").lower() in wanted):
                print_rows(None, [_row(event, has_namespace=options["all_namespaces"])], widths)
    return 0


def _selector(context: Context, target: str) -> str:
    if not target:
        return ""
    kind, slash, name = target.partition("/")
    if not slash or not name:
        fail("--for must be of the form kind/name")
    return f"involvedObject.kind={resource_of(kind, context).kind},involvedObject.name={name}"


def last_seen(event: dict[str, Any]) -> str:
    """Return the time an event was last seen, as text that sorts."""
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""


def _row(event: dict[str, Any], *, has_namespace: bool) -> list[str]:
    from localset.cli.ages import age_of

    seen = age_of(last_seen(event))
    count = event.get("count") or 1
    if count > 1 and event.get("firstTimestamp"):
        seen = f"{seen} (x{count} over {age_of(event['firstTimestamp'])})"
    about = event["involvedObject"]
    row = [
        seen,
        event.get("type", ""),
        event.get("reason", ""),
        f"{about.get('kind', '')}/{about.get('name', '')}",
        event.get("message", "").strip(),
    ]
    return [event["metadata"].get("namespace", ""), *row] if has_namespace else row
