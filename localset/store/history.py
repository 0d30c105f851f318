"""The watch window: the last changes of each resource, and those who wait for more.

A watcher holds a position in the window, never a buffer: one that is so slow that its position has fallen out of the
window is cut with ExpiredError and lists anew, so memory stays bounded whatever clients do. The store writes, on the
event loop, after each commit.
"""

import asyncio
from collections.abc import AsyncGenerator

from localset.store.records import Change, ChangeKind, ExpiredError

MAX_CHANGES = 4096
MAX_BYTES = 4 * 1024 * 1024
PARSED_CHANGES = 64
"""So many of the newest changes keep their parsed objects; older ones keep only bytes, packed once superseded."""


class History:
    """The changes of one resource after revision `floor`, oldest first."""

    def __init__(self, floor: int, max_changes: int = MAX_CHANGES, max_bytes: int = MAX_BYTES) -> None:
        """Hold nothing yet; `floor` is the newest revision whose later changes are all held."""
        self.floor = floor
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._changes: list[Change] = []
        self._start = 0  # the position of _changes[0], counted since the store was opened
        self._trimmed = 0  # leading entries of _changes that are already out of the window
        self._bytes = 0
        self._dictionary = b""
        self._waiters: set[asyncio.Future[None]] = set()

    def append(self, change: Change) -> None:
        """Take one committed change and wake all watchers."""
        self._changes.append(change)
        self._bytes += change.record.size
        if len(self._changes) - self._trimmed > PARSED_CHANGES:
            self._compact(self._changes[-PARSED_CHANGES - 1])
        while self._is_over_limit():
            self._drop_oldest()
        if self._trimmed > self._max_changes // 4:
            del self._changes[: self._trimmed]
            self._start += self._trimmed
            self._trimmed = 0
        self.wake()

    def wake(self) -> None:
        """Let every watcher look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _is_over_limit(self) -> bool:
        held = len(self._changes) - self._trimmed
        return held > self._max_changes or (self._bytes > self._max_bytes and held > PARSED_CHANGES)

    def _drop_oldest(self) -> None:
        oldest = self._changes[self._trimmed]
        self._bytes -= oldest.record.size
        self.floor = oldest.record.revision
        self._trimmed += 1

    def _compact(self, change: Change) -> None:
        past = [change.previous] if change.previous is not None else []  # superseded by this very change
        if change.kind is ChangeKind.DELETED:
            past.append(change.record)
        if not self._dictionary:
            self._dictionary = change.record.data
        for record in past:
            before = record.size
            record.pack(self._dictionary)
            if record.revision > self.floor:
                self._bytes += record.size - before
        before = change.record.size
        change.record.rest(self._dictionary)
        self._bytes += change.record.size - before

    def position_after(self, revision: int) -> int:
        """Return the position of the first change after `revision`; ExpiredError when some are no longer held."""
        if revision < self.floor:
            raise ExpiredError(f"too old resource version: {revision} ({self.floor})")
        low, high = self._trimmed, len(self._changes)
        while low < high:
            middle = (low + high) // 2
            if self._changes[middle].record.revision <= revision:
                low = middle + 1
            else:
                high = middle
        return self._start + low

    async def changes_from(self, position: int) -> AsyncGenerator[Change, None]:
        """Yield changes from `position` on, for ever; ExpiredError for a reader that fell out of the window."""
        while True:
            while position < self._start + len(self._changes):
                if position < self._start + self._trimmed:
                    raise ExpiredError(f"too old resource version: the watch was too slow ({self.floor})")
                yield self._changes[position - self._start]
                position += 1
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
