"""One client attached to a kept process: copies of its output, through pipes, and its stdin or terminal.

Made by `server`, fed by the pumps. A client that does not read holds the pump, and so the process, as a slow log would;
the daemon drops clients that stay slow, and the end of the daemon's connection ends them all. Whatever was pending when
the process ended still goes out. With `stdin_once` the end of an attached client is the end of the process's stdin.
"""

import os

from localset.keeper import streams
from localset.keeper.loop import Loop
from localset.keeper.record import Record


class Attachment:
    """The pipes of one client; `given` are the ends that go to it: [terminal or stdin if any, stdout, stderr]."""

    def __init__(self, loop: Loop, record: Record, *, stdin: bool) -> None:
        """Attach to `record`, which is not over."""
        self._loop = loop
        self._record = record
        self.given: list[int] = []
        opened = streams.open_input(record, stdin=stdin)
        self.has_input = opened is not None
        self.has_stdin = stdin and self.has_input
        if opened is not None:
            self.given.append(opened)
        self._ends: dict[int, int] = {}
        self._pending: dict[int, bytearray] = {}
        for number in (1, 2):
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            self._ends[number] = writing
            self._pending[number] = bytearray()
            self.given.append(reading)
        self._is_over = False
        record.attachments.append(self)
        for pump in record.pumps:
            pump.listeners.append(self)
            early = pump.take_early()
            if early is not None:
                self.take(pump.number, early)
            elif record.spec.get("tty"):
                self.take(1, pump.unfinished())  # the prompt that waits for whoever comes

    def is_blocked(self, number: int) -> bool:
        """Tell whether the client has not yet taken what it was given of this stream."""
        return bool(self._pending[number])

    def take(self, number: int, data: bytes) -> None:
        """Give the client output; what does not fit waits, and `is_blocked` says so."""
        if number in self._ends and data:
            is_waiting = bool(self._pending[number])
            self._pending[number] += data
            if not is_waiting:
                self._flush(number)

    def _flush(self, number: int) -> None:
        pending, descriptor = self._pending[number], self._ends[number]
        was_waiting = False
        try:
            while pending:
                del pending[: os.write(descriptor, memoryview(pending)[: 1 << 16].tobytes())]
        except BlockingIOError:
            self._loop.add_writer(descriptor, lambda: self._drained(number))
            return
        except OSError:
            pending.clear()  # the client has closed this stream; its going is told by the server
            was_waiting = True
        self._loop.remove_writer(descriptor)
        if self._is_over or was_waiting:
            self._end(number)

    def _drained(self, number: int) -> None:
        self._flush(number)
        if not self._pending[number]:
            for pump in self._record.pumps:
                pump.resume()

    def _end(self, number: int) -> None:
        descriptor = self._ends.pop(number, -1)
        if descriptor >= 0:
            self._loop.remove(descriptor)
            os.close(descriptor)

    def finish(self) -> None:
        """The process is over: end each stream once the client has what is pending."""
        self._is_over = True
        for number in list(self._ends):
            if not self._pending[number]:
                self._end(number)

    def end_stdin(self) -> None:
        """The client has no more input: with `stdin_once` the process has none either."""
        if self.has_stdin and self._record.spec.get("stdin_once"):
            self.has_stdin = False
            streams.end_stdin(self._record)

    def close(self) -> None:
        """The client has gone."""
        self.end_stdin()
        for pending in self._pending.values():
            pending.clear()
        for number in list(self._ends):
            self._end(number)
        if self in self._record.attachments:
            self._record.attachments.remove(self)
        for pump in self._record.pumps:
            if self in pump.listeners:
                pump.listeners.remove(self)
                pump.resume()
