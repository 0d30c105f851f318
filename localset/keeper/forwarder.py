"""Forwards what comes to Pods' and Services' addresses: the network holder's other half (runtime.md 3.3).

The daemon sends the whole table (`forward`), again after every change; what is open stays open, so a killed daemon cuts
nothing. A row listens in the host's network or in the Pods' (`side`) and leads to targets, each in the network that its
address says: 127.x is the host's. What cannot be bound is answered with the reason, tried again, and told when it
changes. Bounded everywhere: one block held back per connection, so many UDP flows per row.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Protocol

from localset.keeper.forwarder_moving import mover
from localset.keeper.forwarder_table import Address, Key, Message, Row
from localset.keeper.forwarder_tcp import Connection, TcpListener
from localset.keeper.forwarder_udp import UdpListener
from localset.keeper.loop import Loop, Timer

RETRY_SECONDS = 2.0
_BACKLOG = 128


class Holder(Protocol):
    """What the forwarder needs of the network holder."""

    loop: Loop
    network: str
    gateway: str

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


class Forwarder:
    """All rows, their listeners and what goes through them."""

    def __init__(self, holder: Holder) -> None:
        """Forward nothing yet."""
        self.holder = holder
        self.loop = holder.loop
        self.mover = mover()
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
        for key in [key for key in self._open if key not in wanted or not wanted[key].targets]:
            self._open.pop(key).close()
        self._wanted = wanted
        inside = {row.address for row in wanted.values() if row.side == "pods"}
        self._settle_addresses(inside - {self.holder.gateway})
        self._failed = {}
        for key, row in wanted.items():
            listener = self._open.get(key)
            if listener is not None:
                listener.retarget(row)
            elif row.targets:
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
        try:
            sock = self.holder.bridge_socket(kind) if row.side == "pods" else socket.socket(socket.AF_INET, kind)
        except OSError as error:
            self._failed[row.key] = error
            return
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
        self.mover.close()
