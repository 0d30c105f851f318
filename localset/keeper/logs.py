"""From a child's FIFOs to its log file: tee, write, then consume, so that no kill loses a byte (reliability M6).

Lines are CRI's: `TIMESTAMP stdout F text`, cut at 16 KiB into `P` parts. An unfinished line stays in the FIFO until its
end comes, the FIFO is full, or the process is over. When the disk refuses, nothing is consumed: the child waits.
Both ends hold the FIFO open for reading and writing: neither a keeper's death nor `exec >&-` ends it or makes it spin.
"""

import contextlib
import os
import select
import sys
import time
from typing import Protocol

from localset.keeper import linux
from localset.keeper.loop import Loop, Timer, failpoint, say

LINE_LIMIT = 16 << 10
_CHUNK = 64 << 10
_ROTATE_BYTES = 10 << 20
_FILES = 5
EARLY_LIMIT = 64 * 1024
_ROUNDS = 4
_RETRY_SECONDS = 1.0


class Listener(Protocol):
    """Whoever gets a copy of the output."""

    def is_blocked(self, number: int) -> bool:
        """Tell whether the stream must wait for it."""
        ...

    def take(self, number: int, data: bytes) -> None:
        """Take output of the stream `number`; never blocks."""
        ...


class LogFile:
    """One container's log: appended whole lines, rotated at 10 MiB, five files in all."""

    def __init__(self, path: str, rotate_bytes: int = _ROTATE_BYTES) -> None:
        """Open `path`; what a kill left of a line is cut off (its bytes are still in the FIFO)."""
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._descriptor = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        while self._size:
            start = max(0, self._size - _CHUNK)
            tail = os.pread(self._descriptor, self._size - start, start)
            end = start + tail.rfind(b"\n") + 1
            if end == self._size:
                break
            os.ftruncate(self._descriptor, end)
            self._size = end
            if end > start:
                break

    def append(self, data: bytes) -> None:
        """Write whole lines; OSError leaves the file as it was."""
        if self._descriptor < 0:
            self._open()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:] if written else data)
        except OSError:
            if written:
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)
        if self._size >= self._rotate_bytes:
            self._rotate()

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        for number in range(_FILES - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, f"{self._path}.{number}")
        self._open()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def timestamp(nanoseconds: int) -> bytes:
    """Return RFC 3339 with nine digits, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z".encode()


def format_lines(data: bytes, stream: bytes, nanoseconds: int, *, is_last: bool) -> tuple[bytes, int]:
    """Return CRI lines and how many bytes of `data` they hold.

    A tail without a newline is left over, but for whole parts of 16 KiB; `is_last` takes it too.
    """
    prefix = timestamp(nanoseconds) + b" " + stream
    full, part = prefix + b" F ", prefix + b" P "
    end = data.rfind(b"\n") + 1
    output: list[bytes] = []
    for line in data[:end].splitlines(keepends=True) if b"\r" not in data else _split(data[:end]):
        text = line
        while len(text) > LINE_LIMIT + 1:
            output.append(part + text[:LINE_LIMIT] + b"\n")
            text = text[LINE_LIMIT:]
        output.append(full + text)
    rest = data[end:]
    while len(rest) >= LINE_LIMIT:
        output.append(part + rest[:LINE_LIMIT] + b"\n")
        rest = rest[LINE_LIMIT:]
        end += LINE_LIMIT
    if is_last and rest:
        output.append(full + rest + b"\n")
        end += len(rest)
    return b"".join(output), end


def _split(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


class Pump:
    """Moves one stream (a FIFO, or a terminal's master side) to the log file and to whoever is attached."""

    _scratch: tuple[int, int] | None = None

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        file: LogFile,
        number: int,
        *,
        is_terminal: bool = False,
        is_awaited: bool = False,
    ) -> None:
        """Watch `descriptor`, which the pump owns; `number` is 1 for stdout, 2 for stderr.

        `is_awaited`: the process is one that a client starts in order to attach to it; what it says before that is kept
        for the client, as far as `EARLY_LIMIT` goes.
        """
        self._loop = loop
        self.descriptor = descriptor
        self._file = file
        self.number = number
        self._stream = b"stdout" if number == 1 else b"stderr"
        self._by_tee = sys.platform == "linux" and not is_terminal
        self._held = b""  # bytes read and not yet written, where there is no tee
        self._seen = 0  # bytes of the FIFO that attached clients have already got
        self._timer: Timer | None = None
        self._closed = False
        self.listeners: list[Listener] = []
        self._early: bytearray | None = bytearray() if is_awaited else None
        loop.add_reader(descriptor, self._work, edge=self._by_tee)
        loop.call_soon(self._work)

    @classmethod
    def scratch(cls) -> tuple[int, int]:
        """Return the pipe that all pumps copy through; empty between calls."""
        if cls._scratch is None:
            cls._scratch = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()
        return cls._scratch

    def resume(self) -> None:
        """Go on: a listener that held the stream no longer does."""
        self._loop.call_soon(self._work)

    def unfinished(self) -> bytes:
        """Return what has come of a line that has no end yet, a prompt for one."""
        return self._held[-LINE_LIMIT:]

    def take_early(self) -> bytes | None:
        """Return what was said before the first client attached; None when nobody was awaited, or one has come."""
        early, self._early = self._early, None
        return bytes(early) if early is not None else None

    def _keep_early(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data[: EARLY_LIMIT - len(self._early)]

    def _work(self) -> None:
        if self._closed or any(listener.is_blocked(self.number) for listener in self.listeners):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            for _ in range(_ROUNDS):
                if not self._move(is_last=False):
                    return
                if any(listener.is_blocked(self.number) for listener in self.listeners):
                    return
        except OSError as error:
            say(f"log {self._stream.decode()}: {error}")
            self._again(_RETRY_SECONDS)
            return
        self._loop.call_soon(self._work)

    def _again(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._work)

    def _move(self, *, is_last: bool) -> bool:
        """Move one chunk; return whether more may be there."""
        if not self._by_tee:
            return self._read_and_write(is_last=is_last)
        data = self._peek()
        if not data:
            return False
        is_stuck = is_last or self._is_full()
        output, length = format_lines(data, self._stream, time.time_ns(), is_last=is_stuck)
        if is_stuck and not is_last:
            output = _unfinish(output, data)
        self._tell(data)
        if not length:
            self._again(_RETRY_SECONDS)  # kernels before 5.14 may not wake us for a FIFO that is not empty
            return False
        self._file.append(output)
        failpoint("log-before-consume")
        left = length
        while left:
            left -= len(os.read(self.descriptor, left))
        self._seen = max(0, self._seen - length)
        return True

    def _peek(self) -> bytes:
        reading, writing = self.scratch()
        try:
            count = linux.tee(self.descriptor, writing, _CHUNK)
        except BlockingIOError:
            return b""
        data = b""
        while len(data) < count:
            data += os.read(reading, count - len(data))
        return data

    def _is_full(self) -> bool:
        poller = select.poll()
        poller.register(self.descriptor, select.POLLOUT)
        return not any(mask & select.POLLOUT for _, mask in poller.poll(0))

    def _tell(self, data: bytes) -> None:
        fresh = data[self._seen :]
        self._seen = len(data)
        if fresh:
            self._keep_early(fresh)
            for listener in list(self.listeners):
                listener.take(self.number, fresh)

    def _read_and_write(self, *, is_last: bool) -> bool:
        try:
            data = os.read(self.descriptor, _CHUNK) if len(self._held) < 2 * LINE_LIMIT else b""
        except BlockingIOError:
            data = b""
        except OSError:  # EIO: the last holder of the terminal's other side has gone
            data = b""
            self._loop.remove(self.descriptor)
        self._keep_early(data)
        for listener in list(self.listeners):
            if data:
                listener.take(self.number, data)
        self._held += data
        output, length = format_lines(self._held, self._stream, time.time_ns(), is_last=is_last)
        if output:
            self._file.append(output)
            self._held = self._held[length:]
        return bool(data)

    def finish(self) -> None:
        """Take what is left, unfinished line included, and close. Blocks on nothing; a full disk loses it."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            while self._move(is_last=False):
                pass
            while self._move(is_last=True):
                pass
        except OSError as error:
            say(f"log {self._stream.decode()}: the end of the output is lost: {error}")
        self.close()

    def close(self) -> None:
        """Stop watching and close."""
        self._closed = True
        self._loop.remove(self.descriptor)
        os.close(self.descriptor)


def _unfinish(output: bytes, data: bytes) -> bytes:
    """Mark the last line as a part: the FIFO was full in the middle of it."""
    if data.endswith(b"\n"):
        return output
    at = output.rfind(b"\n", 0, len(output) - 1) + 1
    head = output[at:].split(b" ", 3)
    return output[:at] + b" ".join((head[0], head[1], b"P", head[3]))
