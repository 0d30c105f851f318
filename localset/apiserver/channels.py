"""The channels of exec and attach, over a WebSocket (v5, v4) or over SPDY/3.1 streams (v5 … v1): one face for both.

`sessions` makes one of the two after it has answered 101, sends output and the end into it and is given what the
client sends. kube-api.md 8.2 has the frames; Kubernetes' are in `apimachinery` httpstream and `kubelet` remotecommand.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson
from aiohttp import web
from aiohttp.http import WSMsgType

from localset.apiserver.spdy_connection import SpdyConnection, Stream
from localset.apiserver.takeover import RawConnection
from localset.base.tasks import Tasks

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4, V3, V2, V1 = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
FRAME_BYTES = 32 * 1024
MAX_RESIZE_BYTES = 1024
WRITE_DEADLINE_SECONDS = 60.0
CREATION_SECONDS = 30.0
GOODBYE_SECONDS = 10.0

# Takes (channel, data): STDIN with bytes, STDIN with b"" for its end, RESIZE with JSON.
Take = Callable[[int, bytes], Awaitable[None]]


class Channels(Protocol):
    """What a session needs of the client's side."""

    async def receive(self, take: Take) -> None:
        """Pass on what the client sends until it goes; data waits while `take` does."""
        ...

    async def send(self, channel: int, data: bytes) -> None:
        """Send output. ConnectionError or TimeoutError when nobody listens; nothing if the channel was not asked."""
        ...

    async def end(self, status: dict[str, Any]) -> None:
        """Tell how it ended, after all output, and close. Waits for the client, but not long."""
        ...


class SocketChannels:
    """Over a WebSocket: the first byte of each message is the channel."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        """`socket` is prepared."""
        self._socket = socket

    async def receive(self, take: Take) -> None:
        """Pass on what the client sends until it goes."""
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                frame = message.data
            elif message.type is WSMsgType.TEXT:
                frame = message.data.encode()
            else:
                return
            if not frame:
                continue
            channel, data = frame[0], frame[1:]
            if channel == CLOSE and data[:1] == bytes([STDIN]):
                await take(STDIN, b"")
            elif (channel == STDIN and data) or channel == RESIZE:
                await take(channel, data)

    async def send(self, channel: int, data: bytes) -> None:
        """Send in frames of 32 KiB."""
        view = memoryview(data)
        for start in range(0, len(data), FRAME_BYTES):
            async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
                await self._socket.send_bytes(bytes([channel]) + view[start : start + FRAME_BYTES])

    async def end(self, status: dict[str, Any]) -> None:
        """Send the status and close."""
        await self.send(STATUS, orjson.dumps(status))
        await self._socket.close()


class SpdyChannels:
    """Over SPDY: the client opens a stream for each channel; up to v3 the error stream carries text."""

    def __init__(self, raw: RawConnection, protocol: str, wanted: set[str]) -> None:
        """`wanted` are the stream types that the client will open, as its query says."""
        self._raw = raw
        self._protocol = protocol
        self._wanted = wanted
        self._streams: dict[str, Stream] = {}
        self._complete = asyncio.Event()
        self._gone = asyncio.Event()
        self._connection = SpdyConnection(raw, self._accept)

    def _accept(self, stream: Stream) -> bool:
        kind = stream.headers.get("streamtype", "")
        if kind not in self._wanted or kind in self._streams:
            return False
        self._streams[kind] = stream
        if self._streams.keys() == self._wanted:
            self._complete.set()
        return True

    async def receive(self, take: Take) -> None:
        """Pass on what the client sends until it goes."""
        tasks = Tasks("SPDY session")
        try:
            tasks.spawn(self._read(take), "read")
            await self._connection.run()
        finally:
            self._gone.set()
            self._complete.set()
            await tasks.aclose()

    async def _read(self, take: Take) -> None:
        async with asyncio.timeout(CREATION_SECONDS):
            await self._complete.wait()
        stdin, resize = self._streams.get("stdin"), self._streams.get("resize")
        tasks = Tasks("SPDY input")
        try:
            if resize is not None:
                tasks.spawn(self._read_sizes(resize, take), "sizes")
            if stdin is not None:
                while data := await stdin.read():
                    await take(STDIN, data)
                await take(STDIN, b"")
            await self._gone.wait()
        finally:
            await tasks.aclose()

    async def _read_sizes(self, stream: Stream, take: Take) -> None:
        """Each size is one line of JSON."""
        buffer = b""
        while data := await stream.read():
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                await take(RESIZE, line)
            buffer = buffer[:MAX_RESIZE_BYTES]

    async def _stream(self, kind: str) -> Stream | None:
        async with asyncio.timeout(CREATION_SECONDS):
            await self._complete.wait()
        if self._gone.is_set():
            raise ConnectionResetError("the client has gone")
        return self._streams.get(kind)

    async def send(self, channel: int, data: bytes) -> None:
        """Send on the channel's stream."""
        stream = await self._stream("stdout" if channel == STDOUT else "stderr")
        if stream is not None and not stream.is_reset:
            await stream.write(data)

    async def end(self, status: dict[str, Any]) -> None:
        """Send the status, end all streams, and wait until the client has closed."""
        error = await self._stream("error")
        assert error is not None
        if self._protocol in {V5, V4}:
            await error.write(orjson.dumps(status))
        elif status["status"] != "Success":
            await error.write(str(status["message"]).encode())
        for kind in ("error", "stdout", "stderr", "stdin", "resize"):
            if kind in self._streams:
                await self._streams[kind].finish()
        await self._raw.flush()
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            self._raw.abort()
