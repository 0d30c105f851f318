"""`HolderClient`: the daemon's connection to the network holder, made again whenever that one dies.

Used by whoever needs sockets in the Pods' network (DNS, port-forward, Services). The holder itself is started and
watched by the keeper (`KeeperRuntime.network`); nothing here starts a process.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.keeper import wire
from localset.kubelet.keeper_launch import KeeperError, dial_keeper

log = logging.getLogger(__name__)

_FIRST_SECONDS = 0.02
_LONGEST_SECONDS = 1.0
_SOCKET = "holder.sock"


class HolderClient:
    """One connection. `on_connect` runs after each new one, before any waiting request; `on_event` gets each event."""

    def __init__(self, data_directory: Path, clock: Clock) -> None:
        """Connect to nothing yet."""
        self._data_directory = data_directory
        self._clock = clock
        self._tasks = Tasks("holder-client")
        self._socket: socket.socket | None = None
        self._decoder = wire.Decoder()
        self._answers: dict[int, asyncio.Future[tuple[Any, list[int]]]] = {}
        self._number = 0
        self._sending = asyncio.Lock()
        self._lost = asyncio.Event()
        self._connected = asyncio.Event()
        self.on_connect: Callable[[], Awaitable[None]] | None = None
        self.on_event: Callable[[wire.Message], None] | None = None

    def start(self) -> None:
        """Begin to connect, and go on for ever."""
        self._tasks.spawn(self._keep_connected(), "connect")

    async def aclose(self) -> None:
        """Let go of the holder, which stays."""
        await self._tasks.aclose()
        self._disconnect()

    async def request(self, message: wire.Message, descriptors: Sequence[int] = ()) -> tuple[Any, list[int]]:
        """Return the answer and its descriptors, which the caller owns; those given stay the caller's.

        Waits for a connection. OSError when the holder refuses; ConnectionResetError when it dies meanwhile.
        """
        await self._connected.wait()
        return await self._send(message, descriptors)

    async def make_socket(self, kind: str, **more: Any) -> socket.socket:
        """Return a socket made in the bridge namespace: `kind` tcp or udp; `bind`, `listen`, `connect`, `name`."""
        _, received = await self.request({"do": "socket", "kind": kind, **more})
        made = socket.socket(fileno=received[0])
        made.setblocking(False)
        return made

    async def _send(self, message: wire.Message, descriptors: Sequence[int] = ()) -> tuple[Any, list[int]]:
        sock = self._socket
        if sock is None:
            raise ConnectionResetError("the network holder has gone")
        self._number += 1
        number = self._number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Any, list[int]]] = loop.create_future()
        self._answers[number] = future
        try:
            async with self._sending:
                await self._write(sock, wire.encode({**message, "id": number, "fds": len(descriptors)}), descriptors)
            return await future
        finally:
            self._answers.pop(number, None)

    async def _write(self, sock: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
        """Send a frame whose first byte carries the descriptors; that byte is not sent twice."""
        sent = 0
        while not sent:
            try:
                sent = wire.send(sock, data, list(descriptors))
            except BlockingIOError:
                await self._clock.sleep(0.001)
        if sent < len(data):
            await asyncio.get_running_loop().sock_sendall(sock, data[sent:])

    async def _keep_connected(self) -> None:
        delay = _FIRST_SECONDS
        while True:
            try:
                sock = dial_keeper(self._data_directory, _SOCKET)
            except KeeperError as error:
                log.warning("%s", error)
                sock = None
            if sock is None:
                await self._clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_SECONDS)
                continue
            delay = _FIRST_SECONDS
            await self._converse(sock)

    async def _converse(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket, self._decoder = sock, wire.Decoder()
        self._lost.clear()
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        try:
            await self._send({"do": "subscribe"})
            if self.on_connect is not None:
                await self.on_connect()
            self._connected.set()
            await self._lost.wait()
        except OSError as error:
            log.warning("network holder: %s", error)
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        self._connected.clear()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._decoder.close()
        answers, self._answers = self._answers, {}
        for future in answers.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the network holder has gone"))

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data, descriptors = wire.receive(self._socket)
            messages = self._decoder.feed(data, descriptors) if data else []
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            log.warning("network holder: %s", error)
            data, messages = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._lost.set()
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(ConnectionResetError("the network holder has gone"))
            return
        for message, received in messages:
            self._take(message, received)

    def _take(self, message: wire.Message, received: list[int]) -> None:
        future = self._answers.get(message.get("id", 0))
        if "event" in message and self.on_event is not None:
            self.on_event(message)
        elif future is not None and not future.done():
            if "error" in message:
                future.set_exception(OSError(message.get("errno") or 0, message["error"]))
            else:
                future.set_result((message["ok"], received))
            return
        for descriptor in received:
            os.close(descriptor)
