"""Frames on the keeper's socket: a length of four bytes, then JSON; descriptors ride on the frame's first byte.

Used by both sides. A frame says in `fds` how many descriptors belong to it; they are taken from the order of arrival.
Garbage raises ValueError, and the reader closes that connection: nothing of it may reach the keeper's other work.
"""

import array
import json
import os
import socket
import struct
from typing import Any

Message = dict[str, Any]

MAXIMUM_FRAME = 8 << 20
MAXIMUM_DESCRIPTORS = 8
_HEADER = struct.Struct("!I")


def encode(message: Message) -> bytes:
    """Return the bytes of one frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _HEADER.pack(len(body)) + body


class Decoder:
    """Turns arriving bytes and descriptors into messages."""

    def __init__(self) -> None:
        """Start empty."""
        self._data = bytearray()
        self._descriptors: list[int] = []

    def feed(self, data: bytes, descriptors: list[int]) -> list[tuple[Message, list[int]]]:
        """Return the messages that are complete now, each with its descriptors, which the caller owns."""
        self._data += data
        self._descriptors += descriptors
        complete: list[tuple[Message, list[int]]] = []
        while len(self._data) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._data)
            if length > MAXIMUM_FRAME:
                raise ValueError("frame too long")
            if len(self._data) < _HEADER.size + length:
                break
            message = json.loads(bytes(self._data[_HEADER.size : _HEADER.size + length]))
            del self._data[: _HEADER.size + length]
            if not isinstance(message, dict):
                raise ValueError("not an object")  # noqa: TRY004 - garbage has one error
            count = message.get("fds", 0)
            if not isinstance(count, int) or not 0 <= count <= len(self._descriptors):
                raise ValueError("descriptors missing")
            complete.append((message, self._descriptors[:count]))
            del self._descriptors[:count]
        return complete

    def close(self) -> None:
        """Close descriptors that no message claimed."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def receive(connection: socket.socket, size: int = 65536) -> tuple[bytes, list[int]]:
    """Return what has arrived; b"" is end of stream. Descriptors come close-on-exec."""
    space = socket.CMSG_SPACE(MAXIMUM_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, _flags, _address = connection.recvmsg(size, space, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    descriptors: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
            descriptors.extend(numbers)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return data, descriptors


def send(connection: socket.socket, data: bytes | memoryview, descriptors: list[int]) -> int:
    """Send some of `data`, with all `descriptors` on its first byte; return how many bytes went."""
    if not descriptors:
        return connection.send(data)
    rights = array.array("i", descriptors).tobytes()
    return connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
