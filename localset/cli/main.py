"""The command line's entry: names, lazy loading, and the one place where errors become words and exit codes."""

import importlib
import os
import sys
import traceback
from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import CommandError, say
from localset.cli.transport import DaemonNotRunningError
from localset.machinery.errors import StatusError

_COMMANDS = {
    "apply": ("localset.cli.apply", "apply", "Create or change objects from files"),
    "create": ("localset.cli.apply", "create", "Create objects from files"),
    "delete": ("localset.cli.delete", "delete", "Delete objects by file, name or label"),
    "describe": ("localset.cli.describe", "describe", "Show objects in detail, with their events"),
    "dns": ("localset.cli.dns", "dns", "Ask the resolver; make this machine use it"),
    "down": ("localset.cli.down", "down", "End every Pod in order, then the daemon"),
    "events": ("localset.cli.events", "events", "List what happened"),
    "exec": ("localset.cli.exec", "exec_", "Run a command inside a container"),
    "get": ("localset.cli.get", "get", "List objects"),
    "image": ("localset.cli.image", "image", "List, show and add local images"),
    "kubeconfig": ("localset.cli.kubeconfig", "kubeconfig", "Print, write or merge the kubeconfig"),
    "kubectl": ("localset.cli.kubectl", "kubectl", "Run your kubectl against this daemon"),
    "logs": ("localset.cli.logs", "logs", "Print the output of a container"),
    "scale": ("localset.cli.scale", "scale", "Set the number of replicas"),
    "status": ("localset.cli.status", "status", "Show the daemon and every set"),
    "up": ("localset.cli.up", "up", "Start the daemon"),
}


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
    ctx.obj = Context(data_dir)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Never a traceback: a crash names the file that holds its
    report."""
    try:
        result = cli.main(args=arguments, prog_name="localset", standalone_mode=False)
    except click.ClickException as error:
        say(f"error: {error.format_message()}")
        return 1 if isinstance(error, click.UsageError) else error.exit_code
    except click.exceptions.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except CommandError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        return error.code
    except DaemonNotRunningError:
        say("error: the daemon is not running")
        say("hint: `localset up` starts it; `localset apply -f FILE` does so by itself")
        return 1
    except StatusError as error:
        say(server_error(error))
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception:  # noqa: BLE001 - the last boundary: a person gets a sentence, the report goes to a file
        return _crash()
    return result if isinstance(result, int) else 0


def server_error(error: StatusError) -> str:
    """Return an API refusal in kubectl's words."""
    if error.reason == "Invalid":
        kind, name = error.details.get("kind", ""), error.details.get("name", "")
        causes = error.details.get("causes") or []
        texts = [f"{cause.get('field')}: {cause.get('message')}" for cause in causes]
        if texts and kind:
            body = texts[0] if len(texts) == 1 else "\n" + "\n".join(f"* {text}" for text in texts)
            return f'The {kind} "{name}" is invalid: {body}'
    return (
        f"Error from server ({error.reason}): {error.message}"
        if error.reason
        else f"Error from server: {error.message}"
    )


def _crash() -> int:
    from localset.base.directories import data_directory

    report = traceback.format_exc()
    path = data_directory(None) / f"crash-{os.getpid()}.txt"
    try:
        path.write_text(report)
    except OSError:
        say("error: localset failed in a way it should not; the report could not be saved:\n" + report.splitlines()[-1])
        return 1
    say(f"error: localset failed in a way it should not: {report.splitlines()[-1]}\nhint: the report is in {path}")
    return 1
