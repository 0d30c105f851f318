"""From an exception to what a person reads: one sentence, perhaps a hint, and the exit code that kubectl would give.

Called by `main` alone, and imported only when something went wrong. Never prints a traceback: what nobody foresaw is
saved in the data directory and its place is named.
"""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import PIPE_CLOSED, CommandError, OutputClosedError, StoppedError, say
from localset.cli.transport import Api, DaemonNotRunningError
from localset.machinery.errors import StatusError

INTERRUPTED = 130
_UNKNOWN_COMMAND = re.compile(r"No such command '(.*)'")


def tell(context: Context, error: BaseException) -> int:
    """Say what happened and return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, (click.exceptions.Abort, KeyboardInterrupt, StoppedError)):
        if sys.stderr.isatty():
            sys.stderr.write("\n")  # behind the ^C that the terminal shows
        return INTERRUPTED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    try:
        return _tell(context, error)
    except BrokenPipeError:
        return _quiet()


def _tell(context: Context, error: BaseException) -> int:
    if isinstance(error, (BrokenPipeError, OutputClosedError)):
        return _quiet()
    if isinstance(error, CommandError):
        text = str(error)
        _say(text if text.startswith("error: ") else f"{error.prefix}{text}", error.hint)
        return error.code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return 0
    if isinstance(error, click.UsageError):
        _say(*_usage(error))
        return 1
    if isinstance(error, click.ClickException):
        say(f"error: {error.format_message()}")
        return error.exit_code
    if isinstance(error, DaemonNotRunningError):
        _say("error: the daemon is not running", "`localset up` starts it; `localset apply -f FILE` does so by itself")
        return 1
    if isinstance(error, StatusError):
        _say(server_error(error), hint_for(context, error))
        return 1
    if isinstance(error, PermissionError) and error.filename is None:
        _say("error: the daemon belongs to another user", f"its data directory is {context.data_directory}")
        return 1
    if isinstance(error, ConnectionError):
        _say("error: the connection to the daemon was lost", "`localset status` says whether it still runs")
        return 1
    return _crash(context, error)


def _say(text: str, hint: str = "") -> None:
    say(text)
    if hint:
        say(f"hint: {hint}")


def _quiet() -> int:
    """Whoever read our output has gone, as `head` does: say nothing, not even at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return PIPE_CLOSED


def _usage(error: click.UsageError) -> tuple[str, str]:
    """Return kubectl's words for a wrong command line, and a hint."""
    command = error.ctx.command_path if error.ctx else "localset"
    help_line = f"See '{command} --help' for usage."
    if isinstance(error, click.NoSuchOption):
        near = sorted(error.possibilities or [], key=len)
        known = [text for p in error.ctx.command.params for text in p.opts] if error.ctx else []
        near = near or difflib.get_close_matches(error.option_name, known, n=1)
        name = error.option_name
        kind = f"unknown flag: {name}" if name.startswith("--") else f"unknown shorthand flag: '{name[1:]}' in {name}"
        return f"error: {kind}\n{help_line}", f"did you mean {near[0]}?" if near else ""
    if isinstance(error, click.MissingParameter) and error.param is not None and error.ctx is not None:
        usage = error.ctx.command.get_usage(error.ctx).removeprefix("Usage: ")
        if isinstance(error.param, click.Option):
            return f'error: required flag(s) "{error.param.opts[-1].lstrip("-")}" not set', usage
        return f"error: {error.param.make_metavar(error.ctx)} must be specified\n{help_line}", usage
    message, _, hint = error.format_message().partition("\nhint: ")
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option) and (why := _go_words(error)):
        shown = ", ".join(sorted(error.param.opts, key=len))
        return f'error: invalid argument "{why[0]}" for "{shown}" flag: {why[1]}\n{help_line}', error.message
    if error.ctx is not None and error.ctx.parent is not None and (unknown := _UNKNOWN_COMMAND.match(message)):
        return f"error: unknown command \"{unknown[1]}\"\nSee '{command} -h' for help and examples", hint
    if isinstance(error, click.BadParameter) or error.ctx is None or error.ctx.parent is None:
        return f"error: {message}", hint
    return f"error: {message}\n{help_line}", hint


def _go_words(error: click.BadParameter) -> tuple[str, str] | None:
    """Return the value of a flag and what Go, and so kubectl, has against it; None for another kind of mistake."""
    number = re.fullmatch(r"'(.*)' is not a valid integer\.?", error.message)
    if number:
        return number[1], f'strconv.ParseInt: parsing "{number[1]}": invalid syntax'
    duration = re.match(r'"(.*)" is not a duration', error.message)
    return (duration[1], f'time: invalid duration "{duration[1]}"') if duration else None


def server_error(error: StatusError) -> str:
    """Return an API refusal in kubectl's words."""
    if error.reason == "Invalid":
        kind, name = error.details.get("kind", ""), error.details.get("name", "")
        causes = error.details.get("causes") or []
        texts = list(dict.fromkeys(f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in causes))
        about = f'The {kind} "{name}" is invalid' if kind or name else "The request is invalid"
        if len(texts) > 1:
            return f"{about}: \n" + "\n".join(f"* {text}" for text in texts)
        if texts:
            return f"{about}: {texts[0]}"
        return about if kind or name else f"{about}: {error.message}"
    if error.reason == "Unauthorized":
        return f"error: You must be logged in to the server ({error.message})"
    if not error.reason:
        return f"Error from server: {error.message}"
    return f"Error from server ({error.reason}): {error.message}"


def tell_refusals(context: Context, errors: Sequence[StatusError | CommandError]) -> int:
    """Say what went wrong with some objects while others went well; return the exit code of a command with `errors`.

    As kubectl: `error: ` stands in front of a single one only.
    """
    for error in errors:
        if isinstance(error, StatusError):
            _say(server_error(error), hint_for(context, error))
        else:
            _say(str(error) if len(errors) > 1 else f"{error.prefix}{error}", error.hint)
    return 1 if errors else 0


def hint_for(context: Context, error: StatusError) -> str:
    """Return what may have been meant by a name that is not there: a like one, or the same in another namespace."""
    plural, name = error.details.get("kind", ""), error.details.get("name", "")
    if error.reason != "NotFound" or not plural or not name:
        return ""
    found: list[dict[str, Any]] = []
    with suppress(StatusError, DaemonNotRunningError, OSError, ValueError, KeyError):
        found = _metadata_of_all(context, plural, error.details.get("group", ""))
    elsewhere = sorted({m["namespace"] for m in found if m["name"] == name and "namespace" in m})
    if elsewhere:
        return f"there is one in namespace {elsewhere[0]}: pass -n {elsewhere[0]}"
    near = difflib.get_close_matches(name, [m["name"] for m in found], n=1)
    return f'did you mean "{near[0]}"?' if near else ""


def _metadata_of_all(context: Context, plural: str, group: str) -> list[dict[str, Any]]:
    from localset.apis.resources import find_by_word

    resource = find_by_word(f"{plural}.{group}" if group else plural)
    if resource is None:
        return []
    version = resource.storage_version
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    with closing(Api(context.api.socket_path)) as api:
        body = api.request("GET", f"{root}/{plural}").body
    return [item["metadata"] for item in body["items"]]


def _crash(context: Context, error: BaseException) -> int:
    report = "".join(traceback.format_exception(error))
    last = traceback.format_exception_only(error)[-1].strip()
    path = context.data_directory / f"crash-{os.getpid()}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"command: {' '.join(sys.argv[1:])}\n\n{report}")
    except OSError:
        say(f"error: localset failed in a way it should not, and the report could not be saved: {last}")
        return 1
    _say(f"error: localset failed in a way it should not: {last}", f"the report is in {path}")
    return 1
