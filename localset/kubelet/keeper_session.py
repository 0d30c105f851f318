"""`PipeSession`: an `ExecSession` over descriptors that the keeper passed: three pipes, or a terminal's master side."""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncGenerator, Callable

from localset.base.frozen import frozen

_CHUNK = 32 << 10
_QUEUE = 64


@frozen
class Attached:
    """What a session on a container's own process has: a terminal to resize, a stdin to write to."""

    has_terminal: bool
    has_stdin: bool
    on_stdin_end: Callable[[], None]


class PipeSession:
    """Reads and writes without blocking the loop; stops reading while nobody takes the output."""

    def __init__(
        self,
        leave: Callable[[], None],
        *,
        is_terminal: bool,
        attached: Attached | None = None,
    ) -> None:
        """`leave` asks the keeper to end the command, or to detach; an attached session ends with its output."""
        self._leave = leave
        self._attached = attached
        self._is_terminal = is_terminal
        self._stdin_is_terminal = is_terminal or (attached is not None and attached.has_terminal)
        self._stdin = -1
        self._readers: dict[int, int] = {}
        self._queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._paused: set[int] = set()
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._is_closed = False

    def connect(self, descriptors: list[int], *, has_stdin: bool) -> None:
        """Take the descriptors: [terminal], or [stdin if any, stdout, stderr]."""
        if self._is_terminal:
            self._stdin = os.dup(descriptors[0])
            self._readers = {descriptors[0]: 1}
        else:
            rest = list(descriptors)
            if has_stdin:
                self._stdin = rest.pop(0)
            self._readers = {rest[0]: 1, rest[1]: 2}
        loop = asyncio.get_running_loop()
        for number in self._readers:
            os.set_blocking(number, False)
            loop.add_reader(number, self._read, number)
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)

    def _read(self, number: int) -> None:
        try:
            data = os.read(number, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal's last holder has gone
            data = b""
        loop = asyncio.get_running_loop()
        if data:
            self._queue.put_nowait((self._readers[number], data))
            if self._queue.qsize() >= _QUEUE:
                loop.remove_reader(number)
                self._paused.add(number)
            return
        self._end_of(number)

    def _end_of(self, number: int) -> None:
        asyncio.get_running_loop().remove_reader(number)
        self._readers.pop(number)
        self._paused.discard(number)
        os.close(number)
        if not self._readers:
            self._queue.put_nowait(None)
            if self._attached is not None and not self._code.done():
                self._code.set_result(0)

    def ended(self, code: int | None, error: str) -> None:
        """Take the exit code from the keeper; None when it will never be known."""
        if error:
            self._queue.put_nowait((1 if self._is_terminal else 2, f"{error}\n".encode()))
        if not self._code.done():
            self._code.set_result(137 if code is None else code)

    async def write(self, data: bytes) -> None:
        """Send to stdin; BrokenPipeError when the command no longer reads."""
        if self._attached is not None and not self._attached.has_stdin:
            return
        view = memoryview(data)
        while view and self._stdin >= 0:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        number = self._stdin
        loop.add_writer(number, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_writer(number)

    async def close_stdin(self) -> None:
        """End of file; on a terminal its end-of-file character."""
        if self._stdin < 0 or (self._attached is not None and not self._attached.has_stdin):
            return
        if self._stdin_is_terminal:
            with contextlib.suppress(OSError):
                os.write(self._stdin, b"\x04")
            return
        os.close(self._stdin)
        self._stdin = -1
        if self._attached is not None:
            self._attached.on_stdin_end()

    async def output(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield (1 or 2, bytes) until both streams have ended."""
        while (item := await self._queue.get()) is not None:
            if self._paused and self._queue.qsize() < _QUEUE // 2:
                loop = asyncio.get_running_loop()
                for number in self._paused:
                    loop.add_reader(number, self._read, number)
                self._paused.clear()
            yield item

    async def resize(self, columns: int, rows: int) -> None:
        """Set the terminal's size."""
        if self._stdin_is_terminal and self._stdin >= 0:
            import fcntl
            import termios

            with contextlib.suppress(OSError):
                fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def wait(self) -> int:
        """Return the exit code; 126 or 127 when it could not start."""
        return await asyncio.shield(self._code)

    async def aclose(self) -> None:
        """Kill what still runs and free the descriptors."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._attached is not None or not self._code.done():
            self._leave()
        loop = asyncio.get_running_loop()
        for number in list(self._readers):
            loop.remove_reader(number)
            os.close(number)
        self._readers.clear()
        self._queue.put_nowait(None)
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
