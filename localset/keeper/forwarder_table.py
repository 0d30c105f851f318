"""The forwarder's table: rows as the daemon sends them, and whose turn it is among a row's targets.

Used by `keeper.forwarder` and by its TCP and UDP halves, in the network holder. Nothing here touches a socket.
"""

from collections import OrderedDict
from typing import Any

Address = tuple[str, int]
Key = tuple[str, str, str, int]
Message = dict[str, Any]

_AFFINITY_CLIENTS = 1024


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
        kept = self.clients.get(client) if self.sticks else None
        if kept in self.targets:
            order = [kept, *(target for target in order if target != kept)]
        return order[:3]

    def remember(self, client: str, target: Address) -> None:
        """Keep to `target` for this client, where the Service wants that."""
        if self.sticks:
            self.clients[client] = target
            self.clients.move_to_end(client)
            while len(self.clients) > _AFFINITY_CLIENTS:
                self.clients.popitem(last=False)
