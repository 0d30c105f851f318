"""HTTP over the daemon's Unix socket, synchronous and with nothing imported that a quick command does not need.

Every command speaks to the same Kubernetes paths as any other client. Raises `DaemonNotRunningError` and the
house's `StatusError`.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from localset.apis.resources import Resource
from localset.machinery.errors import StatusError

TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)


class DaemonNotRunningError(Exception):
    """Nobody listens on the data directory's socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Reply:
    """An answer that is not an error: its JSON value, and the texts of its Warning headers."""

    body: Any
    warnings: list[str]


def path_of(resource: Resource, namespace: str, name: str = "", *, version: str | None = None, sub: str = "") -> str:
    """Return the URL path; an empty namespace of a namespaced resource means all namespaces."""
    version = version or resource.storage_version
    path = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    if resource.namespaced and namespace:
        path += f"/namespaces/{namespace}"
    path += f"/{resource.plural}"
    if name:
        path += f"/{name}"
    return f"{path}/{sub}" if sub else path


def warning_texts(headers: http.client.HTTPMessage) -> list[str]:
    """Return the texts of `Warning: 299 - "text"` headers."""
    texts = []
    for value in headers.get_all("Warning") or []:
        _, _, quoted = value.partition('"')
        texts.append(quoted.rsplit('"', 1)[0].replace('\\"', '"').replace("\\\\", "\\"))
    return texts


class Api:
    """The daemon of one data directory."""

    def __init__(self, socket_path: Path) -> None:
        """Name the socket; connects at the first request and keeps the connection."""
        self.socket_path = socket_path
        self._connection: _UnixConnection | None = None

    def _send(
        self, connection: _UnixConnection, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> None:
        try:
            connection.request(method, url, body=body, headers=headers)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DaemonNotRunningError from error

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
        url = _with_query(path, query)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": accept, "User-Agent": "localset"}
        if data is not None:
            headers["Content-Type"] = content_type
        connection = self._connection or _UnixConnection(str(self.socket_path))
        self._connection = None
        self._send(connection, method, url, data, headers)
        response = connection.getresponse()
        content = response.read()
        if response.will_close:
            connection.close()
        else:
            self._connection = connection
        value = _decode(content, response.headers.get("Content-Type", ""))
        if response.status >= 400:
            raise _error(response.status, value)
        return Reply(value, warning_texts(response.headers))

    def stream(
        self, path: str, *, query: dict[str, Any] | None = None, accept: str = "application/json"
    ) -> Iterator[bytes]:
        """Yield what arrives, as it arrives, on a connection of its own."""
        connection = _UnixConnection(str(self.socket_path))
        try:
            self._send(connection, "GET", _with_query(path, query), None, {"Accept": accept, "User-Agent": "localset"})
            response = connection.getresponse()
            if response.status >= 400:
                raise _error(response.status, _decode(response.read(), response.headers.get("Content-Type", "")))
            while chunk := response.read1(65536):
                yield chunk
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
    pairs = [(k, v) for k, v in (query or {}).items() if v not in (None, "")]
    return f"{path}?{urlencode(pairs, doseq=True)}" if pairs else path


def _decode(content: bytes, content_type: str) -> Any:
    if "json" in content_type:
        return json.loads(content) if content.strip() else None
    return content.decode(errors="replace")


def _error(status: int, value: Any) -> StatusError:
    if isinstance(value, dict) and value.get("kind") == "Status":
        return StatusError.from_status(value)
    return StatusError(status, "", str(value).strip() or f"the daemon answered {status}")
