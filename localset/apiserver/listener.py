"""The two kinds of listeners: their connections are counted and given deadlines before HTTP sees a byte.

The daemon starts one `UnixListener`, whose socket is private and whose peers are checked once per connection: every
request on it is the owner's. `TlsListener` stands beside it on loopback addresses and hands its connections to the same
HTTP server; who asks there is `authentication`'s matter. One too many is closed (reliability.md A2, M10, M11), and each
kind has its own limit, so that strangers on TCP cannot lock the owner out.
"""

import asyncio
import logging
import os
import socket
import ssl
import struct
from pathlib import Path

from aiohttp import web
from aiohttp.http import HttpProcessingError

from localset.base.tasks import Tasks

log = logging.getLogger(__name__)
http_log = logging.getLogger(f"{__name__}.http")

MAX_CONNECTIONS = 256
FIRST_REQUEST_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 60.0
SHUTDOWN_SECONDS = 5.0
HANDSHAKE_SECONDS = 10.0
ACCEPT_PAUSE_SECONDS = 0.5
BACKLOG = 128
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


def _is_ours_to_tell(record: logging.LogRecord) -> bool:
    """Keep what is no HTTP out of the log: it is the peer's fault, and anybody can send it without end."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    log.debug("a request could not be read: %s", type(error).__name__)
    return False


http_log.addFilter(_is_ours_to_tell)


def count_connections(server: web.Server, *, is_tls: bool) -> int:
    """Return how many open connections of the server came over TLS, or over the Unix socket."""
    transports = [protocol.transport for protocol in server.connections]
    # NB: a TLS transport that was closed twice has no extra info and raises; one that closes does not count.
    open_ones = [t for t in transports if t is not None and not t.is_closing()]
    return sum((t.get_extra_info("ssl_object") is not None) is is_tls for t in open_ones)


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
        if count_connections(self._server, is_tls=False) >= MAX_CONNECTIONS:
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
            logger=http_log,
        )
        self._server: asyncio.Server | None = None

    @property
    def http_server(self) -> web.Server:
        """Return the HTTP server behind the socket, for a listener beside this one; only after `start`."""
        server = self._runner.server
        assert server is not None
        return server

    async def start(self) -> None:
        """Listen. A stale socket is replaced: the caller holds the data directory's lock. OSError when impossible."""
        if len(os.fsencode(self._path)) > MAX_PATH_BYTES:
            raise OSError(f"the socket path {self._path} is longer than {MAX_PATH_BYTES} bytes; choose a shorter one")
        await self._runner.setup()
        server = self.http_server
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


class TlsListener:
    """Serves the HTTP server of a started `UnixListener` over TLS on loopback addresses."""

    def __init__(self) -> None:
        """Nothing listens before `bind`, and nobody is answered before `serve`."""
        self._tasks = Tasks("tls listener")
        self._sockets: list[socket.socket] = []
        self._handshakes = 0
        self._server: web.Server
        self._connections: Connections
        self._context: ssl.SSLContext

    def bind(self, address: str, port: int) -> int:
        """Take one more address and return its port; OSError when it is taken or not ours to take.

        Clients may come, and wait.
        """
        if not address.startswith("127."):
            raise OSError(f"{address} is no loopback address")
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, port))
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        self._sockets.append(listening)
        return int(listening.getsockname()[1])

    def serve(self, server: web.Server, connections: Connections, context: ssl.SSLContext) -> None:
        """Begin to answer. The context may be given new certificates at any time."""
        self._server, self._connections, self._context = server, connections, context
        for listening in self._sockets:
            self._tasks.spawn(self._accept(listening), f"accept {listening.getsockname()}")

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:  # out of descriptors: others must get their turn to close some (reliability.md F45)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            if self._handshakes + count_connections(self._server, is_tls=True) >= MAX_CONNECTIONS:
                connection.close()
                continue
            self._handshakes += 1
            self._tasks.spawn(self._welcome(connection), "handshake")

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._server, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError as error:  # no TLS, an unknown authority, hung up: the peer's business
            log.debug("a TLS handshake failed: %s", error)
            connection.close()
        else:
            assert isinstance(transport, asyncio.Transport)
            self._connections.opened(transport)
        finally:
            self._handshakes -= 1

    async def aclose(self) -> None:
        """Stop listening; connections that stand end with the server's own shutdown. Idempotent."""
        await self._tasks.aclose()
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()
