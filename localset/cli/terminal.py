"""The person's terminal while a program inside a Pod has it: raw, its size told, and itself again afterwards."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from localset.cli.output import say


@contextmanager
def raw_terminal(*, is_wanted: bool) -> Iterator[None]:
    """Pass every key on as it is, Ctrl-C too, until the block ends."""
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
def told_of_size(tell: Callable[[int, int], None], *, is_wanted: bool) -> Iterator[None]:
    """Call `tell(columns, lines)` now and whenever the window changes, until the block ends."""
    if not is_wanted:
        yield
        return

    def tell_size(*_: object) -> None:
        with suppress(OSError):
            size = os.get_terminal_size(sys.stdin.fileno())
            tell(size.columns, size.lines)

    tell_size()
    before = signal.signal(signal.SIGWINCH, tell_size)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def has_terminal(has_tty: bool) -> bool:
    """Tell whether a terminal that was asked for is there; says so when it is not."""
    if has_tty and not sys.stdin.isatty():
        say("Unable to use a TTY - input is not a terminal or the right kind of file")
        return False
    return has_tty
