"""`ns`: the namespace that every command uses unless it is given `-n`, remembered for each data directory.

A small file in the data directory and nothing in the API: kubectl keeps its own in the kubeconfig.
"""

import difflib

import click

from localset.apis.resources import BY_NAME
from localset.base.directories import namespace_file
from localset.cli.context import Context
from localset.cli.output import fail, put, say
from localset.cli.transport import DaemonNotRunningError


@click.command()
@click.argument("name", required=False)
@click.pass_obj
def ns(context: Context, name: str | None) -> int:
    """Print the namespace in use, or use NAME from now on: `ns`, `ns shop`, `ns default`."""
    if name is None:
        put(context.namespace)
        return 0
    _ensure_exists(context, name)
    path = namespace_file(context.data_directory)
    try:
        if name == "default":
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name}\n")
    except OSError as error:
        fail(f"cannot remember the namespace in {path}: {error.strerror}")
    put(f'commands use namespace "{name}" from now on')
    return 0


def _ensure_exists(context: Context, name: str) -> None:
    try:
        names = [item["metadata"]["name"] for item in context.items(BY_NAME["namespaces"], "")]
    except DaemonNotRunningError:
        say(f'the daemon is not running, so nobody knows whether namespace "{name}" exists')
        return
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        fail(
            f'namespaces "{name}" not found',
            hint=f'did you mean "{near[0]}"?' if near else f"there are {', '.join(sorted(names))}",
        )
