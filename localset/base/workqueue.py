"""A queue of keys as client-go's workqueue: deduplicated, one worker per key at a time, with delays and back-off.

Queues carry keys, never events (design 1): a key that is added while it is worked on is worked on once more afterwards.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from localset.base.clock import Clock
from localset.base.tasks import Tasks

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

BASE_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 1000.0


class WorkQueue(Generic[K]):
    """Keys waiting to be worked on. Source: client-go util/workqueue (5 ms doubling, cap 1000 s)."""

    def __init__(self, name: str, clock: Clock) -> None:
        """Make an empty queue; `name` appears in logs."""
        self.name = name
        self._clock = clock
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._wakeup = asyncio.Event()
        self._tasks = Tasks(f"workqueue {name}")

    def add(self, key: K) -> None:
        """Ask for work on `key`; a no-op while it already waits."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wakeup.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for work on `key` in `seconds`; an earlier pending request stays."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._tasks.spawn(self._add_later(key, due, seconds), f"{key}")

    async def _add_later(self, key: K, due: float, seconds: float) -> None:
        await self._clock.sleep(seconds)
        if self._due.get(key) == due:
            del self._due[key]
            self.add(key)

    def retry(self, key: K) -> float:
        """Ask for work after a back-off that doubles with each failure; return the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BASE_DELAY_SECONDS * 2.0 ** min(failures, 30), MAX_DELAY_SECONDS)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Reset the back-off of `key` after a success."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for the next key and mark it as being worked on."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Say that the work on `key` has ended; it is queued again if it was added meanwhile."""
        self._working.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wakeup.set()

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits or is worked on (delayed keys aside)."""
        return not self._ready and not self._working and not self._dirty

    async def run(self, sync: Callable[[K], Awaitable[None]]) -> None:
        """Work for ever: call `sync(key)`; an exception is logged and the key retried with back-off."""
        while True:
            key = await self.get()
            try:
                await sync(key)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                delay = self.retry(key)
                log.warning(
                    "%s %s: %s; again in %.3f s", self.name, key, error, delay, exc_info=log.isEnabledFor(logging.DEBUG)
                )
            else:
                self.forget(key)
            finally:
                self.done(key)

    async def aclose(self) -> None:
        """Drop delayed keys and end the queue's own tasks."""
        await self._tasks.aclose()
