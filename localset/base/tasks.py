"""Every task has an owner.

A `Tasks` keeps strong references, names its tasks, reports what crashes and cancels all on `aclose`.
asyncio.create_task is
banned elsewhere: a task without an owner is lost silently and outlives its test.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Signal:
    """An event with one waiter, a tenth of asyncio.Event's size: there is one for each Pod."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        """Start unset."""
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiter, now or when it comes."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def is_set(self) -> bool:
        """Tell whether it was set since the last `clear`."""
        return self._is_set

    def clear(self) -> None:
        """Unset."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set. RuntimeError for a second waiter."""
        if self._is_set:
            return
        if self._waiter is not None:
            raise RuntimeError("a Signal has one waiter")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Tasks:
    """A named set of running tasks that ends together."""

    __slots__ = (
        "_closed",
        "_tasks",
        "name",
    )

    def __init__(self, name: str) -> None:
        """Name the owner; the name appears in logs."""
        self.name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start `coroutine` as a task of this owner. After `aclose` it is refused: RuntimeError."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"{self.name} is closed")
        task = asyncio.create_task(coroutine, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def __len__(self) -> int:
        """Return how many tasks still run."""
        return len(self._tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s crashed", task.get_name(), exc_info=error)

    async def aclose(self) -> None:
        """Cancel all tasks and wait until each has ended. Idempotent."""
        self._closed = True
        current = asyncio.current_task()
        while pending := [task for task in self._tasks if task is not current]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending)
