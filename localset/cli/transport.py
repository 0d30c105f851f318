"""HTTP over the daemon's Unix socket, synchronous and with nothing imported that a quick command does not need.

Every command speaks to the same Kubernetes paths as any other client. HTTP/1.1 is read by hand, because `http.client`
costs more to import than a request takes. Raises `DaemonNotRunningError` and the house's `StatusError`.
"""

import _socket  # `socket` costs more to import than a request takes, and adds nothing that is used here
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from localset.apis.resources import Resource
from localset.machinery.errors import StatusError

TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
_MOST_HEAD = 256 * 1024


class DaemonNotRunningError(Exception):
    """Nobody listens on the data directory's socket."""


class Reply(NamedTuple):
    """An answer that is not an error: its JSON value, and the texts of its Warning headers."""

    body: Any
    warnings: list[str]


def path_of(resource: Resource, namespace: str, name: str = "", *, version: str | None = None, sub: str = "") -> str:
    """Return the URL path; an empty namespace of a namespaced resource means all namespaces."""
    version = version or resource.storage_version
    path = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    if resource.namespaced and namespace:
        path += f"/namespaces/{quoted(namespace)}"
    path += f"/{resource.plural}"
    if name:
        path += f"/{quoted(name)}"
    return f"{path}/{sub}" if sub else path


def quoted(text: str) -> str:
    """Return a name as one part of a path."""
    if text.isascii() and text.replace("-", "").replace(".", "").isalnum():
        return text
    return _percent(text)


def _percent(text: str) -> str:
    kept = "-_.~"
    return "".join(chr(b) if chr(b) in kept or (chr(b).isalnum() and b < 128) else f"%{b:02X}" for b in text.encode())


class _Connection:
    """One connection to the daemon: requests one after another, answers as whole bodies or as they arrive."""

    def __init__(self, path: str) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._buffer = b""
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise DaemonNotRunningError from error
            raise

    def send(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> None:
        """Send a request and read the head of its answer."""
        lines = [f"{method} {url} HTTP/1.1", "Host: localhost", "User-Agent: localset", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self._socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        self._read_head()

    def is_stale(self) -> bool:
        """Tell whether the daemon closed the connection, or said something unasked, since the last answer."""
        try:
            self._socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _more(self) -> bool:
        data = self._socket.recv(262144)
        self._buffer += data
        return bool(data)

    def _read_head(self) -> None:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MOST_HEAD or not self._more():
                raise ConnectionResetError("the daemon closed the connection")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        pairs = [line.partition(":") for line in lines]
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: str) -> str:
        """Return a header of the last answer, empty for none."""
        return next((value for key, value in self.headers if key == name), "")

    def parts(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        if self.header("transfer-encoding").lower() == "chunked":
            yield from self._chunks()
        elif length := self.header("content-length"):
            left = int(length)
            while left > 0:
                if not self._buffer and not self._more():
                    raise ConnectionResetError("the daemon closed the connection")
                part, self._buffer = self._buffer[:left], self._buffer[left:]
                left -= len(part)
                yield part
        elif self.status not in {204, 304}:
            while self._buffer or self._more():
                part, self._buffer = self._buffer, b""
                yield part

    def _chunks(self) -> Iterator[bytes]:
        while True:
            while b"\r\n" not in self._buffer:
                if not self._more():
                    return  # a watch that was cut: whoever reads it sees the end
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            left = int(line.split(b";")[0], 16)
            is_last = left == 0
            while left > 0:
                if not self._buffer and not self._more():
                    return
                part, self._buffer = self._buffer[:left], self._buffer[left:]
                left -= len(part)
                yield part
            while len(self._buffer) < 2:
                if not self._more():
                    return
            self._buffer = self._buffer[2:]
            if is_last:
                return

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class Api:
    """The daemon of one data directory. Not thread-safe."""

    def __init__(self, socket_path: Path) -> None:
        """Name the socket; connects at the first request and keeps the connection."""
        self.socket_path = socket_path
        self._connection: _Connection | None = None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        """Return the decoded answer; raise StatusError for 4xx and 5xx. Text answers come back as text."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Accept": accept}
        if data is not None:
            headers["Content-Type"] = content_type
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_stale():
            connection.close()
            connection = None
        if connection is None:
            connection = _Connection(str(self.socket_path))
        try:
            connection.send(method, _with_query(path, query), data, headers)
            content = b"".join(connection.parts())
        except BaseException:
            connection.close()
            raise
        if connection.header("connection").lower() == "close":
            connection.close()
        else:
            self._connection = connection
        value = _decode(content, connection.header("content-type"))
        if connection.status >= 400:
            raise _error(connection.status, value)
        return Reply(value, [_warning(v) for name, v in connection.headers if name == "warning"])

    def stream(
        self, path: str, *, query: dict[str, Any] | None = None, accept: str = "application/json"
    ) -> Iterator[bytes]:
        """Yield what arrives, as it arrives, on a connection of its own."""
        connection = _Connection(str(self.socket_path))
        try:
            connection.send("GET", _with_query(path, query), None, {"Accept": accept})
            if connection.status >= 400:
                content = b"".join(connection.parts())
                raise _error(connection.status, _decode(content, connection.header("content-type")))
            yield from connection.parts()
        finally:
            connection.close()

    def watch(self, path: str, *, query: dict[str, Any], accept: str = "application/json") -> Iterator[dict[str, Any]]:
        """Yield watch events; an ERROR event raises StatusError."""
        buffer = b""
        for chunk in self.stream(path, query={"watch": "true", **query}, accept=accept):
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                if not line.strip():
                    continue
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    raise StatusError.from_status(event["object"])
                yield event

    def close(self) -> None:
        """Close the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _with_query(path: str, query: dict[str, Any] | None) -> str:
    pairs = []
    for key, value in (query or {}).items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [f"{_percent(key)}={_percent(str(v))}" for v in values if v not in {None, ""}]
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def _warning(value: str) -> str:
    """Return the text of a header `Warning: 299 - "text"`."""
    _, _, text = value.partition('"')
    return text.rsplit('"', 1)[0].replace('\\"', '"').replace("\\\\", "\\").encode("latin-1").decode(errors="replace")


def _decode(content: bytes, content_type: str) -> Any:
    if "json" in content_type:
        return json.loads(content) if content.strip() else None
    return content.decode(errors="replace")


def _error(status: int, value: Any) -> StatusError:
    if isinstance(value, dict) and value.get("kind") == "Status":
        return StatusError.from_status(value)
    if status == 404 and not isinstance(value, str):
        return StatusError(404, "NotFound", "the server could not find the requested resource")
    return StatusError(status, "", str(value).strip() or f"the daemon answered {status}")
