"""What the daemon tells DNS: where to listen, what to forward; and how DNS says that it could not listen.

Made by `daemon`, read by `server`. No I/O here but the question who holds a port.
"""

import socket
from typing import NamedTuple

from localset.base.frozen import frozen


@frozen
class DnsSettings:
    """Addresses are numeric. `pods_address` None, or the host's own address and port: no second listener.

    One listener for both serves the Pods' way: it forwards. `upstreams` are `ADDRESS` or `ADDRESS:PORT`, IPv6 in
    brackets when a port follows; None means those of /etc/resolv.conf, read again when that file changes. Port 0: any
    free one. `pods_sockets` (UDP, TCP) are bound to `pods_address` already, in a network that is not ours to bind in.
    """

    host_address: str
    host_port: int
    pods_address: str | None = None
    pods_port: int = 53
    zone: str = "cluster.local"
    forward: bool = True
    upstreams: list[str] | None = None
    pods_sockets: tuple[socket.socket, socket.socket] | None = None


class BindFailure(NamedTuple):
    """One listener that could not be opened. `holder` names the process that has the port, when it can be seen."""

    address: str
    port: int
    protocol: str
    reason: str
    holder: str | None

    def __str__(self) -> str:
        """Return one sentence for people."""
        held = f", held by {self.holder}" if self.holder else ""
        return f"DNS cannot listen on {self.address} port {self.port} ({self.protocol}): {self.reason}{held}"


class DnsBindError(Exception):
    """Some listener could not be opened. The rest of DNS runs: the daemon reports this and goes on."""

    def __init__(self, failures: list[BindFailure]) -> None:
        """Keep every failure; the message names them all."""
        super().__init__("; ".join(str(failure) for failure in failures))
        self.failures = failures


def find_holder(address: str, port: int, protocol: str) -> str | None:
    """Return `NAME (pid N)` of the process that holds a port, or None when this user may not see it."""
    import psutil

    wildcards = {"0.0.0.0", "::", "*"}  # noqa: S104 - compared, not bound
    try:
        for connection in psutil.net_connections("udp" if protocol == "UDP" else "tcp"):
            local = connection.laddr
            if not local or local.port != port or local.ip not in wildcards | {address} or connection.raddr:
                continue
            if connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return None
    return None
