"""The Unix socket: made private, its peers checked, its connections counted and given deadlines.

The daemon starts one `UnixListener`; a TLS listener will stand beside it with the same `Connections`. A connection
that is not ours, or one too many, is closed before HTTP sees a byte (reliability.md A2, M10, M11). The check is per
connection: every request on it is then the owner's.
"""

import asyncio
import logging
import os
import socket
import struct
from pathlib import Path

from aiohttp import web

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
FIRST_REQUEST_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 60.0
SHUTDOWN_SECONDS = 5.0
MAX_PATH_BYTES = 103


class Connections:
    """Connections that have not yet sent a whole request head; each is closed when it takes too long."""

    def __init__(self) -> None:
        """Start with none."""
        self._waiting: dict[int, asyncio.TimerHandle] = {}

    def opened(self, transport: asyncio.Transport) -> None:
        """Start the deadline of a new connection."""
        loop = asyncio.get_running_loop()
        self._waiting[id(transport)] = loop.call_later(FIRST_REQUEST_SECONDS, self._expire, transport)

    def request_began(self, transport: asyncio.BaseTransport | None) -> None:
        """Lift the deadline: the head of a request has arrived. aiohttp's keep-alive takes over afterwards."""
        timer = self._waiting.pop(id(transport), None)
        if timer is not None:
            timer.cancel()

    def _expire(self, transport: asyncio.Transport) -> None:
        self._waiting.pop(id(transport), None)
        transport.abort()

    def forget_all(self) -> None:
        """Cancel all deadlines, at shutdown."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()


CONNECTIONS: web.AppKey[Connections] = web.AppKey("connections", Connections)


def peer_uid(connection: socket.socket) -> int | None:
    """Return the uid at the other end of a Unix socket; None where the system cannot tell."""
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(uid)
    try:  # macOS: LOCAL_PEERCRED gives struct xucred: version, uid, …
        return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 128))[1])
    except (OSError, struct.error):
        return None


class _Door(asyncio.Protocol):
    """Stands in for the HTTP protocol until the peer is known to be ours."""

    def __init__(self, server: web.Server, connections: Connections) -> None:
        self._server = server
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid not in {os.getuid(), 0}:
            log.warning("a connection by uid %s was refused", uid)
            transport.abort()
            return
        if len(self._server.connections) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._connections.opened(transport)
        protocol = self._server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class UnixListener:
    """Serves an application on a Unix socket in a private directory."""

    def __init__(self, application: web.Application, path: Path) -> None:
        """Name the socket; nothing happens before `start`."""
        self._path = path
        self._application = application
        self._runner = web.AppRunner(
            application,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
            lingering_time=2.0,
            access_log=None,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. A stale socket is replaced: the caller holds the data directory's lock. OSError when impossible."""
        if len(os.fsencode(self._path)) > MAX_PATH_BYTES:
            raise OSError(f"the socket path {self._path} is longer than {MAX_PATH_BYTES} bytes; choose a shorter one")
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(os.fspath(self._path))
            self._path.chmod(0o600)
            connections = self._application[CONNECTIONS]
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _Door(server, connections), sock=listening)
        except OSError:
            listening.close()
            await self._runner.cleanup()
            raise

    async def aclose(self) -> None:
        """Stop listening, let answers finish and streams end, close what remains. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        self._application[CONNECTIONS].forget_all()
        await self._runner.cleanup()
