"""The log subresource: bytes of a container's output, flushed as they come."""

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import web

from localset.apiserver import responses
from localset.apiserver.house import HOUSE
from localset.apiserver.options import log_options
from localset.apiserver.routes import Match
from localset.base.tasks import Tasks
from localset.machinery.errors import StatusError

FIRST_CHUNK_SECONDS = 0.25
WRITE_DEADLINE_SECONDS = 60.0
QUEUE_LENGTH = 16
_Chunk = bytes | StatusError | None


async def _pump(source: AsyncGenerator[bytes, None], queue: "asyncio.Queue[_Chunk]") -> None:
    try:
        async for chunk in source:
            await queue.put(chunk)
        await queue.put(None)
    except StatusError as error:
        await queue.put(error)
    finally:
        await source.aclose()


async def log(request: web.Request, match: Match) -> web.StreamResponse:
    """Stream a log as text. A refusal that comes soon is a Status; later it can only end the stream.

    NB: the headers wait for the first chunk, but not longer than a quarter of a second: `-f` must connect at once.
    """
    options = log_options(request.query, match.name)
    house = request.app[HOUSE]
    pod = await house.registry.read("pods", match.namespace, match.name, "v1")
    queue: asyncio.Queue[_Chunk] = asyncio.Queue(QUEUE_LENGTH)
    tasks = Tasks(f"log {match.namespace}/{match.name}")
    house.open_streams.add(queue)
    try:
        tasks.spawn(_pump(house.streams.logs(pod, options), queue), "pump")
        first: _Chunk = b""
        try:
            async with asyncio.timeout(FIRST_CHUNK_SECONDS):
                first = await queue.get()
        except TimeoutError:
            pass
        if isinstance(first, StatusError):
            raise first
        return await _stream(request, queue, first)
    finally:
        house.open_streams.discard(queue)
        await tasks.aclose()


async def _stream(request: web.Request, queue: "asyncio.Queue[_Chunk]", first: bytes | None) -> web.StreamResponse:
    headers = {"Content-Type": "text/plain", "Cache-Control": responses.CACHE_CONTROL}
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    chunk: _Chunk = first
    try:
        while isinstance(chunk, bytes):
            if chunk:
                async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
                    await response.write(chunk)
            chunk = await queue.get()
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response
