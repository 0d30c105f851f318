"""`exec`: a command inside a container, on a real terminal when asked; exits with the command's own code."""

import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.output import fail, say
from localset.cli.transport import path_of
from localset.cli.websocket import CLOSE, RESIZE, STATUS, STDERR, STDIN, STDOUT, WebSocket


@click.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-i", "--stdin", "has_stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", "has_tty", is_flag=True, help="Standard input is a terminal.")
@click.option("-c", "--container", default="", help="Container; default: the only or the first.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.argument("pod")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_(context: Context, /, pod: str, command: tuple[str, ...], **options: Any) -> int:
    """Run a command inside a container: `exec zk-0 -- zkOk.sh`, `exec -it zk-0 -- sh`."""
    words = list(command)
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        fail("you must specify at least one command for the container")
    name = pod.removeprefix("pod/").removeprefix("pods/")
    resource = BY_NAME["pods"]
    spec = context.get(resource, options["namespace"], name)["spec"]
    names = [container["name"] for container in spec["containers"]]
    container = options["container"] or names[0]
    if not options["container"] and len(names) > 1:
        say(f'Defaulted container "{container}" out of: {", ".join(names)}')
    has_tty = options["has_tty"]
    if has_tty and not sys.stdin.isatty():
        say("Unable to use a TTY - input is not a terminal or the right kind of file")
        has_tty = False
    query = [("command", word) for word in words]
    query += [("container", container), ("stdout", "true")]
    query += [("stdin", "true")] if options["has_stdin"] else []
    query += [("tty", "true")] if has_tty else [("stderr", "true")]
    url = f"{path_of(resource, options['namespace'], name, sub='exec')}?{urlencode(query)}"
    connection = WebSocket(context.api.socket_path, url)
    try:
        with _raw_terminal(is_wanted=has_tty and options["has_stdin"]), _resizes(connection, is_wanted=has_tty):
            status = _pump(connection, has_stdin=options["has_stdin"])
    finally:
        connection.close()
    return _exit_code(status)


def _pump(connection: WebSocket, *, has_stdin: bool) -> dict[str, Any] | None:
    """Move bytes both ways until the status frame; return it."""
    sources: list[Any] = [connection]
    if has_stdin:
        sources.append(sys.stdin.fileno())
    while True:
        if not connection.has_buffered:
            try:
                ready, _, _ = select.select(sources, [], [])
            except InterruptedError:
                continue
            if sys.stdin.fileno() in ready and has_stdin and sys.stdin.fileno() in sources:
                data = os.read(sys.stdin.fileno(), 32768)
                if data:
                    connection.send(STDIN, data)
                else:
                    connection.send(CLOSE, bytes([STDIN]))
                    sources.remove(sys.stdin.fileno())
            if connection not in ready:
                continue
        message = connection.receive()
        if message is None:
            return None
        channel, data = message
        if channel == STATUS:
            status: dict[str, Any] = json.loads(data)
            return status
        if channel in {STDOUT, STDERR} and data:
            stream = sys.stdout if channel == STDOUT else sys.stderr
            stream.buffer.write(data)
            stream.buffer.flush()


def _exit_code(status: dict[str, Any] | None) -> int:
    if status is None:
        fail("the connection was closed before the command ended")
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    code = next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), None)
    if code is None:
        fail(status.get("message") or "the command failed")
    say(f"command terminated with exit code {code}")
    return code


@contextmanager
def _raw_terminal(*, is_wanted: bool) -> Iterator[None]:
    if not is_wanted:
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)  # NB: the default flushes what was typed ahead
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _resizes(connection: WebSocket, *, is_wanted: bool) -> Iterator[None]:
    if not is_wanted:
        yield
        return

    def send_size(*_: object) -> None:
        with suppress(OSError):
            size = os.get_terminal_size(sys.stdin.fileno())
            connection.send(RESIZE, json.dumps({"Width": size.columns, "Height": size.lines}).encode())

    send_size()
    before = signal.signal(signal.SIGWINCH, send_size)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
