"""One address of DNS: a UDP and a TCP socket, and how much of the daemon's time they may take.

`server` opens it over a `Responder`. UDP is one non-blocking socket drained in bounded rounds (performance 4), TCP has
few connections with short lives (reliability D3). Never SO_REUSEADDR or SO_REUSEPORT on UDP: with it another user binds
the same address and receives our queries (reliability M2).
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from localset.base.tasks import Tasks
from localset.dns.forward import Forwarder
from localset.dns.responder import Forward, Responder
from localset.dns.settings import BindFailure, find_holder

log = logging.getLogger(__name__)

PACKETS_A_ROUND = 64
ACCEPTS_A_ROUND = 16
RECEIVE_BYTES = 513
"""One more than a query may have, so that a longer one is seen to be longer."""
MAXIMUM_CONNECTIONS = 64
IDLE_SECONDS = 5.0
CONNECTION_SECONDS = 10.0
ACCEPT_PAUSE_SECONDS = 0.5
PORT_ZERO_TRIES = 16


class Listener:
    """UDP and TCP on one address. `port` is the real one after `open`."""

    def __init__(
        self,
        address: str,
        port: int,
        responder: Responder,
        forwarder: Forwarder | None,
        sockets: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:
        """Make a closed listener; `sockets` (UDP, TCP) are bound and listen already, and become its own."""
        self._given = sockets
        self.address = address
        self.port = port
        self.responder = responder
        self._forwarder = forwarder
        self._udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks = Tasks(f"dns {address}")
        self._connections = 0
        self._crashes = 0
        self._only_loopback = address.startswith("127.")

    def open(self) -> BindFailure | None:
        """Bind both sockets and serve; return why not, with nothing left open."""
        loop = self._loop = asyncio.get_running_loop()
        failure: BindFailure | None = None
        for _ in range(PORT_ZERO_TRIES if self.port == 0 else 1):
            failure = self._bind()
            if failure is None:
                break
        if failure is not None:
            return failure
        assert self._udp is not None
        assert self._tcp is not None
        loop.add_reader(self._udp, self._drain, self._udp)
        loop.add_reader(self._tcp, self._accept, self._tcp)
        return None

    def _bind(self) -> BindFailure | None:
        if self._given is not None:
            self._udp, self._tcp = self._given
            return None
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        protocol, port = "UDP", self.port
        try:
            udp.setblocking(False)
            tcp.setblocking(False)
            udp.bind((self.address, port))
            protocol, port = "TCP", udp.getsockname()[1]
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((self.address, port))
            tcp.listen(MAXIMUM_CONNECTIONS)
        except OSError as error:
            udp.close()
            tcp.close()
            holder = find_holder(self.address, port, protocol) if error.errno == errno.EADDRINUSE else None
            return BindFailure(self.address, port, protocol, error.strerror or str(error), holder)
        self._udp, self._tcp, self.port = udp, tcp, port
        return None

    async def aclose(self) -> None:
        """End all connections and close both sockets. Idempotent."""
        for sock in (self._udp, self._tcp):
            if sock is not None and self._loop is not None:
                self._loop.remove_reader(sock)
        await self._tasks.aclose()
        for sock in (self._udp, self._tcp):
            if sock is not None:
                sock.close()
        self._udp = self._tcp = None

    # -- UDP ------------------------------------------------------------------------------------------------------

    def _drain(self, udp: socket.socket) -> None:
        """Answer up to PACKETS_A_ROUND queries; what is left wakes the loop again, after everybody else had a turn."""
        receive, send, answer = udp.recvfrom, udp.sendto, self.responder.answer
        for _ in range(PACKETS_A_ROUND):
            try:
                packet, sender = receive(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue
            if self._is_unwelcome(sender):
                continue
            try:
                reply = answer(packet)
            except Exception:  # noqa: BLE001 - logged there; one packet must never end the service
                self._report_crash(packet)
                continue
            if reply is None:
                continue
            if isinstance(reply, Forward):
                self._forward_udp(udp, reply, sender)
                continue
            _send(send, reply, sender)

    def _is_unwelcome(self, sender: tuple[Any, ...]) -> bool:
        """Tell whether a packet's source is impossible, not of this machine, or ourselves (a loop)."""
        address, port = sender[0], sender[1]
        if port == 0 or (self._only_loopback and not address.startswith("127.")):
            return True
        if port == self.port and address == self.address:
            return True
        return self._forwarder is not None and (address, port) in self._forwarder.own_sockets

    def _forward_udp(self, udp: socket.socket, forward: Forward, sender: tuple[Any, ...]) -> None:
        if self._forwarder is None or not self._forwarder.has_room:
            _send(udp.sendto, self.responder.fail(forward.query), sender)
            return
        self._tasks.spawn(self._forward_and_send(udp, forward, sender), "forward")

    async def _forward_and_send(self, udp: socket.socket, forward: Forward, sender: tuple[Any, ...]) -> None:
        assert self._forwarder is not None
        reply = await self._forwarder.resolve(forward, self.responder, over_tcp=False)
        _send(udp.sendto, reply, sender)

    def _report_crash(self, packet: bytes) -> None:
        """Log the 1st, 2nd, 4th, 8th … crash: a flood must not become a flood of tracebacks."""
        self._crashes += 1
        if self._crashes & (self._crashes - 1) == 0:
            log.exception("a DNS packet could not be answered (%d so far): %s", self._crashes, packet[:64].hex())

    # -- TCP ------------------------------------------------------------------------------------------------------

    def _accept(self, tcp: socket.socket) -> None:
        for _ in range(ACCEPTS_A_ROUND):
            try:
                connection, sender = tcp.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("DNS over TCP pauses: %s", error)
                self._pause_accepting(tcp)
                return
            connection.setblocking(False)
            if self._connections >= MAXIMUM_CONNECTIONS or self._is_unwelcome(sender):
                connection.close()
                continue
            self._connections += 1
            self._tasks.spawn(self._serve(connection), "connection")

    def _pause_accepting(self, tcp: socket.socket) -> None:
        """Stop accepting for a while: without descriptors the socket would wake the loop for ever."""
        loop = self._loop
        assert loop is not None
        loop.remove_reader(tcp)

        def resume() -> None:
            if self._tcp is tcp:
                loop.add_reader(tcp, self._accept, tcp)

        loop.call_later(ACCEPT_PAUSE_SECONDS, resume)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                while await self._serve_one(connection):
                    pass
        except (TimeoutError, OSError):
            pass
        finally:
            self._connections -= 1
            connection.close()

    async def _serve_one(self, connection: socket.socket) -> bool:
        """Answer one query; return False when the connection is to end."""
        async with asyncio.timeout(IDLE_SECONDS):
            length = await _receive_exactly(connection, 2)
            if length is None:
                return False
            packet = await _receive_exactly(connection, int.from_bytes(length, "big"))
        if packet is None:
            return False
        try:
            reply = self.responder.answer(packet, over_tcp=True)
        except Exception:  # noqa: BLE001 - logged there; one packet must never end the service
            self._report_crash(packet)
            return False
        if isinstance(reply, Forward):
            if self._forwarder is None or not self._forwarder.has_room:
                reply = self.responder.fail(reply.query)
            else:
                reply = await self._forwarder.resolve(reply, self.responder, over_tcp=True)
        if reply is None:
            return False
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, len(reply).to_bytes(2, "big") + reply)
        return True


def _send(send: Callable[[bytes, Any], int], reply: bytes, sender: tuple[Any, ...]) -> None:
    try:
        send(reply, sender)
    except OSError as error:
        # A full buffer or an asker that has gone: it asks again. Nothing here may wait for it.
        log.debug("an answer was dropped: %s", error)


async def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    """Return `count` bytes however they are split, or None when the other end has closed."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count:
        chunk = await loop.sock_recv(connection, count - len(received))
        if not chunk:
            return None
        received += chunk
    return bytes(received)
