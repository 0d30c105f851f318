"""A connection that aiohttp has answered with 101 and now leaves to us: plain bytes both ways, TLS or not.

aiohttp upgrades to WebSocket only. Here the transport's protocol is replaced before the 101 goes out, so that no byte
after it is read as HTTP; the former protocol is still told when the connection is lost, which ends the request's task
and its place among the server's connections. Callers read and write, never touch the transport, and close nothing
themselves: the end of the handler closes the connection, after what was written has gone out.
"""

import asyncio
import select
import sys
from collections import deque
from typing import Protocol

from aiohttp import web

from localset.base.clock import Clock
from localset.base.tasks import Signal

READ_BUFFER_BYTES = 256 * 1024
WRITE_BUFFER_BYTES = 256 * 1024
WRITE_DEADLINE_SECONDS = 60.0
LINGER_SECONDS = 10.0
HANG_UP_SECONDS = 2.0


class ByteStream(Protocol):
    """What the protocols above need of a connection."""

    async def read(self) -> bytes:
        """Return what has come; b"" when the peer has ended or gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, in the order of the calls; waits while the peer does not read. ConnectionError when it has gone."""
        ...


class Upgraded(web.StreamResponse):
    """The 101 answer; nothing follows it as HTTP."""

    def __init__(self, headers: dict[str, str]) -> None:
        """`headers` beside Connection and those of every answer."""
        super().__init__(status=101, headers={"Connection": "Upgrade", **headers})
        self.force_close()


class RawConnection(asyncio.Protocol):
    """The bytes of one upgraded connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take `transport` over from its protocol."""
        self._transport = transport
        self._former = transport.get_protocol()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._is_read_paused = False
        self._has_ended = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Keep what came; too much of it stops the reading."""
        self._pieces.append(data)
        self._size += len(data)
        self._arrived.set()
        if self._size >= READ_BUFFER_BYTES and not self._is_read_paused:
            self._is_read_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Take the peer's end for its going: no client of ours closes one half only."""
        self._has_ended = True
        self._arrived.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake who waits, and tell the server, which cancels the request."""
        self._has_ended = True
        self._arrived.set()
        self._writable.set()
        self._former.connection_lost(exc)

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writable.set()

    async def read(self) -> bytes:
        """Return what has come; b"" when the peer has ended or gone."""
        while not self._pieces:
            if self._has_ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._is_read_paused:
            self._is_read_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send; waits for room, TimeoutError after a minute. ConnectionError when the peer has gone."""
        if self._has_ended or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._transport.write(data)
        if not self._writable.is_set():
            async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
                await self._writable.wait()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._transport.abort()

    async def flush(self) -> None:
        """Wait until all is sent; a peer that does not take it within ten seconds is cut off."""
        self._transport.set_write_buffer_limits(0)
        if self._transport.get_write_buffer_size():
            self._writable.clear()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self._writable.wait()
        except TimeoutError:
            self._transport.abort()


async def wait_until_hung_up(transport: asyncio.BaseTransport | None, clock: Clock) -> None:
    """Return when the peer has closed. A connection that is not being read does not notice that by itself.

    NB: when our side closes it this need not return; the request ends by that.
    """
    socket = transport.get_extra_info("socket") if transport is not None else None
    if transport is None or transport.is_closing() or socket is None or socket.fileno() < 0:
        return
    if sys.platform != "linux":
        await _poll_until_hung_up(transport, socket.fileno(), clock)
        return
    loop, hung_up = asyncio.get_running_loop(), Signal()
    with select.epoll(1) as watched:  # a set of its own: the loop's reports a socket's data as well, for ever
        watched.register(socket.fileno(), select.EPOLLRDHUP)
        loop.add_reader(watched.fileno(), hung_up.set)
        try:
            await hung_up.wait()
        finally:
            loop.remove_reader(watched.fileno())


async def _poll_until_hung_up(transport: asyncio.BaseTransport, descriptor: int, clock: Clock) -> None:
    while not transport.is_closing():
        poller = select.poll()
        poller.register(descriptor, select.POLLHUP)
        if poller.poll(0):
            return
        await clock.sleep(HANG_UP_SECONDS)


async def take_over(request: web.Request, headers: dict[str, str]) -> tuple[Upgraded, RawConnection]:
    """Answer 101 with `headers` and return the answer, for the handler to return, and the connection."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the connection is closed")
    connection = RawConnection(transport)
    response = Upgraded(headers)
    await response.prepare(request)
    await response.write_eof()
    return response, connection
