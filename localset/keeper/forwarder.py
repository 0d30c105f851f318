"""Forwards what comes to Pods' and Services' addresses: the network holder's other half (runtime.md 3.3).

The daemon sends the whole table (`forward`), again after every change; what is open stays open, so a killed daemon cuts
nothing. A row listens in the host's network or in the Pods' (`side`) and leads to targets, each in the network that its
address says: 127.x is the host's. What cannot be bound is answered with the reason, tried again, and told when it
changes. Bounded everywhere: one buffer for all, one block held back per connection, so many UDP flows per row.
"""

import contextlib
import errno
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from localset.keeper.loop import Loop, Timer

RETRY_SECONDS = 2.0
UDP_IDLE_SECONDS = 60.0
UDP_FLOWS = 512
AFFINITY_CLIENTS = 1024
BLOCK_BYTES = 256 * 1024
_CONNECT_SECONDS = 10.0
_BACKLOG = 128
_ACCEPTS = 32
_DATAGRAMS = 64

Address = tuple[str, int]
Key = tuple[str, str, str, int]
Message = dict[str, Any]


class Holder(Protocol):
    """What the forwarder needs of the network holder."""

    loop: Loop
    network: str

    def bridge_socket(self, kind: int, protocol: int = 0, /) -> socket.socket:
        """Return a socket of the Pods' network; of the host's where Pods have none."""
        ...

    def add_address(self, address: str, /) -> None:
        """Let the Pods' network have an address."""
        ...

    def remove_address(self, address: str, /) -> None:
        """Take it away."""
        ...

    def emit(self, message: Message) -> None:
        """Tell the daemon."""
        ...


class Row:
    """Where to listen, and to whom it leads; `targets` change in place."""

    __slots__ = ("address", "clients", "key", "next", "port", "protocol", "side", "sticks", "targets")

    def __init__(self, fields: Message) -> None:
        """Read one row of the table: side, protocol, address, port, targets [[address, port]], sticks."""
        self.side = str(fields["side"])
        self.protocol = str(fields["protocol"])
        self.address = str(fields["address"])
        self.port = int(fields["port"])
        self.key: Key = (self.side, self.protocol, self.address, self.port)
        self.targets: list[Address] = [(str(address), int(port)) for address, port in fields["targets"]]
        self.sticks = bool(fields.get("sticks"))
        self.next = 0
        self.clients: OrderedDict[str, Address] = OrderedDict()

    def choose(self, client: str) -> list[Address]:
        """Return the targets in the order to try them: in turn, or (ClientIP affinity) the client's own first."""
        if not self.targets:
            return []
        at = self.next % len(self.targets)
        self.next += 1
        order = self.targets[at:] + self.targets[:at]
        kept = self.clients.get(client)
        if kept in self.targets:
            order = [kept, *(target for target in order if target != kept)]
        return order[:3]

    def remember(self, client: str, target: Address) -> None:
        """Keep to `target` for this client, where the Service wants that."""
        if self.sticks:
            self.clients[client] = target
            self.clients.move_to_end(client)
            while len(self.clients) > AFFINITY_CLIENTS:
                self.clients.popitem(last=False)


class Forwarder:
    """All rows, their listeners and what goes through them."""

    def __init__(self, holder: Holder) -> None:
        """Forward nothing yet."""
        self.holder = holder
        self.loop = holder.loop
        self.buffer = memoryview(bytearray(BLOCK_BYTES))
        self.connections: set[Connection] = set()
        self._open: dict[Key, TcpListener | UdpListener] = {}
        self._wanted: dict[Key, Row] = {}
        self._failed: dict[Key, OSError] = {}
        self._added: set[str] = set()
        self._retry: Timer | None = None

    def serve(self, message: Message, descriptors: list[int], answer: Callable[..., None]) -> None:
        """Answer `forward` {table}: make it so, and say what could not be bound."""
        for descriptor in descriptors:
            os.close(descriptor)
        if message["do"] != "forward":
            raise ValueError(f"unknown request {message['do']!r}")
        rows = [Row(fields) for fields in message["table"]]
        self._apply({row.key: row for row in rows})
        answer({"failures": self._failures()})

    def _apply(self, wanted: dict[Key, Row]) -> None:
        for key in [key for key in self._open if key not in wanted]:
            self._open.pop(key).close()
        self._wanted = wanted
        self._settle_addresses({row.address for row in wanted.values() if row.side == "pods"})
        self._failed = {}
        for key, row in wanted.items():
            listener = self._open.get(key)
            if listener is not None:
                listener.row.targets, listener.row.sticks = row.targets, row.sticks
            else:
                self._listen(row)
        self._arm()

    def _settle_addresses(self, wanted: set[str]) -> None:
        if not self.holder.network:
            return
        for address in self._added - wanted:
            with contextlib.suppress(OSError):
                self.holder.remove_address(address)
        for address in wanted - self._added:
            with contextlib.suppress(OSError):  # the bind says what is wrong
                self.holder.add_address(address)
        self._added = wanted

    def _listen(self, row: Row) -> None:
        kind = socket.SOCK_DGRAM if row.protocol == "udp" else socket.SOCK_STREAM
        sock = self.holder.bridge_socket(kind) if row.side == "pods" else socket.socket(socket.AF_INET, kind)
        try:
            sock.setblocking(False)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((row.address, row.port))
            if kind == socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            self._failed[row.key] = error
            return
        self._open[row.key] = UdpListener(self, row, sock) if row.protocol == "udp" else TcpListener(self, row, sock)

    def _arm(self) -> None:
        if self._failed and self._retry is None:
            self._retry = self.loop.call_later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        before, self._failed = self._failed, {}
        for key in before:
            if key in self._wanted:
                self._listen(self._wanted[key])
        if {k: e.errno for k, e in before.items()} != {k: e.errno for k, e in self._failed.items()}:
            self.holder.emit({"event": "forward", "failures": self._failures()})
        self._arm()

    def _failures(self) -> list[Message]:
        return [
            {"side": side, "protocol": protocol, "address": address, "port": port, "errno": error.errno,
             "error": error.strerror or str(error)}
            for (side, protocol, address, port), error in self._failed.items()
        ]  # fmt: skip

    def socket_to(self, target: Address, kind: int) -> socket.socket:
        """Return a non-blocking socket of the network that `target` is in."""
        if target[0].startswith("127.") or not self.holder.network:
            made = socket.socket(socket.AF_INET, kind)
        else:
            made = self.holder.bridge_socket(kind)
        made.setblocking(False)
        return made

    def close_all(self) -> None:
        """Close every listener and connection."""
        if self._retry is not None:
            self._retry.cancel()
        for listener in self._open.values():
            listener.close()
        self._open.clear()
        for connection in list(self.connections):
            connection.close()


class TcpListener:
    """Accepts for one row."""

    def __init__(self, forwarder: Forwarder, row: Row, sock: socket.socket) -> None:
        """Serve `sock`, which listens."""
        self.row = row
        self._forwarder = forwarder
        self._socket = sock
        forwarder.loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    self._rest()
                return
            Connection(self._forwarder, self.row, sock, peer[0])

    def _rest(self) -> None:
        """No descriptor is left: look away for a moment, instead of being told again at once."""
        loop, descriptor = self._forwarder.loop, self._socket.fileno()
        loop.remove(descriptor)

        def go_on() -> None:
            if self._socket.fileno() >= 0:
                loop.add_reader(descriptor, self._accept)

        loop.call_later(0.2, go_on)

    def close(self) -> None:
        """Accept no more; what is open goes on."""
        self._forwarder.loop.remove(self._socket.fileno())
        self._socket.close()


class _End:
    """One end of a connection: its socket, what waits to be written to it, and whether its peer has said the last."""

    __slots__ = ("has_ended", "held", "other", "socket")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.other: _End
        self.held: bytes | memoryview = b""
        self.has_ended = False


class Connection:
    """A client and a target, and the bytes between them. Each direction reads only while the other end takes it."""

    def __init__(self, forwarder: Forwarder, row: Row, client: socket.socket, peer: str) -> None:
        """Connect `client` to one of the row's targets; a refusing target makes room for the next one."""
        self._forwarder = forwarder
        self._loop = forwarder.loop
        self._row, self._peer = row, peer
        self._order = row.choose(peer)
        self._client = client
        self._target: socket.socket | None = None
        self._timer: Timer | None = None
        self._ends: list[_End] = []
        client.setblocking(False)
        forwarder.connections.add(self)
        self._try_next()

    def _try_next(self) -> None:
        while self._order:
            target = self._order.pop(0)
            try:
                sock = self._forwarder.socket_to(target, socket.SOCK_STREAM)
            except OSError:
                break
            code = sock.connect_ex(target)
            if code in {0, errno.EINPROGRESS}:
                self._target = sock
                self._loop.add_writer(sock.fileno(), lambda target=target: self._connected(target))  # type: ignore[misc]
                self._timer = self._loop.call_later(_CONNECT_SECONDS, self._give_up)
                return
            sock.close()
        self._refuse()

    def _connected(self, target: Address) -> None:
        sock = self._target
        assert sock is not None
        self._stop_waiting()
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._drop_target()
            self._try_next()
            return
        self._row.remember(self._peer, target)
        for one in (self._client, sock):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = [_End(self._client), _End(sock)]
        ends[0].other, ends[1].other = ends[1], ends[0]
        self._ends = ends
        for end in ends:
            self._loop.add_reader(end.socket.fileno(), lambda end=end: self._read(end))  # type: ignore[misc]

    def _give_up(self) -> None:
        self._timer = None
        self._drop_target()
        self._try_next()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._target is not None:
            self._loop.remove(self._target.fileno())

    def _drop_target(self) -> None:
        if self._target is not None:
            self._loop.remove(self._target.fileno())
            self._target.close()
            self._target = None

    def _refuse(self) -> None:
        """Nobody is there: the client sees a reset, the nearest to a refusal that is left after accepting."""
        with contextlib.suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def _read(self, end: _End) -> None:
        buffer = self._forwarder.buffer
        try:
            count = end.socket.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:
            self._reset()
            return
        if not count:
            end.has_ended = True
            self._loop.remove_reader(end.socket.fileno())
            with contextlib.suppress(OSError):
                end.other.socket.shutdown(socket.SHUT_WR)
            if end.other.has_ended:
                self.close()
            return
        try:
            sent = end.other.socket.send(buffer[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._reset()
            return
        if sent < count:
            end.other.held = bytes(buffer[sent:count])
            self._loop.remove_reader(end.socket.fileno())
            self._loop.add_writer(end.other.socket.fileno(), lambda: self._write(end.other))

    def _write(self, end: _End) -> None:
        try:
            sent = end.socket.send(end.held)
        except BlockingIOError:
            return
        except OSError:
            self._reset()
            return
        end.held = memoryview(end.held)[sent:]
        if not end.held:
            end.held = b""
            self._loop.remove_writer(end.socket.fileno())
            source = end.other
            self._loop.add_reader(source.socket.fileno(), lambda: self._read(source))

    def _reset(self) -> None:
        """One end failed: the other one learns it as a reset, not as an orderly end."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Close both ends."""
        if self not in self._forwarder.connections:
            return
        self._forwarder.connections.discard(self)
        self._stop_waiting()
        for sock in (self._client, self._target):
            if sock is not None and sock.fileno() >= 0:
                self._loop.remove(sock.fileno())
                sock.close()


class UdpListener:
    """Datagrams of one row: a flow per client, with a socket of its own to its target."""

    def __init__(self, forwarder: Forwarder, row: Row, sock: socket.socket) -> None:
        """Serve `sock`, which is bound."""
        self.row = row
        self._forwarder = forwarder
        self._loop = forwarder.loop
        self._socket = sock
        self._flows: OrderedDict[Address, tuple[socket.socket, list[float]]] = OrderedDict()
        self._sweep: Timer | None = None
        self._loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        buffer = self._forwarder.buffer
        for _ in range(_DATAGRAMS):
            try:
                count, client = self._socket.recvfrom_into(buffer)
            except OSError:
                return
            flow = self._flow(client)
            if flow is not None:
                with contextlib.suppress(
                    OSError
                ):  # a datagram may be lost; a refusal comes back as an error of the next
                    flow.send(buffer[:count])

    def _flow(self, client: Address) -> socket.socket | None:
        known = self._flows.get(client)
        if known is None:
            order = self.row.choose(client[0])
            if not order:
                return None
            try:
                sock = self._forwarder.socket_to(order[0], socket.SOCK_DGRAM)
                sock.connect(order[0])
            except OSError:
                return None
            self.row.remember(client[0], order[0])
            known = self._flows[client] = (sock, [0.0])
            self._loop.add_reader(sock.fileno(), lambda: self._back(client, sock))
            if len(self._flows) > UDP_FLOWS:
                self._end(next(iter(self._flows)))
            if self._sweep is None:
                self._sweep = self._loop.call_later(UDP_IDLE_SECONDS, self._end_idle)
        known[1][0] = time.monotonic()
        self._flows.move_to_end(client)
        return known[0]

    def _back(self, client: Address, sock: socket.socket) -> None:
        buffer = self._forwarder.buffer
        for _ in range(_DATAGRAMS):
            try:
                count = sock.recv_into(buffer)
            except BlockingIOError:
                return
            except OSError:
                self._end(client)
                return
            self._flows[client][1][0] = time.monotonic()
            with contextlib.suppress(OSError):
                self._socket.sendto(buffer[:count], client)

    def _end_idle(self) -> None:
        self._sweep = None
        oldest = time.monotonic() - UDP_IDLE_SECONDS
        for client in [client for client, (_, used) in self._flows.items() if used[0] < oldest]:
            self._end(client)
        if self._flows:
            self._sweep = self._loop.call_later(UDP_IDLE_SECONDS, self._end_idle)

    def _end(self, client: Address) -> None:
        sock, _ = self._flows.pop(client)
        self._loop.remove(sock.fileno())
        sock.close()

    def close(self) -> None:
        """End the listener and its flows."""
        if self._sweep is not None:
            self._sweep.cancel()
        for client in list(self._flows):
            self._end(client)
        self._loop.remove(self._socket.fileno())
        self._socket.close()
