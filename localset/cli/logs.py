"""`logs`: the output of a container, present or previous, followed when asked."""

import sys
from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.output import clean
from localset.cli.transport import path_of


@click.command()
@click.argument("pod")
@click.argument("container", required=False)
@click.option("-c", "--container", "container_option", default="", help="Container; default: the only or the first.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("-p", "--previous", is_flag=True, help="The run before this one.")
@click.option("--tail", type=int, default=-1, help="Only the last N lines.")
@click.option("--since", default="", help="Only newer than 5s, 2m or 3h.")
@click.option("--timestamps", is_flag=True, help="Begin each line with its time.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.pass_obj
def logs(context: Context, /, pod: str, container: str | None, **options: Any) -> int:
    """Print the output of a container: `logs zk-0`, `logs -f zk-0`, `logs --previous zk-0`."""
    name = pod.removeprefix("pod/").removeprefix("pods/")
    resource = BY_NAME["pods"]
    wanted = options["container_option"] or container or ""
    if not wanted:
        spec = context.get(resource, options["namespace"], name)["spec"]
        wanted = spec["containers"][0]["name"]
    query: dict[str, Any] = {"container": wanted}
    for key in ("follow", "previous", "timestamps"):
        if options[key]:
            query[key] = "true"
    if options["tail"] >= 0:
        query["tailLines"] = options["tail"]
    if options["since"]:
        query["sinceSeconds"] = seconds_of(options["since"])
    is_terminal = sys.stdout.isatty()
    for chunk in context.api.stream(path_of(resource, options["namespace"], name, sub="log"), query=query):
        data = clean(chunk.decode(errors="replace")).encode() if is_terminal else chunk
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0


def seconds_of(text: str) -> int:
    """Return the seconds of a Go duration such as `90s`, `1h30m`."""
    import re

    parts = re.findall(r"(\d+)(h|m|s)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise click.BadParameter(f'"{text}" is not a duration such as 5s, 2m or 3h')
    return sum(int(n) * {"h": 3600, "m": 60, "s": 1}[u] for n, u in parts)
