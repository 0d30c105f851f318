"""Watch streams: headers at once, then one line per event, each flushed singly.

A watch has one queue: a pump puts the registry's events into it, a timer bookmarks and the end, shutdown puts None.
One loop empties it into the response, so that nothing is ever written from two sides. Facts: kube-api.md 6.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from enum import Enum, auto
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from localset.apis.scheme import encode
from localset.apiserver import presentation, responses
from localset.apiserver.house import HOUSE, House, end_stream
from localset.apiserver.negotiation import JSON, YAML, Answer
from localset.apiserver.options import ListOptions
from localset.apiserver.presentation import WatchPresenter
from localset.apiserver.routes import Match
from localset.base.tasks import Tasks
from localset.client.client import WatchEvent, WatchType
from localset.machinery.errors import StatusError
from localset.machinery.fields import parse_field_selector
from localset.machinery.labels import parse_selector
from localset.machinery.metadata import version_of

QUEUE_LENGTH = 256
BOOKMARK_SECONDS = 60.0
LAST_BOOKMARK_SECONDS = 2.0
WRITE_DEADLINE_SECONDS = 60.0
DEFAULT_MINUTES = 30
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


class _Signal(Enum):
    BOOKMARK = auto()
    ENDED = auto()


class _Failed(NamedTuple):
    error: StatusError


_Item = WatchEvent | _Signal | _Failed | None


class _Watch:
    """One stream to one client."""

    def __init__(
        self, house: House, match: Match, options: ListOptions, presenter: WatchPresenter, response: web.StreamResponse
    ) -> None:
        self._house = house
        self._match = match
        self._options = options
        self._presenter = presenter
        self._response = response
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(QUEUE_LENGTH)
        self._seen = options.resource_version

    async def run(self) -> None:
        """Write events until the time is up, the source fails, the client goes or the server ends."""
        tasks = Tasks(f"watch {self._match.resource.name}")
        self._house.open_streams.add(self._queue)
        self._house.registry.served.add_listener(self._on_served)
        try:
            if not await self._initial():
                return
            tasks.spawn(self._pump(), "pump")
            tasks.spawn(self._time(), "time")
            if not self._house.open_streams.is_ending:
                await self._follow()
        finally:
            self._house.open_streams.discard(self._queue)
            self._house.registry.served.remove_listener(self._on_served)
            await tasks.aclose()

    def _on_served(self) -> None:
        """End when the definition of a custom resource has gone or says something else: the client asks anew."""
        mine = self._match.resource.definition
        if mine is None:
            return
        row = self._house.registry.served.get(self._match.resource.name)
        now = row.definition if row is not None else None
        if now is None or (now.uid, now.generation) != (mine.uid, mine.generation):
            end_stream(self._queue)

    async def _initial(self) -> bool:
        """Write what exists, where it is asked for; False when that failed and was told."""
        is_streaming_list = bool(self._options.send_initial_events)
        if self._options.send_initial_events is None and self._options.resource_version not in {"", "0"}:
            return True
        try:
            listed = await self._house.registry.list(
                self._match.resource.name,
                self._match.namespace,
                label_selector=self._options.label_selector,
                field_selector=self._options.field_selector,
            )
        except StatusError as error:
            await self._write("ERROR", error.to_status())
            return False
        if self._options.send_initial_events is not False:
            for obj in listed.items:
                await self._event(WatchEvent(WatchType.ADDED, obj))
        if self._options.send_initial_events is not False or self._options.resource_version in {"", "0"}:
            self._seen = listed.resource_version
        if is_streaming_list:
            await self._bookmark(INITIAL_EVENTS_END)
        return True

    async def _pump(self) -> None:
        source: AsyncGenerator[WatchEvent, None] = self._house.registry.watch(
            self._match.resource.name,
            self._match.namespace,
            resource_version=self._seen,
            label_selector=self._options.label_selector,
            field_selector=self._options.field_selector,
        )
        try:
            async for event in source:
                await self._queue.put(event)
            await self._queue.put(_Signal.ENDED)
        except StatusError as error:
            await self._queue.put(_Failed(error))
        finally:
            await source.aclose()

    async def _time(self) -> None:
        seconds = self._options.timeout_seconds
        if seconds is None or seconds <= 0:
            seconds = 60 * (DEFAULT_MINUTES + secrets.randbelow(DEFAULT_MINUTES))
        clock = self._house.clock
        end = clock.monotonic() + seconds
        while (left := end - clock.monotonic() - LAST_BOOKMARK_SECONDS) > 0:
            await clock.sleep(min(BOOKMARK_SECONDS, left))
            if self._options.bookmarks:
                await self._queue.put(_Signal.BOOKMARK)
        await clock.sleep(max(end - clock.monotonic(), 0))
        await self._queue.put(_Signal.ENDED)

    async def _follow(self) -> None:
        while True:
            item = await self._queue.get()
            if item is None or item is _Signal.ENDED:
                return
            if isinstance(item, _Failed):
                await self._write("ERROR", item.error.to_status())
                return
            if isinstance(item, WatchEvent):
                await self._event(item)
            elif self._seen not in {"", "0"}:
                await self._bookmark()

    async def _event(self, event: WatchEvent) -> None:
        if event.type is WatchType.BOOKMARK:
            self._seen = version_of(event.object) or self._seen
            if self._options.bookmarks:
                await self._bookmark()
            return
        self._seen = version_of(event.object)
        shown = encode(self._match.resource, self._match.version, event.object)
        await self._write(event.type.value, self._presenter.show(shown, self._house.clock.now()))

    async def _bookmark(self, annotations: dict[str, str] | None = None) -> None:
        await self._write(
            "BOOKMARK", self._presenter.bookmark(self._match.version, self._seen, self._house.clock.now(), annotations)
        )

    async def _write(self, event_type: str, obj: Any) -> None:
        line = orjson.dumps({"type": event_type, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)
        async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
            await self._response.write(line)


async def watch(
    request: web.Request, match: Match, options: ListOptions, form: Answer, include: str
) -> web.StreamResponse:
    """Stream the changes of a collection. Refusals (selectors, Accept) come before the headers, as a Status."""
    house = request.app[HOUSE]
    if form.media_type == YAML:
        form = Answer(JSON, form.form, form.version)
    parse_selector(options.label_selector)
    parse_field_selector(options.field_selector)
    response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": responses.CACHE_CONTROL})
    for text in presentation.deprecations(match):
        response.headers.add("Warning", responses.warning_header(text))
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await _Watch(house, match, options, WatchPresenter(match.resource, form, include), response).run()
        await response.write_eof()
    except (ConnectionError, TimeoutError):  # the client has gone or takes nothing: no error of ours
        if request.transport is not None:
            request.transport.abort()
    return response
