"""The command line's entry: names, lazy loading, and the one place where errors become words and exit codes.

A command's module is imported only when that command is used. What goes wrong is told here, by `failures`, which is
imported only then.
"""

import importlib
import sys
from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import OutputClosedError, StoppedError

_COMMANDS = {
    "apply": ("localset.cli.apply", "apply", "Create or change objects from files"),
    "attach": ("localset.cli.attach", "attach", "Attach to the process of a container"),
    "cordon": ("localset.cli.nodes", "cordon", "Let no new Pods come to a Node"),
    "cp": ("localset.cli.cp", "cp", "Copy files into a container and out of it"),
    "create": ("localset.cli.apply", "create", "Create objects from files"),
    "delete": ("localset.cli.delete", "delete", "Delete objects by file, name or label"),
    "describe": ("localset.cli.describe", "describe", "Show objects in detail, with their events"),
    "dns": ("localset.cli.dns", "dns", "Ask the resolver; make this machine use it"),
    "down": ("localset.cli.down", "down", "End every Pod in order, then the daemon"),
    "drain": ("localset.cli.drain", "drain", "Move every Pod off a Node"),
    "events": ("localset.cli.events", "events", "List what happened"),
    "exec": ("localset.cli.exec", "exec_", "Run a command inside a container"),
    "get": ("localset.cli.get", "get", "List objects"),
    "image": ("localset.cli.image", "image", "List, show and add local images"),
    "kubeconfig": ("localset.cli.kubeconfig", "kubeconfig", "Print, write or merge the kubeconfig"),
    "kubectl": ("localset.cli.kubectl", "kubectl", "Run your kubectl against this daemon"),
    "logs": ("localset.cli.logs", "logs", "Print the output of a container or of a whole set"),
    "ns": ("localset.cli.namespace", "ns", "Show or remember the namespace that commands use"),
    "port-forward": ("localset.cli.portforward", "port_forward", "Forward ports of this machine to a Pod"),
    "run": ("localset.cli.run", "run", "Run a Pod, attached when asked"),
    "scale": ("localset.cli.scale", "scale", "Set the number of replicas"),
    "status": ("localset.cli.status", "status", "Show the daemon and every set"),
    "top": ("localset.cli.top", "top", "Show what Pods and Nodes use"),
    "uncordon": ("localset.cli.nodes", "uncordon", "Let new Pods come to a Node again"),
    "up": ("localset.cli.up", "up", "Start the daemon"),
    "version": ("localset.cli.version", "version", "Print the versions of client and daemon"),
}
_NAMESPACE_OF_THEIR_FILES = {"apply", "create", "delete"}
"""Commands whose -n must agree with what a file says: for them a remembered namespace is no -n."""


class _LazyGroup(click.Group):
    """Imports a command's module only when that command is used; help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry[0]), entry[1])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in sorted(_COMMANDS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # NB: click would end with 1, and write an empty line at Ctrl-C
            raise OutputClosedError from error
        except KeyboardInterrupt as error:
            raise StoppedError from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"\nhint: did you mean `localset {near[0]}`?" if near else ""
            raise click.UsageError(f'unknown command "{args[0]}" for "localset"{hint}')
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data-dir", metavar="DIR", help="Data directory (default: LOCALSET_DATA_DIR, else this installation's)."
)
@click.version_option(package_name="localset", prog_name="localset")
@click.pass_context
def cli(ctx: click.Context, data_dir: str | None) -> None:
    """Kubernetes StatefulSets as real processes on this machine."""
    ctx.obj.data_option = data_dir
    remembered = {"namespace": ctx.obj.namespace}
    ctx.default_map = {name: remembered for name in _COMMANDS if name not in _NAMESPACE_OF_THEIR_FILES}


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Never a traceback: a crash names the file that holds its
    report."""
    context = Context()
    try:
        result = cli.main(args=arguments, prog_name="localset", standalone_mode=False, obj=context)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last boundary: a person gets a sentence, a report goes to a file
        from localset.cli.failures import tell

        return tell(context, error)
    return result if isinstance(result, int) else 0
