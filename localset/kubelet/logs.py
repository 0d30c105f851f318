"""Reads the keeper's log files: CRI lines (`TIMESTAMP stdout F text`), rotated ones included.

Used by `streams`. Lines are bytes end to end; a `P` line goes on in the next one. Nothing is held in memory beyond a
chunk: tail is found from the end of the files, following is by position. The keeper is the only writer.
"""

import os
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from localset.base.clock import parse_rfc3339
from localset.base.frozen import frozen

_CHUNK = 256 * 1024


@frozen
class LogLine:
    """One CRI line: `text` ends in a newline unless the line goes on (`is_partial`)."""

    timestamp: bytes
    stream: bytes
    is_partial: bool
    text: bytes


def parse_line(line: bytes) -> LogLine | None:
    """Return the parts of a CRI line without its newline, or None for something else (a torn line)."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[2][:1] not in {b"F", b"P"}:
        return None
    text = parts[3] if len(parts) == 4 else b""
    is_partial = parts[2].startswith(b"P")
    return LogLine(parts[0], parts[1], is_partial, text if is_partial else text + b"\n")


def moment_of(line: LogLine) -> datetime | None:
    """Return the line's time to the microsecond, or None when it is torn."""
    text = line.timestamp.decode("ascii", "replace")
    head, dot, fraction = text.partition(".")
    try:
        return parse_rfc3339(f"{head}.{fraction.rstrip('Z')[:6]}+00:00" if dot else text)
    except ValueError:
        return None


def log_files(path: Path) -> list[Path]:
    """Return the files of one run, oldest first: `path.N` … `path.1`, then `path`."""
    rotated = []
    for found in path.parent.glob(path.name + ".*"):
        suffix = found.name[len(path.name) + 1 :]
        if suffix.isdigit():
            rotated.append((int(suffix), found))
    files = [found for _, found in sorted(rotated, reverse=True)]
    return [*files, path] if path.exists() else files


class LogReader:
    """Reads one run's log from a point on, across rotations; keep calling `read` to follow."""

    def __init__(self, path: Path) -> None:
        """Start at the oldest byte that is kept."""
        self._path = path
        self._pending: deque[Path] = deque(log_files(path))
        self._descriptor: int | None = None
        self._rest = b""
        self._is_in_line = False

    def read(self) -> Iterator[LogLine]:
        """Yield whole CRI lines up to the present end. May be called again later."""
        while True:
            if self._descriptor is None and not self._open_next():
                return
            assert self._descriptor is not None
            data = os.read(self._descriptor, _CHUNK)
            if data:
                lines = (self._rest + data).split(b"\n")
                self._rest = lines.pop()
                for raw in lines:
                    parsed = parse_line(raw)
                    if parsed is not None:
                        yield parsed
                continue
            if not self._pending and not self._was_rotated():
                return
            os.close(self._descriptor)
            self._descriptor = None
            self._rest = b""
            if not self._pending:
                self._pending = deque(self._newer_files())

    def _open_next(self) -> bool:
        if not self._pending:
            self._pending = deque([self._path] if self._path.exists() else [])
        while self._pending:
            try:
                self._descriptor = os.open(self._pending.popleft(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            self._inode = os.fstat(self._descriptor).st_ino
            return True
        return False

    _inode: int = 0

    def _was_rotated(self) -> bool:
        """Tell whether the file that we have read to its end is no longer the newest."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def _newer_files(self) -> list[Path]:
        """Return the files after the one just read; when it has been removed by rotation, all that are left."""
        files = log_files(self._path)
        for index, path in enumerate(files):
            try:
                if path.stat().st_ino == self._inode:
                    return files[index + 1 :]
            except FileNotFoundError:
                continue
        return files

    def close(self) -> None:
        """Free the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def render(line: LogLine, *, with_timestamp: bool, continues: bool) -> bytes:
    """Return the bytes that a client sees; a timestamp stands only in front of a line's first part."""
    if with_timestamp and not continues:
        return line.timestamp + b" " + line.text
    return line.text


def select(lines: Iterator[LogLine], since: datetime | None, tail: int | None) -> list[LogLine] | Iterator[LogLine]:
    """Return the lines at or after `since`, and of these the last `tail` whole ones."""
    wanted = lines if since is None else _after(lines, since)
    if tail is None:
        return wanted
    if tail == 0:
        for _ in wanted:
            pass
        return []
    whole: deque[list[LogLine]] = deque(maxlen=tail)
    is_open = False
    for line in wanted:
        if is_open and whole:
            whole[-1].append(line)
        else:
            whole.append([line])
        is_open = line.is_partial
    return [part for group in whole for part in group]


def _after(lines: Iterator[LogLine], since: datetime) -> Iterator[LogLine]:
    for line in lines:
        moment = moment_of(line)
        if moment is None or moment >= since:
            yield line
