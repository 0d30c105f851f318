"""The streams of one SPDY/3.1 connection, over any stream of bytes: a raw connection or one tunnelled in a WebSocket.

exec, attach and port-forward open nothing themselves: the client opens streams, `accept` is told of each. SPDY's flow
control is not used by any client of Kubernetes; instead the connection is not read while too much lies unread, and
writes wait for the peer. Everything ends with `run`; nothing here creates a task.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from localset.apiserver import spdy
from localset.apiserver.takeover import ByteStream

MAX_STREAMS = 1024
UNREAD_BYTES = 2 * 1024 * 1024


class Stream:
    """One stream, opened by the client."""

    def __init__(self, connection: "SpdyConnection", number: int, headers: dict[str, str]) -> None:
        """Made by the connection."""
        self.number = number
        self.headers = headers
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._arrived = asyncio.Event()
        self._has_ended = False
        self._is_reset = False
        self._is_finished = False
        self._is_discarded = False

    async def read(self) -> bytes:
        """Return what has come; b"" after the client's end of this stream, or when the stream or client has gone."""
        while not self._pieces:
            if self._has_ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._connection.note_read(self._unread)
        self._unread = 0
        return data

    @property
    def is_reset(self) -> bool:
        """Tell whether the stream has ended both ways: it was reset, or the client has gone."""
        return self._is_reset

    async def write(self, data: bytes) -> None:
        """Send; waits while the client does not read. ConnectionError when the stream or the client has gone."""
        view = memoryview(data)
        for start in range(0, len(data), spdy.MAX_DATA_BYTES):
            if self._is_reset or self._is_finished:
                raise ConnectionResetError("the stream is closed")
            await self._connection.send(spdy.data_frame(self.number, view[start : start + spdy.MAX_DATA_BYTES]))

    async def finish(self) -> None:
        """Say that nothing more is sent. Idempotent, and nothing on a stream that has gone."""
        if not self._is_finished and not self._is_reset:
            self._is_finished = True
            await self._connection.send(spdy.data_frame(self.number, b"", fin=True))
            self._connection.note_half(self)

    async def reset(self, status: int = spdy.CANCEL) -> None:
        """End the stream both ways at once and throw away what is unread. Idempotent."""
        self._connection.forget(self)
        if not self.is_over:
            self.lose()
            await self._connection.send(spdy.reset_frame(self.number, status))

    def discard(self) -> None:
        """Say that nobody reads on: what is unread no longer holds the connection up."""
        self._connection.note_read(self.drop_unread())

    def take(self, data: bytes, *, fin: bool) -> int:
        """Keep data of the client; return how much is new unread."""
        if self._has_ended:
            return 0
        if self._is_discarded:
            data = b""
        if data:
            self._pieces.append(data)
            self._unread += len(data)
        self._has_ended = fin
        self._arrived.set()
        return len(data)

    def lose(self) -> None:
        """Note that the stream has ended both ways; what is unread can still be read."""
        self._is_reset = self._has_ended = True
        self._arrived.set()

    def drop_unread(self) -> int:
        """Throw away what nobody will read; return how much."""
        dropped, self._unread, self._is_discarded = self._unread, 0, True
        self._pieces.clear()
        return dropped

    @property
    def is_over(self) -> bool:
        """Tell whether both sides have ended."""
        return self._is_reset or (self._is_finished and self._has_ended)


class SpdyConnection:
    """The server's side of one connection."""

    def __init__(self, peer: ByteStream, accept: Callable[[Stream], bool]) -> None:
        """`accept` is told of each new stream; False refuses it."""
        self._peer = peer
        self._accept = accept
        self._decoder = spdy.Decoder()
        self._encoder = spdy.Encoder()
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._unread = 0
        self._room = asyncio.Event()
        self._room.set()
        self._is_over = False

    async def run(self) -> None:
        """Serve until the client says that it goes, or goes, or breaks the protocol."""
        try:
            while not self._is_over and (data := await self._peer.read()):
                for frame in self._decoder.feed(data):
                    await self._take(frame)
                await self._room.wait()
        except (spdy.SpdyError, ConnectionError, TimeoutError):
            return
        finally:
            self._is_over = True
            for stream in self._streams.values():
                stream.lose()
            self._streams.clear()

    async def _take(self, frame: spdy.Frame) -> None:
        if isinstance(frame, spdy.Data):
            stream = self._streams.get(frame.stream)
            if stream is not None:
                self._unread += stream.take(frame.data, fin=frame.fin)
                if self._unread >= UNREAD_BYTES:
                    self._room.clear()
                self.note_half(stream)
        elif isinstance(frame, spdy.SynStream):
            await self._open(frame)
        elif isinstance(frame, spdy.Reset):
            stream = self._streams.pop(frame.stream, None)
            if stream is not None:
                stream.lose()
        elif isinstance(frame, spdy.Ping):
            if frame.number % 2:  # the client's are odd; an even one would be the answer to ours
                await self.send(spdy.ping_frame(frame.number))
        elif isinstance(frame, spdy.GoAway):
            self._is_over = True

    async def _open(self, frame: spdy.SynStream) -> None:
        if frame.stream % 2 == 0 or frame.stream <= self._last:
            raise spdy.SpdyError("stream numbers of a client are odd and grow")
        self._last = frame.stream
        stream = Stream(self, frame.stream, frame.headers)
        if len(self._streams) >= MAX_STREAMS or not self._accept(stream):
            await self.send(spdy.reset_frame(frame.stream, spdy.REFUSED_STREAM))
            return
        self._streams[frame.stream] = stream
        if frame.fin:
            stream.take(b"", fin=True)
        await self.send(self._encoder.syn_reply(frame.stream, {}))

    async def send(self, data: bytes) -> None:
        """Send one frame. ConnectionError when the client has gone."""
        if self._is_over:
            raise ConnectionResetError("the client has gone")
        await self._peer.write(data)

    def note_read(self, count: int) -> None:
        """Account for data that a stream has passed on."""
        self._unread -= count
        if self._unread < UNREAD_BYTES // 2:
            self._room.set()

    def note_half(self, stream: Stream) -> None:
        """Forget a stream of which both sides have ended."""
        if stream.is_over:
            self._streams.pop(stream.number, None)

    def forget(self, stream: Stream) -> None:
        """Drop a stream that nobody reads any more, and what it holds."""
        self._streams.pop(stream.number, None)
        self.note_read(stream.drop_unread())
