"""A WebSocket client of exactly the frames that exec and port-forward need (RFC 6455; kube-api.md 8.2, 8.3).

Over the daemon's Unix socket, synchronous; `sessions` multiplexes it with the terminal by select. No extension, no ping
of our own.
"""

import base64
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from localset.cli.transport import DaemonNotRunningError
from localset.machinery.errors import StatusError

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


class WebSocket:
    """An open connection. One thread may send while another receives."""

    def __init__(self, socket_path: Path, url: str, protocol: str = "v5.channel.k8s.io") -> None:
        """Connect and upgrade; raises StatusError when refused."""
        self._writing = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        try:
            self._socket.connect(str(socket_path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise DaemonNotRunningError from error
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {url} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\nUser-Agent: localset\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        head = self._read_head()
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            self._refuse(head, status)

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            data = self._socket.recv(65536)
            if not data:
                raise StatusError(500, "InternalError", "the daemon closed the connection")
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def _refuse(self, head: bytes, status: int) -> None:
        lines = head.decode("latin-1").split("\r\n")
        lengths = [
            value for name, _, value in (line.partition(":") for line in lines) if name.lower() == "content-length"
        ]
        length = int(lengths[0]) if lengths else 0
        body = self._buffer
        while len(body) < length and (data := self._socket.recv(65536)):
            body += data
        self._socket.close()
        try:
            value: Any = json.loads(body)
        except ValueError:
            value = None
        if isinstance(value, dict) and value.get("kind") == "Status":
            raise StatusError.from_status(value)
        raise StatusError(status, "", body.decode(errors="replace") or f"the daemon answered {status}")

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._socket.fileno()

    @property
    def has_buffered(self) -> bool:
        """Tell whether a whole frame can be read without waiting."""
        return self._frame_length() is not None

    def send(self, channel: int, data: bytes) -> None:
        """Send `data` on a channel, in one masked binary frame."""
        self._send_frame(0x2, bytes([channel]) + data)

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        head = bytes([0x80 | opcode])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += bytes([0x80 | 126]) + length.to_bytes(2, "big")
        else:
            head += bytes([0x80 | 127]) + length.to_bytes(8, "big")
        mask = os.urandom(4)
        repeated = (mask * (length // 4 + 1))[:length]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
        with self._writing:
            self._socket.sendall(head + mask + masked)

    def _frame_length(self) -> tuple[int, int] | None:
        """Return (start of payload, its length) of the first frame when it is complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 0x7F, 2
        if length == 126:
            if len(buffer) < 4:
                return None
            length, start = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            if len(buffer) < 10:
                return None
            length, start = int.from_bytes(buffer[2:10], "big"), 10
        return (start, length) if len(buffer) >= start + length else None

    def receive(self) -> tuple[int, bytes] | None:
        """Return (channel, data) of the next message, or None when the other side has closed. Waits."""
        while True:
            while (found := self._frame_length()) is None:
                data = self._socket.recv(65536)
                if not data:
                    return None
                self._buffer += data
            start, length = found
            opcode, payload = self._buffer[0] & 0xF, self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            if opcode == 0x8:
                return None
            if opcode == 0x9:
                self._send_frame(0xA, payload)
            elif opcode in {0x1, 0x2} and payload:
                return payload[0], payload[1:]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
