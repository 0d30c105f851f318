"""The real application behind a real TLS listener, and callers with every kind of credential.

Callers are synchronous (`http.client`), so that a test can send what no well-behaved client would; they run in a
thread beside the server's loop.
"""

import asyncio
import http.client
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from localset.apiserver.application import make_application
from localset.apiserver.certificates import SERVER_NAMES, CertificateFiles, ensure_certificates, make_client
from localset.apiserver.listener import CONNECTIONS, TlsListener, UnixListener
from localset.apiserver.tls import make_context
from localset.apiserver.tokens import Tokens
from localset.base.clock import SystemClock
from localset.registry.registry import Registry
from tests.component.apiserver_house import TestControl, TestStreams

POD_ADDRESS = "127.99.24.1"
_STRICT = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN  # what Python verifies by since 3.13


class Answer(NamedTuple):
    """What came back; `body` is JSON or text."""

    status: int
    body: Any
    headers: http.client.HTTPMessage


def make_files(directory: Path) -> CertificateFiles:
    """Return the certificates of an installation, with those of `bob`, who has no rights, in `bob.pem`."""
    files = CertificateFiles(directory)
    now = SystemClock().now()
    ensure_certificates(files, [*SERVER_NAMES, POD_ADDRESS], now)
    (directory / "bob.pem").write_text("".join(make_client(files, "bob", ("people",), now)))
    return files


class Caller:
    """One keep-alive connection with one credential."""

    def __init__(self, port: int, files: CertificateFiles, *, who: str = "", token: str = "") -> None:
        """`who` is `admin`, `bob` or empty; `token` goes into every request."""
        self.context = ssl.create_default_context(cafile=str(files.ca))
        self.context.verify_flags |= _STRICT
        if who:
            self.context.load_cert_chain(files.directory / f"{who}.pem")
        self.port = port
        self.token = token
        self._connection: http.client.HTTPSConnection | None = None

    def call(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, host: str | None = ""
    ) -> Answer:
        """Send one request; `host` None sends no Host header."""
        for attempt in (1, 2):
            if self._connection is None:
                self._connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=20)
            try:
                return self._send(self._connection, method, path, body, headers or {}, host)
            except (http.client.RemoteDisconnected, ConnectionError):  # closed while idle
                self.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        host: str | None,
    ) -> Answer:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if host is not None:
            connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        if self.token:
            connection.putheader("Authorization", f"Bearer {self.token}")
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
            headers = {"Content-Type": "application/json", **headers}
        for name, value in headers.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(data)
        response = connection.getresponse()
        content = response.read()
        if response.will_close:
            self.close()
        is_json = "json" in response.headers.get("Content-Type", "")
        return Answer(
            response.status, json.loads(content) if is_json else content.decode(errors="replace"), response.headers
        )

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class TlsHouse:
    """A server on a port of 127.0.0.1, and what is behind it."""

    port: int
    files: CertificateFiles
    registry: Registry
    tokens: Tokens
    context: ssl.SSLContext
    unix: Path
    streams: TestStreams
    control: TestControl

    def caller(self, who: str = "", *, token: str = "") -> Caller:
        """Return a caller; its user closes it."""
        return Caller(self.port, self.files, who=who, token=token)

    async def ask(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Send one request on a connection of its own."""
        token = more.pop("token", "")
        return await self.run(lambda caller: caller.call(method, path, body, **more), who, token=token)

    async def run(self, work: Callable[[Caller], Any], who: str = "", *, token: str = "") -> Any:
        """Run `work` with a caller, in a thread."""
        caller = self.caller(who, token=token)
        try:
            return await asyncio.to_thread(work, caller)
        finally:
            caller.close()


@asynccontextmanager
async def open_tls_house(
    directory: Path, files: CertificateFiles, registry: Registry, streams: TestStreams | None = None
) -> AsyncGenerator[TlsHouse, None]:
    """Serve `registry` over TLS on a free port of 127.0.0.1 and of the Pods' address."""
    clock, streams, control = SystemClock(), streams or TestStreams(), TestControl()
    tokens = Tokens(registry, clock, b"k" * 32)
    application = make_application(registry, streams, clock, control, tokens)
    unix = UnixListener(application, directory / "api.sock")
    await unix.start()
    context = make_context(files.server, files.ca)
    tls = TlsListener()
    port = tls.bind("127.0.0.1", 0)
    tls.bind(POD_ADDRESS, port)
    tls.serve(unix.http_server, application[CONNECTIONS], context)
    try:
        yield TlsHouse(port, files, registry, tokens, context, directory / "api.sock", streams, control)
    finally:
        await tls.aclose()
        await unix.aclose()
