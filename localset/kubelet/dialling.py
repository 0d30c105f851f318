"""Connections from the daemon to a Pod: where Pods have a network of their own, by a socket that was made in it.

Used by probes, hooks and port-forward through `KubeletContext.dialler`. At the other levels a Pod's address is the
host's, and these are ordinary connections.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

MakeSocket = Callable[[], Awaitable[socket.socket]]
MakeSocketInside = Callable[[str], Awaitable[socket.socket]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_LIMIT = 64 * 1024
_LOOPBACK = "127.0.0.1"


class Dialler:
    """Opens connections. Without arguments all are the host's own."""

    __slots__ = ("_make_socket", "_make_socket_inside", "_prefix")

    def __init__(
        self,
        subnet: str = "",
        make_socket: MakeSocket | None = None,
        make_socket_inside: MakeSocketInside | None = None,
    ) -> None:
        """`make_socket` makes one that reaches `subnet` (`10.x.0.0/16`), `make_socket_inside` one in a Pod, by uid."""
        self._prefix = ".".join(subnet.split(".")[:2]) + "." if subnet else ""
        self._make_socket = make_socket
        self._make_socket_inside = make_socket_inside

    async def open(self, host: str, port: int, *, tls: ssl.SSLContext | None = None, limit: int = _LIMIT) -> Streams:
        """Connect to `host`, a Pod's address or any other; OSError when that fails."""
        if self._make_socket is None or not self._prefix or not host.startswith(self._prefix):
            return await asyncio.open_connection(host, port, ssl=tls, limit=limit)
        return await self._connect(await self._make_socket(), host, port, tls, limit)

    async def open_inside(self, pod_uid: str, address: str, port: int) -> Streams:
        """Connect to a port as the Pod's own programs do, on its 127.0.0.1; where it has none, on its address."""
        if self._make_socket_inside is None or not address.startswith(self._prefix):
            return await self.open(address, port)
        try:
            return await self._connect(await self._make_socket_inside(pod_uid), _LOOPBACK, port, None, _LIMIT)
        except ConnectionRefusedError:  # a server that was told to bind the Pod's address, for the other levels
            return await self.open(address, port)

    @staticmethod
    async def _connect(sock: socket.socket, host: str, port: int, tls: ssl.SSLContext | None, limit: int) -> Streams:
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=host if tls else None, limit=limit)
