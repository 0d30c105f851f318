"""The real application on a real Unix socket over the real registry, with Pod streams and a daemon made for tests."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from localset.apiserver.application import make_application
from localset.apiserver.listener import UnixListener
from localset.base.clock import SystemClock
from localset.client.streams import LogOptions, Usage, UsageReport
from localset.machinery.errors import bad_request
from localset.machinery.metadata import Object
from localset.registry.bootstrap import bootstrap
from localset.registry.registry import Registry
from localset.store.store import Store


class EchoSession:
    """A command that echoes its input, ends with its input, and exits with the code that its second word says."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.sizes: list[tuple[int, int]] = []
        self.closed = asyncio.Event()
        self._pieces: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()

    async def write(self, data: bytes) -> None:
        self._pieces.put_nowait((1, data))

    async def close_stdin(self) -> None:
        self._pieces.put_nowait((2, b"bye"))
        self._pieces.put_nowait(None)

    async def output(self) -> AsyncGenerator[tuple[int, bytes], None]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def wait(self) -> int:
        return self.code

    async def aclose(self) -> None:
        self.closed.set()


@dataclass
class TestStreams:
    """Pod streams whose text the test chooses."""

    __test__ = False
    lines: list[bytes] = field(default_factory=lambda: [b"one\n", b"two\n"])
    sessions: list[EchoSession] = field(default_factory=list)
    asked: list[LogOptions] = field(default_factory=list)

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        self.asked.append(options)
        if options.container == "zz":
            raise bad_request(f"container zz is not valid for pod {pod['metadata']['name']}")
        for line in self.lines:
            yield line
        if options.follow:
            await asyncio.Event().wait()

    def require_reachable(self, pod: Object) -> None:
        if pod["metadata"]["name"] == "dead":
            raise bad_request("unable to forward port because pod is not running. Current status=Pending")

    async def dial(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    def require_running(self, pod: Object, container: str) -> None:
        if container == "zz":
            raise bad_request(f"container zz is not valid for pod {pod['metadata']['name']}")

    async def execute(self, pod: Object, container: str, command: list[str], *, stdin: bool, tty: bool) -> EchoSession:
        self.sessions.append(EchoSession(int(command[1]) if len(command) > 1 else 0))
        return self.sessions[-1]

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> EchoSession:
        return await self.execute(pod, container, ["attached"], stdin=stdin, tty=tty)

    async def usage(self, pods: Sequence[Object]) -> UsageReport:
        return UsageReport(0.5, {p["metadata"]["uid"]: {"c": Usage(0.25, 2**20)} for p in pods}, Usage(1.5, 2**30))


@dataclass
class TestControl:
    """A daemon that remembers what it was asked."""

    __test__ = False
    shutdowns: list[tuple[bool, float | None]] = field(default_factory=list)

    async def status(self) -> dict[str, Any]:
        return {"daemon": {"pid": 1}}

    async def shutdown(self, *, keep_running: bool, timeout_seconds: float | None) -> None:
        self.shutdowns.append((keep_running, timeout_seconds))

    async def query(self, name: str, record_type: str, /) -> dict[str, Any]:
        return {"name": name, "type": record_type, "answers": []}


@dataclass
class House:
    """What a test holds: a session to the server, and the rooms behind it."""

    session: aiohttp.ClientSession
    socket: Path
    registry: Registry
    streams: TestStreams
    control: TestControl
    listener: UnixListener

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Return (status, JSON or text)."""
        if body is None:
            more["skip_auto_headers"] = ["Content-Type"]
        async with self.session.request(method, path, json=body, **more) as response:
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, await (response.json() if is_json else response.text())


@asynccontextmanager
async def open_house(directory: Path, registry: Registry) -> AsyncGenerator[House, None]:
    """Serve `registry` on a socket in `directory`."""
    streams, control = TestStreams(), TestControl()
    listener = UnixListener(make_application(registry, streams, SystemClock(), control), directory / "api.sock")
    await listener.start()
    connector = aiohttp.UnixConnector(str(directory / "api.sock"))
    try:
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            yield House(session, directory / "api.sock", registry, streams, control, listener)
    finally:
        await listener.aclose()


@asynccontextmanager
async def open_registry() -> AsyncGenerator[Registry, None]:
    """Open a registry over an in-memory store, with the objects that every installation has."""
    clock = SystemClock()
    store = Store.open(None, clock)
    try:
        registry = Registry(store, clock)
        await bootstrap(registry)
        yield registry
    finally:
        await store.aclose()
