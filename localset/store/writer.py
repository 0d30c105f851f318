"""How operations reach the database: in batches, in order, off the event loop.

A `ThreadWriter` owns the connection's thread: what arrives while one commit is being synced goes into the next one
(group commit). An `InlineWriter` commits on the loop itself and is for databases in memory only, where no sync can
stall it: the same code path, but deterministic, as simulations under virtual time need. The store calls them; nobody
else does.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from localset.store.records import Operation

Outcomes = list[Exception | None]
Commit = Callable[[list[Operation]], Outcomes]
Deliver = Callable[[list[Operation], Outcomes], None]

MAX_BATCH = 512
"""Operations in one commit: bounds the latency of the first in a flood."""


class Writer(Protocol):
    """Takes operations; calls `deliver` on the loop, batch after batch in order of submission."""

    def submit(self, operation: Operation) -> None:
        """Queue one operation; returns at once."""
        ...

    async def aclose(self) -> None:
        """Commit what is queued, run `close` in the writing thread and end."""
        ...


class ThreadWriter:
    """Commits in a thread of its own."""

    def __init__(self, commit: Commit, deliver: Deliver, close: Callable[[], None]) -> None:
        """Start the thread. `commit` and `close` run in it, `deliver` on the loop of the operations."""
        self._commit = commit
        self._deliver = deliver
        self._close = close
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._ended: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Queue one operation."""
        self._queue.put(operation)

    async def aclose(self) -> None:
        """Commit what is queued, close the database and end the thread. Idempotent."""
        if not self._thread.is_alive():
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._ended = lambda: _call(loop, ended.set)
        self._queue.put(None)
        await ended.wait()
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            if batch:
                outcomes = self._commit(batch)
                _call(batch[0].future.get_loop(), partial(self._deliver, batch, outcomes))
        self._close()
        self._ended()

    def _next_batch(self) -> tuple[list[Operation], bool]:
        first = self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        with suppress(queue.Empty):
            while len(batch) < MAX_BATCH:
                operation = self._queue.get_nowait()
                if operation is None:
                    return batch, False
                batch.append(operation)
        return batch, True


class InlineWriter:
    """Commits on the loop, once per turn of it."""

    def __init__(self, commit: Commit, deliver: Deliver, close: Callable[[], None]) -> None:
        """Hold the same three hands as ThreadWriter."""
        self._commit = commit
        self._deliver = deliver
        self._close = close
        self._batch: list[Operation] = []
        self._is_closed = False

    def submit(self, operation: Operation) -> None:
        """Queue one operation for the next turn of the loop."""
        if not self._batch:
            operation.future.get_loop().call_soon(self._flush)
        self._batch.append(operation)

    async def aclose(self) -> None:
        """Commit what is queued and close the database. Idempotent."""
        self._flush()
        if not self._is_closed:
            self._is_closed = True
            self._close()

    def _flush(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._deliver(batch, self._commit(batch))


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call `function` on `loop`; a loop that was closed meanwhile has nobody left to tell."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
