"""The forwarder's UDP: a flow per client of a row, each with a socket of its own to its target.

Made by `keeper.forwarder`, in the network holder. Flows are bounded in number and end when nobody uses them, or when
their target is no longer one.
"""

import contextlib
import socket
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from localset.keeper.forwarder_table import Address, Row
from localset.keeper.loop import Timer

if TYPE_CHECKING:
    from localset.keeper.forwarder import Forwarder

_IDLE_SECONDS = 60.0
_FLOWS = 512
_DATAGRAMS = 64
_LARGEST = 64 * 1024


class _Flow:
    """One client of a UDP row: the socket to its target, and when it was used."""

    __slots__ = ("socket", "target", "used")

    def __init__(self, sock: socket.socket, target: Address) -> None:
        self.socket = sock
        self.target = target
        self.used = 0.0


class UdpListener:
    """Datagrams of one row: a flow per client, with a socket of its own to its target."""

    def __init__(self, forwarder: "Forwarder", row: Row, sock: socket.socket) -> None:
        """Serve `sock`, which is bound."""
        self.row = row
        self._forwarder = forwarder
        self._loop = forwarder.loop
        self._socket = sock
        self._flows: OrderedDict[Address, _Flow] = OrderedDict()
        self._sweep: Timer | None = None
        self._loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(_DATAGRAMS):
            try:
                data, client = self._socket.recvfrom(_LARGEST)
            except OSError:
                return
            flow = self._flow(client)
            if flow is not None:
                with contextlib.suppress(OSError):  # a datagram may be lost; a refusal is the next one's error
                    flow.send(data)

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
            known = self._flows[client] = _Flow(sock, order[0])
            self._loop.add_reader(sock.fileno(), lambda: self._back(client, sock))
            if len(self._flows) > _FLOWS:
                self._end(next(iter(self._flows)))
            if self._sweep is None:
                self._sweep = self._loop.call_later(_IDLE_SECONDS, self._end_idle)
        known.used = time.monotonic()
        self._flows.move_to_end(client)
        return known.socket

    def _back(self, client: Address, sock: socket.socket) -> None:
        for _ in range(_DATAGRAMS):
            try:
                data = sock.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self._end(client)
                return
            self._flows[client].used = time.monotonic()
            with contextlib.suppress(OSError):
                self._socket.sendto(data, client)

    def _end_idle(self) -> None:
        self._sweep = None
        oldest = time.monotonic() - _IDLE_SECONDS
        for client in [client for client, flow in self._flows.items() if flow.used < oldest]:
            self._end(client)
        if self._flows:
            self._sweep = self._loop.call_later(_IDLE_SECONDS, self._end_idle)

    def _end(self, client: Address) -> None:
        sock = self._flows.pop(client).socket
        self._loop.remove(sock.fileno())
        sock.close()

    def retarget(self, row: Row) -> None:
        """Lead datagrams where `row` says: a client that only sends would never learn that its target has gone."""
        self.row.targets, self.row.sticks = row.targets, row.sticks
        for client in [client for client, flow in self._flows.items() if flow.target not in row.targets]:
            self._end(client)

    def close(self) -> None:
        """End the listener and its flows."""
        if self._sweep is not None:
            self._sweep.cancel()
        for client in list(self._flows):
            self._end(client)
        self._loop.remove(self._socket.fileno())
        self._socket.close()
