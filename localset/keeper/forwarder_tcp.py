"""The forwarder's TCP: who accepts for a row, and a connection's bytes from one network to the other.

Made by `keeper.forwarder`, in the network holder. Each direction reads only while the other end takes what was read, so
a connection holds back one block at most; ends and resets are passed on as what they are.
"""

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

from localset.keeper.forwarder_table import Address, Row
from localset.keeper.loop import Timer

if TYPE_CHECKING:
    from localset.keeper.forwarder import Forwarder

_CONNECT_SECONDS = 10.0
_ACCEPTS = 32
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A Pod that goes takes its network along, and may do so before its last segment is out: nobody says the end then."""


class TcpListener:
    """Accepts for one row."""

    def __init__(self, forwarder: "Forwarder", row: Row, sock: socket.socket) -> None:
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

    def retarget(self, row: Row) -> None:
        """Lead the next connections where `row` says; what is open goes on."""
        self.row.targets, self.row.sticks = row.targets, row.sticks

    def close(self) -> None:
        """Accept no more; what is open goes on, and so does what the kernel has taken but we have not seen yet."""
        self._accept()
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

    def __init__(self, forwarder: "Forwarder", row: Row, client: socket.socket, peer: str) -> None:
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
                if _is_connected(sock):  # mostly so within one machine: a round of the loop less
                    self._go(sock, target)
                    return
                self._loop.add_writer(sock.fileno(), lambda target=target: self._connected(target))  # type: ignore[misc]
                self._timer = self._loop.call_later(_CONNECT_SECONDS, self._give_up)
                return
            sock.close()
        self._refuse()

    def _connected(self, target: Address) -> None:
        sock = self._target
        assert sock is not None
        failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not failed and not _is_connected(sock):
            return  # woken by what the descriptor's former owner had waiting
        self._stop_waiting()
        if failed:
            self._drop_target()
            self._try_next()
            return
        self._go(sock, target)

    def _go(self, sock: socket.socket, target: Address) -> None:
        self._row.remember(self._peer, target)
        for one in (self._client, sock):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(sock)
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
        try:
            count, rest = self._forwarder.mover.move(end.socket, end.other.socket)
        except BlockingIOError:
            return
        except OSError:
            self._reset()
            return
        if not count:
            self._end(end)
        elif rest:
            end.other.held = rest
            self._loop.remove_reader(end.socket.fileno())
            self._loop.add_writer(end.other.socket.fileno(), lambda: self._write(end.other))

    def _end(self, end: _End) -> None:
        end.has_ended = True
        self._loop.remove_reader(end.socket.fileno())
        with contextlib.suppress(OSError):
            end.other.socket.shutdown(socket.SHUT_WR)
        if end.other.has_ended:
            self.close()

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


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out when the Pod at the other end is no more."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):  # not all of them on macOS
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
