"""port-forward: connections to a Pod's ports, through one connection of the client (kube-api.md 8.3).

Three shapes: SPDY streams in pairs (data, error), plain or tunnelled in a WebSocket, and WebSocket channels in pairs as
the Python clients have them. The kubelet dials (`PodStreams.dial`); a Pod that refuses is told on the error stream and
harms no other connection. When the client goes, everything of its goes with it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http import WSMsgType

from localset.apiserver import spdy, takeover
from localset.apiserver.channels import CLOSE
from localset.apiserver.house import HOUSE, House
from localset.apiserver.routes import Match
from localset.apiserver.sessions import (
    MAX_FRAME_BYTES,
    negotiated,
    offered,
    refuse_plain,
    wants_spdy,
    wants_websocket,
)
from localset.apiserver.spdy_connection import SpdyConnection, Stream
from localset.apiserver.takeover import ByteStream
from localset.base.tasks import Tasks
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"{spdy.PROTOCOL}+{PROTOCOL}"
CHANNELS = "v4.channel.k8s.io"
CHUNK_BYTES = 32 * 1024
PAIR_SECONDS = 30.0
WRITE_DEADLINE_SECONDS = 60.0
MAX_PORTS = 64

_Reader = Callable[[], Awaitable[bytes]]
_Writer = Callable[[bytes], Awaitable[None]]


async def port_forward(request: web.Request, match: Match) -> web.StreamResponse:
    """Carry connections until the client goes."""
    house = request.app[HOUSE]
    pod = await house.registry.read("pods", match.namespace, match.name, "v1")
    if wants_spdy(request):
        negotiated(request, (PROTOCOL,))
        house.streams.require_reachable(pod)
        headers = {"Upgrade": spdy.PROTOCOL, "X-Stream-Protocol-Version": PROTOCOL}
        response, raw = await takeover.take_over(request, headers)
        await _until_over(request, _Forwards(house, pod, raw).run())
        return response
    if not wants_websocket(request):
        raise refuse_plain(request)
    is_tunnel = TUNNEL in offered(request, "Sec-WebSocket-Protocol")
    ports = [] if is_tunnel else _ports(request)
    house.streams.require_reachable(pod)
    protocols = (TUNNEL,) if is_tunnel else (CHANNELS,)
    socket = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=MAX_FRAME_BYTES)
    await socket.prepare(request)
    work = _Forwards(house, pod, _Tunnel(socket)) if is_tunnel else _ChannelForwards(house, pod, socket, ports)
    try:
        await _until_over(request, work.run())
    finally:
        await socket.close()
    return socket


def _ports(request: web.Request) -> list[int]:
    words = [word for text in request.query.getall("ports", []) for word in text.split(",")]
    if not words:
        raise bad_request("you must specify at least 1 port: ports=80")
    if len(words) > MAX_PORTS:
        raise bad_request(f"at most {MAX_PORTS} ports may be forwarded over one connection")
    return [_port(word) for word in words]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise bad_request(f'unable to parse "{text}" as a port')
    return int(text)


async def _until_over(request: web.Request, work: Awaitable[None]) -> None:
    """Run until the work is done, the client has hung up unseen or the server shuts down."""
    house = request.app[HOUSE]
    tasks = Tasks("port-forward")
    ended: asyncio.Queue[object] = asyncio.Queue(4)
    house.open_streams.add(ended)

    async def run() -> None:
        await work

    try:
        tasks.spawn(run(), "work").add_done_callback(ended.put_nowait)
        hang_up = takeover.wait_until_hung_up(request.transport, house.clock)
        tasks.spawn(hang_up, "hang-up").add_done_callback(ended.put_nowait)
        await ended.get()
    finally:
        house.open_streams.discard(ended)
        await tasks.aclose()


class _Tunnel:
    """The bytes of SPDY inside binary messages, whose borders mean nothing."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type not in {WSMsgType.BINARY, WSMsgType.TEXT}:
                return b""
            data: bytes = message.data if message.type is WSMsgType.BINARY else message.data.encode()
            if data:
                return data

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
            await self._socket.send_bytes(data)


async def _copy(read: _Reader, write: _Writer) -> None:
    while data := await read():
        await write(data)


class _PodEnd:
    """One connection to the Pod."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def finish(self) -> None:
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def aclose(self) -> None:
        """Close once the Pod has taken what was sent; a Pod that does not take it is cut off, as at a cancellation."""
        transport = self._writer.transport
        try:
            transport.set_write_buffer_limits(0)
            async with asyncio.timeout(takeover.LINGER_SECONDS):
                await self._writer.drain()
            transport.close()
        except (ConnectionError, TimeoutError):
            return
        finally:
            self.abort()

    def abort(self) -> None:
        """Close now; nothing after `aclose` has come to its end."""
        if not self._writer.transport.is_closing():
            self._writer.transport.abort()


async def _dial(house: House, pod: Object, port: int) -> _PodEnd | str:
    """Return the connection, or why there is none, as a client prints it."""
    try:
        return _PodEnd(*await house.streams.dial(pod, port))
    except (OSError, StatusError) as error:
        why = error.message if isinstance(error, StatusError) else (error.strerror or str(error)).lower()
        who = f"{namespace_of(pod)}/{name_of(pod)}, uid {uid_of(pod)}"
        return f"error forwarding port {port} to pod {who}: {why}"


class _Forwards:
    """The pairs of streams of one SPDY connection."""

    def __init__(self, house: House, pod: Object, peer: ByteStream) -> None:
        self._house = house
        self._pod = pod
        self._tasks = Tasks("port-forward streams")
        self._waiting: dict[str, Stream] = {}
        self._connection = SpdyConnection(peer, self._accept)

    async def run(self) -> None:
        try:
            await self._connection.run()
        finally:
            await self._tasks.aclose()

    def _accept(self, stream: Stream) -> bool:
        """Pair streams by request id; old clients send none, and open the data stream right after the error stream."""
        kind = stream.headers.get("streamtype", "")
        try:
            port = _port(stream.headers.get("port", ""))
        except StatusError:
            return False
        if kind not in {"error", "data"}:
            return False
        key = stream.headers.get("requestid") or str(stream.number - 2 * (kind == "data"))
        other = self._waiting.pop(key, None)
        if other is None:
            self._waiting[key] = stream
            self._tasks.spawn(self._give_up(key, stream), "pair")
            return True
        if other.headers.get("streamtype") == kind:
            self._waiting[key] = other
            return False
        error, data = (stream, other) if kind == "error" else (other, stream)
        self._tasks.spawn(self._forward(error, data, port), f"port {port}")
        return True

    async def _give_up(self, key: str, stream: Stream) -> None:
        await self._house.clock.sleep(PAIR_SECONDS)
        if self._waiting.get(key) is stream:
            del self._waiting[key]
            await stream.reset()

    async def _forward(self, error: Stream, data: Stream, port: int) -> None:
        try:
            pod_end = await _dial(self._house, self._pod, port)
            if isinstance(pod_end, str):
                await error.write(pod_end.encode())
            else:
                await self._carry(data, pod_end)
            await data.finish()
            await error.finish()
        except (ConnectionError, TimeoutError):
            return
        finally:
            for stream in (data, error):
                stream.discard()

    async def _carry(self, data: Stream, pod_end: _PodEnd) -> None:
        """Copy both ways; each side may end its half, a reset by the client ends both once its bytes are out."""
        tasks = Tasks("port-forward connection")

        async def from_client() -> None:
            try:
                await _copy(data.read, pod_end.write)
            except (ConnectionError, TimeoutError):
                return
            if data.is_reset:
                down.cancel()
            else:
                pod_end.finish()

        async def from_pod() -> None:
            try:
                await _copy(pod_end.read, data.write)
                await data.finish()
            except (ConnectionError, TimeoutError):
                await data.reset()

        down = tasks.spawn(from_pod(), "from Pod")
        up = tasks.spawn(from_client(), "from client")
        try:
            await asyncio.wait({up, down})
            await pod_end.aclose()
        finally:
            await tasks.aclose()
            pod_end.abort()


class _ChannelForwards:
    """The ports of one WebSocket: channel 2i carries data of the i-th port, 2i+1 its errors.

    Channel 255 with a channel's number ends what goes to the Pod, as in v5 of exec: our own client sends it.
    """

    def __init__(self, house: House, pod: Object, socket: web.WebSocketResponse, ports: list[int]) -> None:
        self._house = house
        self._pod = pod
        self._socket = socket
        self._ports = ports
        self._ends: dict[int, asyncio.Future[_PodEnd | None]] = {}

    async def run(self) -> None:
        """Carry until the client goes or every port's connection has ended."""
        tasks = Tasks("port-forward channels")
        loop = asyncio.get_running_loop()
        try:
            for index, port in enumerate(self._ports):
                self._ends[index] = loop.create_future()
                for channel in (2 * index, 2 * index + 1):
                    await self._send(channel, port.to_bytes(2, "little"))
            reader = tasks.spawn(self._read(), "read")
            carriers = [tasks.spawn(self._carry(i, port), f"port {port}") for i, port in enumerate(self._ports)]
            everything = tasks.spawn(_all(carriers), "ports")
            await asyncio.wait({reader, everything}, return_when=asyncio.FIRST_COMPLETED)
        except (ConnectionError, TimeoutError):
            return
        finally:
            await tasks.aclose()

    async def _send(self, channel: int, data: bytes) -> None:
        async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
            await self._socket.send_bytes(bytes([channel]) + data)

    async def _carry(self, index: int, port: int) -> None:
        found = await _dial(self._house, self._pod, port)
        pod_end = None if isinstance(found, str) else found
        self._ends[index].set_result(pod_end)
        try:
            if isinstance(found, str):
                await self._send(2 * index + 1, found.encode())
            else:
                await _copy(found.read, lambda data: self._send(2 * index, data))
        except (ConnectionError, TimeoutError):
            return
        finally:
            if pod_end is not None:
                pod_end.abort()

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == CLOSE and data and data[0] // 2 in self._ends:
                pod_end = await self._ends[data[0] // 2]
                if pod_end is not None:
                    pod_end.finish()
                continue
            if channel % 2 or channel // 2 not in self._ends:
                continue
            pod_end = await self._ends[channel // 2]
            try:
                if pod_end is not None and data:
                    await pod_end.write(data)
            except ConnectionError:
                continue  # that port has ended; the others go on


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)
