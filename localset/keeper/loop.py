"""The keeper's event loop: one thread, descriptors and timers, nothing that blocks.

epoll where there is one (edge-triggered for log pipes whose unfinished line stays in the pipe), poll elsewhere. Never
asyncio: it would double the keeper's memory.
"""

import heapq
import os
import select
import sys
import time
from collections.abc import Callable

Callback = Callable[[], None]


class Timer:
    """A call that is due; `cancel` makes it nothing."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback | None) -> None:
        """Hold the call."""
        self.due = due
        self.callback = callback

    def __lt__(self, other: "Timer") -> bool:
        """Order by due time."""
        return self.due < other.due

    def cancel(self) -> None:
        """Never call."""
        self.callback = None


class Loop:
    """Calls back when descriptors are ready or time has come. Errors in callbacks are logged and end nothing."""

    def __init__(self) -> None:
        """Make an empty loop."""
        self._epoll = select.epoll() if sys.platform == "linux" else None
        self._poll = None if self._epoll is not None else select.poll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._edge: set[int] = set()
        self._timers: list[Timer] = []
        self._soon: list[Callback] = []
        self.is_stopped = False

    def add_reader(self, descriptor: int, callback: Callback, *, edge: bool = False) -> None:
        """Call `callback` when `descriptor` can be read, has ended or failed."""
        was_known = descriptor in self._readers or descriptor in self._writers
        self._readers[descriptor] = callback
        if edge:
            self._edge.add(descriptor)
        self._update(descriptor, was_known=was_known)

    def add_writer(self, descriptor: int, callback: Callback) -> None:
        """Call `callback` when `descriptor` can be written."""
        was_known = descriptor in self._readers or descriptor in self._writers
        self._writers[descriptor] = callback
        self._update(descriptor, was_known=was_known)

    def remove_reader(self, descriptor: int) -> None:
        """Stop watching for data; room is still watched for where it was."""
        if self._readers.pop(descriptor, None) is not None:
            self._update(descriptor, was_known=True)

    def remove_writer(self, descriptor: int) -> None:
        """Stop watching for room."""
        if self._writers.pop(descriptor, None) is not None:
            self._update(descriptor, was_known=True)

    def remove(self, descriptor: int) -> None:
        """Stop watching. To be called before the descriptor is closed."""
        known = self._readers.pop(descriptor, None) is not None
        known = (self._writers.pop(descriptor, None) is not None) or known
        self._edge.discard(descriptor)
        if known:
            self._update(descriptor, was_known=True)

    def _update(self, descriptor: int, *, was_known: bool) -> None:
        wants = (1 if descriptor in self._readers else 0) | (4 if descriptor in self._writers else 0)  # POLLIN, POLLOUT
        poller = self._epoll or self._poll
        assert poller is not None
        if not wants:
            poller.unregister(descriptor)
            return
        if self._epoll is not None and descriptor in self._edge:
            wants |= select.EPOLLET
        if was_known:
            poller.modify(descriptor, wants)
        else:
            poller.register(descriptor, wants)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call once after `seconds`."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, callback: Callback) -> None:
        """Call in the next round."""
        self._soon.append(callback)

    def run(self) -> None:
        """Work until `is_stopped`."""
        while not self.is_stopped:
            self._round()

    def _round(self) -> None:
        timeout = 3600.0
        if self._soon:
            timeout = 0.0
        elif self._timers:
            timeout = max(0.0, self._timers[0].due - time.monotonic())
        try:
            if self._epoll is not None:
                ready = self._epoll.poll(timeout)
            else:
                assert self._poll is not None
                ready = self._poll.poll(timeout * 1000)
        except InterruptedError:
            ready = []
        soon, self._soon = self._soon, []
        for callback in soon:
            self._call(callback)
        for descriptor, mask in ready:
            if mask & ~4 and (reader := self._readers.get(descriptor)) is not None:
                self._call(reader)
            if mask & ~1 and (writer := self._writers.get(descriptor)) is not None:
                self._call(writer)
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self._call(timer.callback)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - the keeper outlives its own faults; the log has them
            import traceback  # half a megabyte that a healthy keeper never needs

            say(traceback.format_exc())

    def close_in_child(self) -> None:
        """Let go of the poller in a forked child; the registrations belong to the parent."""
        if self._epoll is not None:
            self._epoll.close()


def say(text: str) -> None:
    """Write a line to the keeper's log, which is its stderr."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        os.write(2, f"{stamp} keeper[{os.getpid()}] {text.rstrip()}\n".encode())
    except OSError:
        return


def failpoint(name: str) -> None:
    """Kill ourselves when LOCALSET_FAILPOINT names this point (`name` or `name:n` for the n-th passage). For tests."""
    wanted = os.environ.get("LOCALSET_FAILPOINT", "")
    if not wanted.startswith(name):
        return
    at, _, count = wanted.partition(":")
    if at != name:
        return
    _passages[name] = _passages.get(name, 0) + 1
    if _passages[name] == int(count or 1):
        os.kill(os.getpid(), 9)


_passages: dict[str, int] = {}
