"""Events do not pile up: old ones go when new ones come.

Called after each create of an Event. Without timers, so that an idle house stays idle: what is too old is removed a
few at a time by the creates themselves.
"""

from collections import deque
from datetime import timedelta

from localset.base.clock import Clock, parse_rfc3339
from localset.machinery.metadata import Object
from localset.registry.settings import RegistrySettings
from localset.store.records import Key
from localset.store.store import Store

REMOVED_PER_CREATE = 8
RESOURCE = "events"


class EventExpiry:
    """The Events in order of age."""

    def __init__(self, store: Store, clock: Clock, settings: RegistrySettings) -> None:
        """Sort what is stored by age."""
        self._store = store
        self._clock = clock
        self._settings = settings
        stored = sorted((_last_seen(record.object), key) for key, record in store.records(RESOURCE))
        self._queue = deque(key for _, key in stored)

    def created(self, key: Key) -> list[Key]:
        """Take note of a new Event; return those that should be removed now."""
        self._queue.append(key)
        cutoff = self._clock.now() - timedelta(seconds=self._settings.event_ttl_seconds)
        doomed: list[Key] = []
        for _ in range(min(REMOVED_PER_CREATE, len(self._queue) - 1)):
            oldest = self._queue[0]
            record = self._store.get(oldest)
            if record is None:
                self._queue.popleft()
                continue
            is_old = _moment(_last_seen(record.object), cutoff.timestamp()) < cutoff.timestamp()
            is_too_many = self._store.count(RESOURCE) - len(doomed) > self._settings.max_events
            if is_old or is_too_many:
                self._queue.popleft()
                doomed.append(oldest)
            elif _last_seen(record.object) > str(record.object["metadata"].get("creationTimestamp") or ""):
                self._queue.rotate(-1)  # repeated since: as young as its last sight
            else:
                break
        return doomed


def _last_seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp") or "")


def _moment(text: str, default: float) -> float:
    try:
        return parse_rfc3339(text).timestamp()
    except ValueError:
        return default
