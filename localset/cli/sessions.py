"""A session with a container over one WebSocket: exec and attach, for the commands `exec`, `attach`, `run` and `cp`.

Bytes go both ways until the status that ends it; with a terminal, raw and with its size. Never cleans what a program
prints: it is the person's own program.
"""

import json
import os
import select
import sys
from typing import Any
from urllib.parse import urlencode

from localset.cli.context import Context
from localset.cli.output import CommandError, fail, say
from localset.cli.pods import PODS, hint_of
from localset.cli.terminal import raw_terminal, told_of_size
from localset.cli.transport import path_of
from localset.cli.websocket import CLOSE, RESIZE, STATUS, STDERR, STDIN, STDOUT, WebSocket
from localset.machinery.errors import StatusError

_Status = dict[str, Any]


def open_session(  # noqa: PLR0913 - the request's own parts
    context: Context,
    pod: dict[str, Any],
    sub: str,
    container: str,
    *,
    command: tuple[str, ...] = (),
    has_stdin: bool,
    has_tty: bool,
) -> WebSocket:
    """Connect; a refusal names why the Pod is not ready."""
    metadata = pod["metadata"]
    query = [("command", word) for word in command]
    query += [("container", container), ("stdout", "true")]
    query += [("stdin", "true")] if has_stdin else []
    query += [("tty", "true")] if has_tty else [("stderr", "true")]
    url = f"{path_of(PODS, metadata['namespace'], metadata['name'], sub=sub)}?{urlencode(query)}"
    try:
        return WebSocket(context.api.socket_path, url)
    except StatusError as error:
        from localset.cli.failures import server_error

        hint = hint_of(context, pod) if error.code != 404 else ""
        raise CommandError(server_error(error), hint=hint, prefix="") from error


def carry(connection: WebSocket, *, has_stdin: bool, has_tty: bool, is_attached: bool = False) -> _Status:
    """Carry bytes between this process's own streams and the session until it ends; return its status."""
    first = [is_attached]

    def tell(columns: int, lines: int) -> None:
        if first.pop() if first else False:  # a change of size makes the program draw itself again
            connection.send(RESIZE, json.dumps({"Width": columns + 1, "Height": lines + 1}).encode())
        connection.send(RESIZE, json.dumps({"Width": columns, "Height": lines}).encode())

    try:
        with raw_terminal(is_wanted=has_tty and has_stdin), told_of_size(tell, is_wanted=has_tty):
            status = _pump(connection, has_stdin=has_stdin)
    finally:
        connection.close()
    if status is None:
        fail("the connection was closed before the command ended")
    return status


def _pump(connection: WebSocket, *, has_stdin: bool) -> _Status | None:
    """Move bytes both ways until the status frame; return it."""
    source = sys.stdin.fileno() if has_stdin else -1
    while True:
        if not connection.has_buffered:
            try:
                ready, _, _ = select.select([connection, source] if source >= 0 else [connection], [], [])
            except InterruptedError:
                continue
            if source in ready:
                data = os.read(source, 32768)
                if data:
                    connection.send(STDIN, data)
                else:
                    connection.send(CLOSE, bytes([STDIN]))
                    source = -1
            if connection not in ready:
                continue
        message = connection.receive()
        if message is None:
            return None
        channel, data = message
        if channel == STATUS:
            status: _Status = json.loads(data)
            return status
        if channel in {STDOUT, STDERR} and data:
            stream = sys.stdout if channel == STDOUT else sys.stderr
            stream.buffer.write(data)
            stream.buffer.flush()


def exit_code(status: _Status) -> int:
    """Return the exit code that a session's status names, and say it when it is not 0; fails for other ends."""
    code = code_in(status)
    if code:
        say(f"command terminated with exit code {code}")
    return code


def code_in(status: _Status) -> int:
    """Return the exit code of a session's status; fails when it ended in another way."""
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    code = next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), None)
    if code is None:
        fail(status.get("message") or "the command failed")
    return code
