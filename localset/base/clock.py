"""The one door to time.

Everything that waits or stamps takes a `Clock`, so that tests can move time by hand and a laptop's sleep can be seen.
Monotonic seconds are for durations, wall time only for display (reliability.md mistakes 9: a wall clock that jumps must
change nothing but displayed times).
"""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio  # NB: only here; the command line tells the time too, and must not pay for an event loop


class Clock(Protocol):
    """Source of time and of waiting."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""
        ...

    def now(self) -> datetime:
        """Return the wall time, timezone-aware, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of monotonic time."""
        ...


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        import asyncio

        await asyncio.sleep(seconds)


class ManualClock:
    """Virtual time for tests: stands still until `advance`."""

    def __init__(self, start: datetime | None = None) -> None:
        """Start at `start` (default 2026-01-01T00:00:00Z)."""
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Return virtual seconds since the start."""
        return self._elapsed

    def now(self) -> datetime:
        """Return the virtual wall time."""
        return datetime.fromtimestamp(self._start.timestamp() + self._elapsed, UTC)

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has passed the due time."""
        import asyncio

        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._elapsed + seconds, future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    def next_due(self) -> float | None:
        """Return the virtual time of the earliest sleeper, or None."""
        return min((due for due, _ in self._sleepers), default=None)

    async def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers in order of their due time."""
        import asyncio

        target = self._elapsed + seconds
        while True:
            due = self.next_due()
            if due is None or due > target:
                break
            self._elapsed = max(self._elapsed, due)
            for entry in [e for e in self._sleepers if e[0] <= self._elapsed]:
                self._sleepers.remove(entry)
                if not entry[1].done():
                    entry[1].set_result(None)
            for _ in range(20):
                await asyncio.sleep(0)
        self._elapsed = target


def rfc3339(moment: datetime) -> str:
    """Return `moment` as Kubernetes writes metav1.Time: UTC, whole seconds, `Z`."""
    return _whole_seconds(moment.astimezone(UTC).replace(microsecond=0))


@lru_cache(maxsize=16)  # an object holds the same second half a dozen times, and so do those made with it
def _whole_seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """Return `moment` as metav1.MicroTime: UTC, six digits, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """Return the moment that `text` names; raises ValueError."""
    return datetime.fromisoformat(text)
