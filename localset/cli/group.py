"""The commands that are click's: imports a command's module only when that command is used; help needs none of them."""

import importlib
from typing import Any, ClassVar

import click

from localset.cli.context import Context
from localset.cli.kubectl import FORWARDED
from localset.cli.output import OutputClosedError, StoppedError

Commands = dict[str, tuple[str, str, str]]
_NAMESPACE_OF_THEIR_FILES = {"apply", "create", "delete"}
"""Commands whose -n must agree with what a file says: for them a remembered namespace is no -n."""


class _LazyGroup(click.Group):
    known: ClassVar[Commands] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.known.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry[0]), entry[1])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in sorted(self.known.items())])
            formatter.write_paragraph()
            formatter.write_text("Your kubectl, where you have one, does the rest: " + ", ".join(sorted(FORWARDED)))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # NB: click would end with 1, and write an empty line at Ctrl-C
            raise OutputClosedError from error
        except KeyboardInterrupt as error:
            raise StoppedError from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.known:
            import difflib

            near = difflib.get_close_matches(args[0], self.known, n=1)
            hint = f"\nhint: did you mean `localset {near[0]}`?" if near else ""
            raise click.UsageError(f'unknown command "{args[0]}" for "localset"{hint}')
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, rest if command is None else as_click_reads(command, rest)


def as_click_reads(command: click.Command, arguments: list[str]) -> list[str]:
    """Return the arguments with what pflag takes and click does not: `--rm=true`, `--wait=false`, `-n=shop`."""
    options = [p for p in command.params if isinstance(p, click.Option)]
    flags = {name: option for option in options if option.is_flag for name in option.opts}
    valued = {name for option in options if not option.is_flag for name in option.opts}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found: list[str] = []
    for word in arguments[:end]:
        name, equals, value = word.partition("=")
        if equals and name in flags and value.lower() in {"true", "1", "t"}:
            found.append(name)
        elif equals and name in flags and value.lower() in {"false", "0", "f"}:
            found += flags[name].secondary_opts[:1]  # what has no opposite is false as it stands
        elif equals and len(name) == 2 and name in valued:
            found += [name, value]
        else:
            found.append(word)
    return found + arguments[end:]


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data-dir", metavar="DIR", help="Data directory (default: LOCALSET_DATA_DIR, else this installation's)."
)
@click.option("-n", "--namespace", help="Namespace of commands that name none.")
@click.version_option(package_name="localset", prog_name="localset")
@click.pass_context
def cli(ctx: click.Context, data_dir: str | None, namespace: str | None) -> None:
    """Kubernetes StatefulSets as real processes on this machine."""
    ctx.obj.data_option = data_dir or ctx.obj.data_option
    ctx.obj.namespace_option = namespace or ctx.obj.namespace_option
    remembered = {"namespace": ctx.obj.namespace}
    ctx.default_map = {name: remembered for name in _LazyGroup.known if name not in _NAMESPACE_OF_THEIR_FILES}


def run_click(commands: Commands, context: Context, arguments: list[str]) -> int:
    """Run one command line through click and return its exit code; raises click's own errors."""
    _LazyGroup.known = commands
    result = cli.main(args=arguments, prog_name="localset", standalone_mode=False, obj=context)
    return result if isinstance(result, int) else 0
