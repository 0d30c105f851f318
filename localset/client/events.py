"""Recording Kubernetes Events.

`EventRecorder.event` returns at once; one task of the recorder writes. Repeats are merged into one object whose count
grows, many similar ones are combined, and an object that causes a flood is throttled (client-go tools/record,
events_cache.go).
An event that cannot be written is dropped with a log line: events never hold up or fail the work they tell of.
"""

import asyncio
import logging
from collections import deque
from typing import TypeVar

from localset.base.clock import Clock, rfc3339
from localset.base.tasks import Tasks
from localset.client.client import Client, PatchType
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of, version_of

log = logging.getLogger(__name__)

MAX_CACHED = 4096
SIMILAR_LIMIT = 10
SIMILAR_WINDOW_SECONDS = 600.0
BURST = 25.0
REFILL_SECONDS = 300.0
MESSAGE_LIMIT_BYTES = 1024
FLUSH_SECONDS = 2.0

_Value = TypeVar("_Value")
_Key = int  # the hash of what makes events alike: thousands are remembered, and a collision only merges two of them


_Similar = tuple[float, ...]
"""Events that differ only in their message: since when (monotonic seconds), then the hashes of which messages."""


class EventRecorder:
    """Writes Events as `component` (`statefulset-controller`); `host` is the node's name for the kubelet."""

    def __init__(self, client: Client, clock: Clock, component: str, host: str = "") -> None:
        """Make a recorder; its task starts with the first event."""
        self._client = client
        self._clock = clock
        self._component = component
        self._host = host
        self._queue: deque[Object] = deque()
        # Plain dicts in order of use: half of an OrderedDict's size, and there is an entry for each of a Pod's events.
        self._written: dict[_Key, tuple[str, str, int]] = {}
        self._similar: dict[_Key, _Similar] = {}
        self._full_at: dict[_Key, float] = {}
        self._serial = 0
        self._wakeup = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks = Tasks(f"events of {component}")
        self._is_closed = False

    def event(self, obj: Object, event_type: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Record that `reason` happened to `obj`; `event_type` is Normal or Warning. Never fails, never waits."""
        if self._is_closed:
            return
        involved = {
            "kind": obj.get("kind", ""),
            "namespace": namespace_of(obj),
            "name": name_of(obj),
            "uid": uid_of(obj),
            "apiVersion": obj.get("apiVersion", ""),
            "resourceVersion": version_of(obj),
            "fieldPath": field_path,
        }
        message = message.encode()[:MESSAGE_LIMIT_BYTES].decode(errors="ignore")
        similar_key = (involved["uid"], involved["kind"], involved["namespace"], involved["name"], event_type, reason)
        message, is_combined = self._combine(hash(similar_key), message)
        if not self._has_token(hash(similar_key[:4])):
            log.debug("event of %s dropped, too many: %s %s", name_of(obj), reason, message)
            return
        merge_key = hash((*similar_key, field_path, "" if is_combined else message))
        entry = {"key": merge_key, "involved": involved, "type": event_type, "reason": reason, "message": message}
        self._queue.append({**entry, "at": self._clock.now()})
        self._idle.clear()
        self._wakeup.set()
        if not len(self._tasks):
            self._tasks.spawn(self._write_all(), "write")

    async def aclose(self) -> None:
        """Write what waits (for at most two seconds), then stop."""
        self._is_closed = True
        if len(self._tasks):
            try:
                await asyncio.wait_for(self._idle.wait(), FLUSH_SECONDS)
            except TimeoutError:
                log.warning("%d events were not written", len(self._queue))
        await self._tasks.aclose()

    def _combine(self, key: _Key, message: str) -> tuple[str, bool]:
        now = self._clock.monotonic()
        since, *messages = self._similar.get(key) or (now,)
        if now - since > SIMILAR_WINDOW_SECONDS:
            since, messages = now, []
        if len(messages) <= SIMILAR_LIMIT and hash(message) not in messages:
            messages.append(hash(message))
        _remember(self._similar, key, (since, *messages))
        if len(messages) <= SIMILAR_LIMIT:
            return message, False
        return f"(combined from similar events): {message}", True

    def _has_token(self, key: _Key) -> bool:
        """Take one of BURST tokens, each of which comes back after REFILL_SECONDS; kept is when all will be there."""
        now = self._clock.monotonic()
        full_at = max(self._full_at.get(key, now), now)
        has_one = full_at - now <= (BURST - 1) * REFILL_SECONDS
        _remember(self._full_at, key, full_at + REFILL_SECONDS if has_one else full_at)
        return has_one

    async def _write_all(self) -> None:
        while True:
            while self._queue:
                entry = self._queue[0]
                try:
                    await self._write(entry)
                except (StatusError, OSError) as error:
                    # NB: an object in a namespace that is ending gets no more events: 403 and 404 are ordinary here.
                    log.debug("event %s not written: %s", entry["message"], error)
                self._queue.popleft()
            self._idle.set()
            self._wakeup.clear()
            await self._wakeup.wait()

    async def _write(self, entry: Object) -> None:
        known = self._written.get(entry["key"])
        stamp = rfc3339(entry["at"])
        if known is not None:
            namespace, name, count = known
            patch = {"count": count + 1, "lastTimestamp": stamp, "message": entry["message"]}
            try:
                await self._client.patch("events", namespace, name, patch, PatchType.MERGE)
            except StatusError as error:
                if error.code != 404:
                    raise
                del self._written[entry["key"]]
            else:
                _remember(self._written, entry["key"], (namespace, name, count + 1))
                return
        created = await self._client.create("events", self._new_event(entry, stamp))
        _remember(self._written, entry["key"], (namespace_of(created), name_of(created), 1))

    def _new_event(self, entry: Object, stamp: str) -> Object:
        involved = {k: v for k, v in entry["involved"].items() if v}
        namespace = involved.get("namespace") or "default"
        self._serial += 1
        moment = int(entry["at"].timestamp() * 1_000_000) * 1000 + self._serial % 1000
        source = {"component": self._component}
        if self._host:
            source["host"] = self._host
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{involved.get('name', '')[:230]}.{moment:x}", "namespace": namespace},
            "involvedObject": involved,
            "reason": entry["reason"],
            "message": entry["message"],
            "source": source,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "type": entry["type"],
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }


def _remember(cache: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    cache.pop(key, None)
    cache[key] = value
    while len(cache) > MAX_CACHED:
        del cache[next(iter(cache))]
