"""What a person sees: tables, YAML, colours, errors and hints.

Data goes to standard output, messages to standard error. Control characters of names, events and program output
never reach a
terminal raw (reliability.md E1).
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class CommandError(Exception):
    """A command cannot go on: a message, an exit code, perhaps a hint."""

    def __init__(self, message: str, *, code: int = 1, hint: str = "", prefix: str = "error: ") -> None:
        """Keep what is to be printed; `prefix` is empty where the message is the daemon's own."""
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.prefix = prefix


PIPE_CLOSED = 141
"""The exit code of a command whose reader has gone, as a shell gives it for SIGPIPE."""


class StoppedError(Exception):
    """The person pressed Ctrl-C."""


class OutputClosedError(Exception):
    """Whoever read our standard output has gone."""


def fail(message: str, *, hint: str = "", code: int = 1) -> NoReturn:
    """Raise CommandError."""
    raise CommandError(message, code=code, hint=hint)


def clean(text: str) -> str:
    """Return `text` with control characters shown as `\\xNN`, newlines and tabs kept."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", text)


def say(text: str) -> None:
    """Print a message for the person, to standard error."""
    print(clean(text), file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Print data, to standard output."""
    print(clean(text) if sys.stdout.isatty() else text, flush=True)


def write(text: str) -> None:
    """Print data whose last line ends as it should already, to standard output."""
    sys.stdout.write(clean(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def is_coloured(stream: Any = None) -> bool:
    """Tell whether colours are wanted: a terminal, and NO_COLOR is not set."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def put_painted(*parts: tuple[str, str]) -> None:
    """Print a line of (text, SGR colour or empty); each text is cleaned before it gets its colour."""
    has_colours = is_coloured()
    print("".join(f"\x1b[{c}m{clean(t)}\x1b[0m" if c and has_colours else clean(t) for t, c in parts), flush=True)


def print_rows(
    header: Sequence[str] | None, rows: Iterable[Sequence[str]], widths: list[int] | None = None
) -> list[int]:
    """Print aligned columns as kubectl does (three spaces between); return the widths used."""
    table = [[clean(str(cell)) for cell in row] for row in rows]
    if header is not None:
        table.insert(0, list(header))
    if not table:
        return widths or []
    columns = max(len(row) for row in table)
    used = [
        max([len(row[i]) for row in table if i < len(row)] + ([widths[i]] if widths and i < len(widths) else [0]))
        for i in range(columns)
    ]
    for row in table:
        line = "".join(cell.ljust(used[i] + 3) for i, cell in enumerate(row[:-1])) + row[-1]
        print(line.rstrip() if not line.strip() else line, flush=False)
    sys.stdout.flush()
    return used


def put_padded(header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns, the last one padded too: kubectl does it so where it, not the server, makes the table."""
    table = [[clean(str(cell)) for cell in row] for row in rows]
    if header is not None:
        table.insert(0, list(header))
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        print("".join(cell.ljust(width + 3) for cell, width in zip(row, widths, strict=True)))
    sys.stdout.flush()


def to_yaml(value: Any) -> str:
    """Return YAML as kubectl prints it: keys sorted, block style."""
    from localset.cli.printing.documents import to_yaml as printed

    return printed(value)


def to_json(value: Any) -> str:
    """Return JSON as kubectl prints it: four spaces, keys sorted."""
    from localset.cli.printing.documents import to_json as printed

    return printed(value)
