"""exec and attach: from the request to a session of the Pod's, over WebSocket or SPDY (kube-api.md 8.2).

What can be refused is refused before the upgrade, as a plain Status. The command starts after it: a terminal has its
size by then, as `stty size` expects. All output goes out before the status, and the status before the end.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeGuard

from aiohttp import web

from localset.apiserver import bodies, spdy, takeover
from localset.apiserver.channels import (
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    V1,
    V2,
    V3,
    V4,
    V5,
    Channels,
    SocketChannels,
    SpdyChannels,
)
from localset.apiserver.house import HOUSE
from localset.apiserver.options import boolean
from localset.apiserver.routes import Match
from localset.base.tasks import Tasks
from localset.client.streams import Session
from localset.machinery.decoding import DecodeError, decode_json
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import Object

MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_TERMINAL = 10_000
FIRST_SIZE_SECONDS = 0.2
SPDY_PROTOCOLS = (V5, V4, V3, V2, V1)
WITH_RESIZE = {V5, V4, V3}


def exit_status(code: int) -> dict[str, Any]:
    """Return the Status that tells a client how the command ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> dict[str, Any]:
    """Return the Status of a session that broke."""
    text = f"Internal error occurred: {message}"
    details = {"causes": [{"message": message}]}
    return {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": "InternalError",
        "details": details,
        "code": 500,
    }


def offered(request: web.Request, header: str) -> list[str]:
    """Return the protocols that a header offers, in order, over all its lines."""
    return [p.strip() for line in request.headers.getall(header, []) for p in line.split(",") if p.strip()]


def wants_spdy(request: web.Request) -> bool:
    """Tell whether the request asks for an upgrade to SPDY/3.1."""
    return request.headers.get("Upgrade", "").lower() == spdy.PROTOCOL.lower()


def wants_websocket(request: web.Request) -> bool:
    """Tell whether the request is a WebSocket handshake."""
    return request.headers.get("Upgrade", "").lower() == "websocket" and request.method == "GET"


def refuse_plain(request: web.Request) -> StatusError:
    """Return the refusal of a request that asks for no upgrade that is served here."""
    if request.method == "POST":
        bodies.require_known_type(request)
    return bad_request("unable to upgrade: the request must ask for an upgrade to WebSocket or SPDY/3.1")


def negotiated(request: web.Request, known: tuple[str, ...]) -> str:
    """Return the first SPDY stream protocol of the client that is known; 403 when there is none."""
    asked = offered(request, "X-Stream-Protocol-Version")
    for protocol in asked:
        if protocol in known:
            return protocol
    text = f"unable to upgrade: unable to negotiate protocol: client supports {asked}, server accepts {list(known)}"
    raise StatusError(403, "Forbidden", text.replace("'", "").replace(",", ""))


def _socket_protocol(request: web.Request) -> str:
    protocols = offered(request, "Sec-WebSocket-Protocol")
    for protocol in (V5, V4):  # v4 cannot end stdin, so v5 wherever it is offered
        if protocol in protocols:
            return protocol
    raise bad_request(f"unable to upgrade: ask for the WebSocket subprotocol {V5} or {V4}")


class _Ask:
    """What the request's query asks for; refusals are raised by the constructor."""

    def __init__(self, request: web.Request, match: Match) -> None:
        query = request.query
        self.container = query.get("container", "")
        self.stdin, self.tty = boolean(query, "stdin"), boolean(query, "tty")
        self.outputs = {c for c, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if boolean(query, name)}
        self.command: list[str] | None = None if match.subresource == "attach" else query.getall("command", [])
        if not self.stdin and not self.outputs:
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        if self.tty:
            self.outputs.discard(STDERR)
        if self.command is None:
            return
        if not self.command or not self.command[0]:
            raise bad_request("you must specify at least one command for the container")
        if any("\0" in word for word in self.command):
            raise bad_request("a command must not contain NUL")

    def stream_types(self, protocol: str) -> set[str]:
        """Return the SPDY streams that the client opens."""
        types = {"error"} | {"stdout" if c == STDOUT else "stderr" for c in self.outputs}
        types |= {"stdin"} if self.stdin else set()
        return types | ({"resize"} if self.tty and protocol in WITH_RESIZE else set())


async def session(request: web.Request, match: Match) -> web.StreamResponse:
    """Run exec or attach."""
    house = request.app[HOUSE]
    pod = await house.registry.read("pods", match.namespace, match.name, "v1")
    if not wants_spdy(request) and not wants_websocket(request):
        raise refuse_plain(request)
    is_spdy = wants_spdy(request)
    protocol = negotiated(request, SPDY_PROTOCOLS) if is_spdy else _socket_protocol(request)
    ask = _Ask(request, match)
    house.streams.require_running(pod, ask.container)
    if not is_spdy:
        socket = web.WebSocketResponse(protocols=(protocol,), compress=False, max_msg_size=MAX_FRAME_BYTES)
        await socket.prepare(request)
        try:
            await _Bridge(request, SocketChannels(socket), pod, ask).run()
        finally:
            await socket.close()
        return socket
    headers = {"Upgrade": spdy.PROTOCOL, "X-Stream-Protocol-Version": protocol}
    response, raw = await takeover.take_over(request, headers)
    await _Bridge(request, SpdyChannels(raw, protocol, ask.stream_types(protocol)), pod, ask).run()
    return response


class _Bridge:
    """Carries bytes between one client and one session."""

    def __init__(self, request: web.Request, channels: Channels, pod: Object, ask: _Ask) -> None:
        self._house = request.app[HOUSE]
        self._transport = request.transport
        self._channels = channels
        self._pod = pod
        self._ask = ask
        self._running: Session | None = None
        self._started = asyncio.Event()
        self._size: tuple[int, int] | None = None
        self._sized = asyncio.Event()

    async def run(self) -> None:
        """Carry until the command ends, the client goes or the server shuts down."""
        tasks = Tasks("session")
        ended: asyncio.Queue[object] = asyncio.Queue(8)
        streams = self._house.open_streams
        streams.add(ended)
        try:
            for work, name in (
                (self._channels.receive(self._take), "read"),
                (self._work(), "work"),
                (takeover.wait_until_hung_up(self._transport, self._house.clock), "hang-up"),
            ):
                tasks.spawn(work, name).add_done_callback(ended.put_nowait)
            if await ended.get() is None:
                await self._end(failure_status("the server is shutting down"))
        finally:
            streams.discard(ended)
            await tasks.aclose()
            if self._running is not None:
                await self._running.aclose()

    async def _start(self) -> Session:
        ask, streams = self._ask, self._house.streams
        if ask.tty:
            try:
                async with asyncio.timeout(FIRST_SIZE_SECONDS):
                    await self._sized.wait()
            except TimeoutError:
                pass  # not every client has a terminal of its own to tell of
        if ask.command is None:
            running = await streams.attach(self._pod, ask.container, stdin=ask.stdin, tty=ask.tty)
        else:
            running = await streams.execute(self._pod, ask.container, ask.command, stdin=ask.stdin, tty=ask.tty)
        self._running = running
        if self._size is not None:
            await running.resize(*self._size)
        self._started.set()
        return running

    async def _work(self) -> None:
        """Start, send all output, then how it ended, then close."""
        try:
            running = await self._start()
            output: AsyncGenerator[tuple[int, bytes], None] = running.output()
            async with aclosing(output):
                async for channel, data in output:
                    if channel in self._ask.outputs:
                        await self._channels.send(channel, data)
            await self._end(exit_status(await running.wait()))
        except StatusError as error:
            await self._end(failure_status(error.message))
        except (ConnectionError, TimeoutError):  # nobody listens any more; the session is killed by its owner
            return

    async def _end(self, status: dict[str, Any]) -> None:
        try:
            await self._channels.end(status)
        except (ConnectionError, TimeoutError):
            return

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == RESIZE:
            await self._resize(data)
            return
        if channel != STDIN or not self._ask.stdin:
            return
        await self._started.wait()
        assert self._running is not None
        try:
            if data:
                await self._running.write(data)
            else:
                await self._running.close_stdin()
        except (ConnectionError, StatusError):  # the command no longer reads; its end is told by `_work`
            return

    async def _resize(self, data: bytes) -> None:
        try:
            size, _ = decode_json(data)
        except DecodeError:
            return
        if not isinstance(size, dict):
            return
        self._sized.set()
        columns, rows = size.get("Width"), size.get("Height")
        if not (_is_extent(columns) and _is_extent(rows)):
            return  # 0 by 0 comes from clients without a real terminal
        self._size = (columns, rows)
        if self._running is not None:
            await self._running.resize(columns, rows)


def _is_extent(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 < value < MAX_TERMINAL
