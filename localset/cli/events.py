"""`events`: what happened, oldest first."""

from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context, resource_of
from localset.cli.output import fail, print_rows, say, write
from localset.cli.transport import path_of


@click.command()
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("--for", "target", default="", help="Only of KIND/NAME.")
@click.option("--types", default="", help="Normal, Warning.")
@click.option("-w", "--watch", "is_watching", is_flag=True, help="Go on with what happens.")
@click.option("-o", "--output", default="", help="yaml, json, name, jsonpath=…, go-template=….")
@click.option("--no-headers", is_flag=True, help="Rows only.")
@click.option("--chunk-size", hidden=True, expose_value=False)
@click.pass_obj
def events(context: Context, /, **options: Any) -> int:
    """List what happened, oldest first: `events`, `events --for pod/zk-0`, `events --types=Warning -w`."""
    resource = BY_NAME["events"]
    namespace = "" if options["all_namespaces"] else options["namespace"]
    wanted = _types(options["types"])
    query = {"fieldSelector": _selector(context, options["target"])}
    body = context.api.request("GET", path_of(resource, namespace), query=query).body
    found = [e for e in body["items"] if not wanted or e.get("type") in wanted]
    found.sort(key=last_seen)
    if options["output"] and not options["is_watching"]:
        from localset.cli.printing.outputs import output_of

        about = {"apiVersion": "v1", "kind": "Event"}
        write(output_of(options)([{**about, **event} for event in found], True))
        return 0
    if not found and not options["is_watching"]:
        say(f"No events found in {namespace} namespace." if namespace else "No events found.")
        return 0
    has_namespace = options["all_namespaces"]
    header = [*(["NAMESPACE"] if has_namespace else []), "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    widths = print_rows(
        None if options["no_headers"] else header, [_row(e, has_namespace=has_namespace) for e in found]
    )
    if options["is_watching"]:
        query["resourceVersion"] = body["metadata"]["resourceVersion"]
        for change in context.api.watch(path_of(resource, namespace), query=query):
            event = change["object"]
            if change["type"] != "DELETED" and (not wanted or event.get("type") in wanted):
                print_rows(None, [_row(event, has_namespace=has_namespace)], widths)
    return 0


def _types(text: str) -> set[str]:
    found = {word.strip().capitalize() for word in text.split(",") if word.strip()}
    if found - {"Normal", "Warning"}:
        fail("valid --types are Normal or Warning")
    return found


def _selector(context: Context, target: str) -> str:
    if not target:
        return ""
    kind, slash, name = target.partition("/")
    if not slash or not name:
        fail("--for must be in resource/name form", hint="as --for pod/web-0")
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
