"""`watch`: the picture of every set, drawn again whenever something happens, until Ctrl-C.

On a terminal it takes the whole screen and gives it back, each frame in one write, so that nothing flickers; else it
prints a line for each change. Told by watches; a timer only moves the ages on.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from localset.apis.views import host_address_of
from localset.base.clock import SystemClock, parse_rfc3339
from localset.cli.board import Board
from localset.cli.context import Context
from localset.cli.output import is_coloured, put, put_painted
from localset.cli.picture import Line, picture
from localset.cli.reasons import ordinals

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_BEGIN_FRAME, _END_FRAME = "\x1b[?2026h\x1b[H", "\x1b[J\x1b[?2026l"


@click.command()
@click.option("-n", "--namespace", default="", help="Only this namespace; default: all.")
@click.pass_obj
def watch(context: Context, namespace: str) -> int:
    """Show every set live, until Ctrl-C."""
    chosen = click.get_current_context().get_parameter_source("namespace")
    is_given = chosen is not None and chosen.name == "COMMANDLINE"
    board = Board(context, namespace if is_given else "")
    if sys.stdout.isatty():
        _draw_until_interrupted(board)
    else:
        _tell_until_interrupted(board)
    return 0


def _draw_until_interrupted(board: Board) -> None:
    last = ""
    lines: list[Line] = []
    try:
        with _whole_screen(board):
            while True:
                lines = picture(board.sets, board.pods, board.events)
                frame = _frame(lines)
                if frame != last:
                    last = frame
                    sys.stdout.write(frame)
                    sys.stdout.flush()
                board.wait(_seconds_until_an_age_changes(board))
    finally:
        for line in lines:  # what was seen last stays on the person's own screen
            put_painted(line)


@contextmanager
def _whole_screen(board: Board) -> Iterator[None]:
    def resized(*_: object) -> None:
        board.wake()

    before = signal.signal(signal.SIGWINCH, resized)
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        signal.signal(signal.SIGWINCH, before)


def _frame(lines: list[Line]) -> str:
    """Return one frame, cut to the window; the last line says how to end it."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    columns, rows = columns or 80, rows or 24
    has_colours = is_coloured()
    shown = [*lines[: rows - 2], ("", ""), ("Ctrl-C ends; nothing stops by it", "2")]
    if len(lines) > rows - 2:
        shown[-2] = (f"… {len(lines) - rows + 2} lines more", "2")
    text = "\r\n".join(
        (f"\x1b[{colour}m{line[:columns]}\x1b[0m" if colour and has_colours else line[:columns]) + "\x1b[K"
        for line, colour in shown
    )
    return f"{_BEGIN_FRAME}{text}{_END_FRAME}"


def _seconds_until_an_age_changes(board: Board) -> float:
    """Return 1 s while an age is shown in seconds, else the rest of the minute."""
    now = SystemClock().now()
    ages = [now - parse_rfc3339(pod["metadata"]["creationTimestamp"]) for pod in board.pods]
    return 1.0 if any(age < timedelta(minutes=10) for age in ages) else 30.0


def _tell_until_interrupted(board: Board) -> None:
    """Print a line for each Pod whose state has changed."""
    shown: dict[str, str] = {}
    while True:
        now: dict[str, str] = {}
        for statefulset in board.sets:
            namespace = statefulset["metadata"]["namespace"]
            own = [pod for pod in board.pods if pod["metadata"]["namespace"] == namespace]
            for name, pod, reason in ordinals(statefulset, own, board.events):
                address = host_address_of(pod) if pod else ""
                now[f"{namespace}/{name}"] = reason or f"ready {address}".rstrip()
        for place, text in now.items():
            if shown.get(place) != text:
                put(f"{place}  {text}")
        for place in sorted(set(shown) - set(now)):
            put(f"{place}  gone")
        shown = now
        board.wait(None)
