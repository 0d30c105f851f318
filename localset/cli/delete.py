"""`delete`: by file, by name, by label; waits until the objects are gone unless told otherwise."""

import time
from typing import Any

import click

from localset.apis.resources import Resource
from localset.cli.context import Context, parse_targets
from localset.cli.manifests import read_manifests
from localset.cli.output import fail, put, say
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError


@click.command()
@click.argument("words", nargs=-1)
@click.option("-f", "--filename", "files", multiple=True, help="File, directory, or - for standard input.")
@click.option("-n", "--namespace", help="Namespace.")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--all", "is_all", is_flag=True, help="Every object of the kind in the namespace.")
@click.option("--cascade", type=click.Choice(["background", "foreground", "orphan"]), default="background")
@click.option("--grace-period", type=int, default=-1, help="Seconds before SIGKILL; -1: the object's own.")
@click.option("--force", is_flag=True, help="With --grace-period=0: forget the object at once.")
@click.option("--now", is_flag=True, help="As --grace-period=1.")
@click.option("--wait/--no-wait", "is_waiting", default=True, help="Wait until it is gone.")
@click.option("--timeout", type=float, default=0.0, help="Seconds to wait; 0: as long as it takes.")
@click.option("--ignore-not-found", is_flag=True, help="Exit 0 when an object is absent.")
@click.pass_obj
def delete(context: Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Delete objects: `delete sts zk`, `delete -f zookeeper.yaml`, `delete pvc -l app=zk`."""
    targets = _targets(context, words, options)
    grace = _grace(options)
    body: dict[str, Any] = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": options["cascade"].capitalize(),
    }
    if grace is not None:
        body["gracePeriodSeconds"] = grace
    code = 0
    deleted: list[tuple[Resource, str, str, str]] = []
    for resource, namespace, name in targets:
        path = path_of(resource, namespace, name)
        try:
            uid = context.api.request("GET", path).body["metadata"]["uid"]
            context.api.request("DELETE", path, body)
        except StatusError as error:
            if error.code != 404:
                raise
            if not options["ignore_not_found"]:
                say(f"Error from server (NotFound): {error.message}")
                code = 1
            continue
        kind = f"{resource.singular}.{resource.group}" if resource.group else resource.singular
        put(f'{kind} "{name}" {"force deleted" if grace == 0 and options["force"] else "deleted"}')
        deleted.append((resource, namespace, name, uid))
    if options["is_waiting"]:
        deadline = time.monotonic() + options["timeout"] if options["timeout"] else None
        for resource, namespace, name, uid in deleted:
            _wait_until_gone(context, (resource, namespace, name), uid, deadline)
    return code


def _grace(options: dict[str, Any]) -> int | None:
    if options["now"]:
        return 1
    if options["force"]:
        if options["grace_period"] > 0:
            fail("--force and --grace-period greater than 0 cannot be specified together")
        say("Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated.")
        return 0
    if options["grace_period"] == 0:
        return 1  # as kubectl: 0 needs --force
    return None if options["grace_period"] < 0 else int(options["grace_period"])


def _targets(context: Context, words: tuple[str, ...], options: dict[str, Any]) -> list[tuple[Resource, str, str]]:
    if options["files"]:
        if words:
            fail("give either files or names")
        return [
            (m.kind.resource, m.namespace, m.name)
            for m in read_manifests(context, list(options["files"]), options["namespace"] or "")
        ]
    namespace = options["namespace"] or "default"
    found: list[tuple[Resource, str, str]] = []
    for resource, name in parse_targets(context, words):
        where = namespace if resource.namespaced else ""
        if name is not None:
            found.append((resource, where, name))
            continue
        if not options["selector"] and not options["is_all"]:
            fail("resource(s) were provided, but no name was specified", hint="name objects, or use -l or --all")
        items = context.items(resource, where, labelSelector=options["selector"])
        if not items:
            say("No resources found")
        found += [(resource, where, item["metadata"]["name"]) for item in items]
    return found


def _wait_until_gone(context: Context, target: tuple[Resource, str, str], uid: str, deadline: float | None) -> None:
    """Wait for DELETED on a watch; an object of another uid is a new one."""
    resource, namespace, name = target
    while True:
        try:
            live = context.api.request("GET", path_of(resource, namespace, name)).body
        except StatusError as error:
            if error.code == 404:
                return
            raise
        if live["metadata"]["uid"] != uid:
            return
        query: dict[str, Any] = {
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": live["metadata"]["resourceVersion"],
        }
        if deadline is not None:
            left = int(deadline - time.monotonic())
            if left <= 0:
                fail(f"timed out waiting for {resource.singular}/{name} to be gone")
            query["timeoutSeconds"] = max(1, left)
        for event in context.api.watch(path_of(resource, namespace), query=query):
            if event["type"] == "DELETED":
                return
