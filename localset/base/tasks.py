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


class Tasks:
    """A named set of running tasks that ends together."""

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
