"""exec and attach over WebSocket: `v5.channel.k8s.io` and `v4.channel.k8s.io`.

Binary frames, first byte the channel (kube-api.md 8.2). The session is started before the upgrade, so that refusals
are plain HTTP Status answers; all output goes out before the status, and the status before the close. SPDY comes with
kubectl.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from localset.apiserver import bodies
from localset.apiserver.house import HOUSE
from localset.apiserver.options import boolean
from localset.apiserver.routes import Match
from localset.base.tasks import Tasks
from localset.client.streams import Session
from localset.machinery.decoding import DecodeError, decode_json
from localset.machinery.errors import StatusError, bad_request

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
MAX_FRAME_BYTES = 4 * 1024 * 1024
FRAME_BYTES = 32 * 1024
WRITE_DEADLINE_SECONDS = 60.0
MAX_TERMINAL = 10_000


def exit_status(code: int) -> dict[str, Any]:
    """Return the Status that tells a client how the command ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> dict[str, Any]:
    """Return the Status of a session that broke."""
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError"}


def _chosen_protocol(request: web.Request) -> str:
    offered = [p.strip() for h in request.headers.getall("Sec-WebSocket-Protocol", []) for p in h.split(",")]
    for protocol in (V5, V4):  # v4 cannot end stdin, so v5 wherever it is offered
        if protocol in offered:
            return protocol
    raise bad_request(f"unable to upgrade: ask for the WebSocket subprotocol {V5} or {V4}")


async def _start(request: web.Request, match: Match) -> Session:
    query = request.query
    house = request.app[HOUSE]
    pod = await house.registry.read("pods", match.namespace, match.name, "v1")
    container, stdin, tty = query.get("container", ""), boolean(query, "stdin"), boolean(query, "tty")
    if not any(boolean(query, name) for name in ("stdin", "stdout", "stderr")):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if match.subresource == "attach":
        return await house.streams.attach(pod, container, stdin=stdin, tty=tty)
    command = query.getall("command", [])
    if not command or not command[0]:
        raise bad_request("you must specify at least one command for the container")
    if any("\0" in word for word in command):
        raise bad_request("a command must not contain NUL")
    return await house.streams.execute(pod, container, command, stdin=stdin, tty=tty)


async def session(request: web.Request, match: Match) -> web.StreamResponse:
    """Run exec or attach. Anything but a WebSocket request is told so with 400 before the Pod is looked at twice."""
    if request.headers.get("Upgrade", "").lower() != "websocket" or request.method != "GET":
        await request.app[HOUSE].registry.read("pods", match.namespace, match.name, "v1")
        if request.method == "POST":
            bodies.require_known_type(request)
        raise bad_request("unable to upgrade: the request must be a WebSocket upgrade")
    protocol = _chosen_protocol(request)
    running = await _start(request, match)
    try:
        socket = web.WebSocketResponse(protocols=(protocol,), compress=False, max_msg_size=MAX_FRAME_BYTES)
        await socket.prepare(request)
        await _Bridge(request, socket, running).run()
    finally:
        await running.aclose()
    return socket


class _Bridge:
    """Carries bytes between one WebSocket and one session."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, running: Session) -> None:
        query = request.query
        self._socket = socket
        self._running = running
        self._streams = request.app[HOUSE].open_streams
        self._wants_stdin = boolean(query, "stdin")
        self._wanted = {c for c, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if boolean(query, name)}

    async def run(self) -> None:
        """Carry until the command ends, the client goes or the server shuts down."""
        tasks = Tasks("session")
        ended: asyncio.Queue[object] = asyncio.Queue(4)
        self._streams.add(ended)
        try:
            reader = tasks.spawn(self._read(), "read")
            worker = tasks.spawn(self._work(), "work")
            for task in (reader, worker):
                task.add_done_callback(ended.put_nowait)
            if await ended.get() is None:
                await self._end(failure_status("the server is shutting down"))
        finally:
            self._streams.discard(ended)
            await tasks.aclose()
            await self._socket.close()

    async def _work(self) -> None:
        """Send all output, then how it ended, then close."""
        try:
            output: AsyncGenerator[tuple[int, bytes], None] = self._running.output()
            async with aclosing(output):
                async for channel, data in output:
                    if channel in self._wanted:
                        await self._send(channel, data)
            await self._end(exit_status(await self._running.wait()))
        except StatusError as error:
            await self._end(failure_status(error.message))
        except (ConnectionError, TimeoutError):  # nobody listens any more; the session is killed by its owner
            return

    async def _send(self, channel: int, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(data), FRAME_BYTES):
            async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
                await self._socket.send_bytes(bytes([channel]) + view[start : start + FRAME_BYTES])

    async def _end(self, status: dict[str, Any]) -> None:
        try:
            await self._send(STATUS, orjson.dumps(status))
            await self._socket.close()
        except (ConnectionError, TimeoutError):
            return

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                frame = message.data
            elif message.type is WSMsgType.TEXT:
                frame = message.data.encode()
            else:
                return
            if frame:
                await self._take(frame[0], frame[1:])

    async def _take(self, channel: int, data: bytes) -> None:
        try:
            if channel == STDIN and self._wants_stdin and data:
                await self._running.write(data)
            elif channel == CLOSE and data[:1] == b"\0":
                await self._running.close_stdin()
            elif channel == RESIZE:
                await self._resize(data)
        except (ConnectionError, StatusError):  # the command no longer reads; its end is told by `_work`
            return

    async def _resize(self, data: bytes) -> None:
        try:
            size, _ = decode_json(data)
        except DecodeError:
            return
        if not isinstance(size, dict):
            return
        columns, rows = size.get("Width"), size.get("Height")
        if (
            isinstance(columns, int)
            and isinstance(rows, int)
            and 0 < columns < MAX_TERMINAL
            and 0 < rows < MAX_TERMINAL
        ):
            await self._running.resize(columns, rows)
