"""`kubectl`: the user's own kubectl, pointed at this data directory."""

import os
import shutil

import click

from localset.cli.context import Context
from localset.cli.kubeconfig import existing_kubeconfig
from localset.cli.output import fail


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def kubectl(context: Context, /, arguments: tuple[str, ...]) -> int:
    """Run your kubectl against this daemon: `localset kubectl get pods`."""
    path = existing_kubeconfig(context)
    program = shutil.which("kubectl")
    if program is None:
        fail(
            "kubectl is not on your PATH",
            hint=f"https://kubernetes.io/docs/tasks/tools/ says how to get it; any client works with KUBECONFIG={path}",
        )
    os.execve(program, ["kubectl", *arguments], {**os.environ, "KUBECONFIG": str(path)})  # noqa: S606 - no shell
