"""`cordon` and `uncordon`: whether new Pods may come to a Node. `drain` begins with the first."""

from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.output import fail, put
from localset.cli.transport import path_of

_STRATEGIC = "application/strategic-merge-patch+json"


@click.command()
@click.argument("names", nargs=-1)
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--dry-run", type=click.Choice(["none", "client", "server"]), default="none")
@click.pass_obj
def cordon(context: Context, names: tuple[str, ...], selector: str, dry_run: str) -> int:
    """Let no new Pods come to a Node."""
    for node in nodes_meant(context, names, selector, "cordon"):
        set_unschedulable(context, node, is_wanted=True, dry_run=dry_run)
    return 0


@click.command()
@click.argument("names", nargs=-1)
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--dry-run", type=click.Choice(["none", "client", "server"]), default="none")
@click.pass_obj
def uncordon(context: Context, names: tuple[str, ...], selector: str, dry_run: str) -> int:
    """Let new Pods come to a Node again."""
    for node in nodes_meant(context, names, selector, "uncordon"):
        set_unschedulable(context, node, is_wanted=False, dry_run=dry_run)
    return 0


def nodes_meant(context: Context, names: tuple[str, ...], selector: str, verb: str) -> list[dict[str, Any]]:
    """Return the Nodes that a command line names; fails when it names none."""
    if names and selector:
        fail("cannot specify both a node name and a --selector option")
    if not names and not selector:
        known = ", ".join(node["metadata"]["name"] for node in context.items(BY_NAME["nodes"], ""))
        fail(
            f"USAGE: {verb} NODE [flags]\nSee 'localset {verb} -h' for help and examples",
            hint=f"the Nodes are: {known}",
        )
    if selector:
        return context.items(BY_NAME["nodes"], "", labelSelector=selector)
    return [context.get(BY_NAME["nodes"], "", name.removeprefix("node/").removeprefix("nodes/")) for name in names]


def set_unschedulable(context: Context, node: dict[str, Any], *, is_wanted: bool, dry_run: str = "none") -> None:
    """Cordon or uncordon a Node and say so; with a `dry_run` of client or server only say so."""
    name, verb = node["metadata"]["name"], "cordoned" if is_wanted else "uncordoned"
    trial = {"client": " (dry run)", "server": " (server dry run)"}.get(dry_run, "")
    if bool(node["spec"].get("unschedulable")) == is_wanted:
        put(f"node/{name} already {verb}{trial}")
        return
    if dry_run != "client":
        change = {"spec": {"unschedulable": True if is_wanted else None}}
        query = {"dryRun": "All"} if dry_run == "server" else None
        path = path_of(BY_NAME["nodes"], "", name)
        context.api.request("PATCH", path, change, query=query, content_type=_STRATEGIC)
    put(f"node/{name} {verb}{trial}")
