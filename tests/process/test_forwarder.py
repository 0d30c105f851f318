"""The forwarder in the real network holder: connections and datagrams on the host's network, real sockets."""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from localset.base.clock import SystemClock
from localset.kubelet.holder_client import HolderClient
from localset.kubelet.keeper_runtime import KeeperRuntime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs every address of 127.0.0.0/8")

ADDRESS = "127.203.17.5"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def holding(directory: Path) -> AsyncIterator[HolderClient]:
    runtime = KeeperRuntime(directory, SystemClock())
    await runtime.start()
    client = HolderClient(directory, SystemClock())
    try:
        await runtime.network("")
        client.start()
        yield client
    finally:
        await client.aclose()
        await runtime.shutdown_keeper(force=True)
        await runtime.aclose()


def row(port: int, *targets: tuple[str, int], protocol: str = "tcp", sticks: bool = False) -> dict[str, Any]:
    place = {"side": "host", "protocol": protocol, "address": ADDRESS, "port": port}
    return {**place, "targets": targets, "sticks": sticks}


async def forward(client: HolderClient, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    answer, _ = await client.request({"do": "forward", "table": rows})
    failures: list[dict[str, Any]] = answer["failures"]
    return failures


@asynccontextmanager
async def served(work: Serve) -> AsyncIterator[tuple[str, int]]:
    server = await asyncio.start_server(work, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


def naming(name: bytes) -> Serve:
    async def work(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.close()
        await writer.wait_closed()

    return work


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say everything back once the other side has ended, then one word more."""
    with contextlib.suppress(ConnectionError):
        writer.write(await reader.read(-1) + b"end")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def ask(port: int, data: bytes = b"") -> bytes:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(ADDRESS, port)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_connection_carries_everything_both_ways_with_its_ends(tmp_path: Path) -> None:
    async with holding(tmp_path) as client, served(echo) as target:
        port = free_port()
        assert await forward(client, row(port, target)) == []
        data = bytes(range(256)) * 80_000
        answers = await asyncio.gather(*(ask(port, data) for _ in range(3)))
        assert all(answer == data + b"end" for answer in answers)


async def test_what_is_open_outlives_its_row_and_its_daemon(tmp_path: Path) -> None:
    async with holding(tmp_path) as client, served(echo) as target:
        port = free_port()
        await forward(client, row(port, target))
        reader, writer = await asyncio.open_connection(ADDRESS, port)
        writer.write(b"before ")
        await writer.drain()
        assert await forward(client) == []
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(ADDRESS, port)
        await client.aclose()
        writer.write(b"after")
        writer.write_eof()
        async with asyncio.timeout(5):
            assert await reader.read(-1) == b"before afterend"
        writer.close()
        await writer.wait_closed()


async def test_a_service_goes_round_its_targets_past_those_that_refuse(tmp_path: Path) -> None:
    async with holding(tmp_path) as client, served(naming(b"a")) as a, served(naming(b"b")) as b:
        port, nobody = free_port(), ("127.0.0.1", free_port())
        await forward(client, row(port, a, nobody, b))
        assert sorted([await ask(port) for _ in range(6)]) == [b"a"] * 2 + [b"b"] * 4
        await forward(client, row(port, a, b, sticks=True))
        assert len({await ask(port) for _ in range(4)}) == 1
        await forward(client, row(port, nobody))
        with pytest.raises(ConnectionError):
            await ask(port)


async def test_datagrams_come_back_to_who_sent_them(tmp_path: Path) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def datagram_received(self, data: bytes, sender: Any) -> None:
            self.transport.sendto(data + b"!", sender)

    loop = asyncio.get_running_loop()
    async with holding(tmp_path) as client:
        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        port = free_port()
        await forward(client, row(port, transport.get_extra_info("sockname"), protocol="udp"))
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        async with asyncio.timeout(5):
            for number, sender in enumerate(senders):
                sender.setblocking(False)
                sender.connect((ADDRESS, port))
                sender.send(f"hello {number}".encode())
            assert [await loop.sock_recv(s, 100) for s in senders] == [f"hello {n}!".encode() for n in range(3)]
        for sender in senders:
            sender.close()
        transport.close()


async def test_a_taken_port_is_told_and_taken_when_it_is_free(tmp_path: Path) -> None:
    async with holding(tmp_path) as client, served(naming(b"a")) as target:
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        client.on_event = events.put_nowait
        with socket.socket() as holder:
            holder.bind((ADDRESS, 0))
            holder.listen()
            port = holder.getsockname()[1]
            (failure,) = await forward(client, row(port, target))
            assert (failure["port"], failure["errno"]) == (port, errno.EADDRINUSE)
        async with asyncio.timeout(10):
            assert (await events.get())["failures"] == []
        assert await ask(port) == b"a"
