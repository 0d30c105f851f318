"""A client of SPDY over a raw connection, as kubectl is one: it opens streams and reads what comes on each."""

import asyncio
from pathlib import Path

import aiohttp

from localset.apiserver import spdy


class Raw:
    """A plain connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        return await self.reader.read(65536)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def aclose(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class Tunnelled:
    """Inside the binary messages of a WebSocket, cut where no frame ends."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def read(self) -> bytes:
        message = await self.socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else b""

    async def write(self, data: bytes) -> None:
        await self.socket.send_bytes(data[:5])
        await self.socket.send_bytes(data[5:])

    async def aclose(self) -> None:
        await self.socket.close()


class SpdyClient:
    """One upgraded connection to the server of a test."""

    def __init__(self, connection: "Raw | Tunnelled", head: bytes) -> None:
        self.connection = connection
        self.head = head.decode()
        self.status = int(head.split()[1])
        self.received: dict[int, bytearray] = {}
        self.finished: set[int] = set()
        self.replied: set[int] = set()
        self.reset: set[int] = set()
        self.pings: list[int] = []
        self.is_closed = False
        self._decoder = spdy.Decoder()
        self._encoder = spdy.Encoder()
        self._next = 1

    @classmethod
    async def connect(cls, socket: Path, path: str, *protocols: str, method: str = "POST") -> "SpdyClient":
        """Ask for the upgrade; `status` says what came of it."""
        reader, writer = await asyncio.open_unix_connection(socket)
        offers = "".join(f"X-Stream-Protocol-Version: {p}\r\n" for p in protocols)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"{offers}Content-Length: 0\r\n\r\n".encode()
        )
        return cls(Raw(reader, writer), await reader.readuntil(b"\r\n\r\n"))

    @classmethod
    async def tunnel(cls, session: aiohttp.ClientSession, path: str, protocol: str) -> "SpdyClient":
        """Ask for a WebSocket that carries SPDY."""
        socket = await session.ws_connect(path, protocols=(protocol,))
        assert socket.protocol == protocol
        return cls(Tunnelled(socket), b"HTTP/1.1 101")

    async def open(self, **headers: str) -> int:
        """Open a stream and return its number."""
        number, self._next = self._next, self._next + 2
        await self.connection.write(self._encoder.syn_stream(number, headers))
        return number

    async def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        await self.connection.write(spdy.data_frame(stream, data, fin=fin))

    async def read(self) -> None:
        """Take in what has come; sets `is_closed` at the end of the connection."""
        data = await self.connection.read()
        self.is_closed = not data
        for frame in self._decoder.feed(data):
            if isinstance(frame, spdy.Data):
                self.received.setdefault(frame.stream, bytearray()).extend(frame.data)
                self.finished |= {frame.stream} if frame.fin else set()
            elif isinstance(frame, spdy.SynReply):
                self.replied.add(frame.stream)
            elif isinstance(frame, spdy.Reset):
                self.reset.add(frame.stream)
            elif isinstance(frame, spdy.Ping):
                self.pings.append(frame.number)

    async def read_until_finished(self, *streams: int) -> None:
        while not self.finished >= set(streams):
            assert not self.is_closed, "the server closed too soon"
            await self.read()

    async def aclose(self) -> None:
        await self.connection.aclose()
