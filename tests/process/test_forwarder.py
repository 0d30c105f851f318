"""The forwarder in the real network holder: connections and datagrams on the host's network, real sockets."""

import asyncio
import contextlib
import errno
import os
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
async def holding(directory: Path, subnet: str = "") -> AsyncIterator[HolderClient]:
    runtime = KeeperRuntime(directory, SystemClock())
    await runtime.start()
    client = HolderClient(directory, SystemClock())
    try:
        await runtime.network(subnet)
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
        try:
            writer.write(data)
            writer.write_eof()
            return await reader.read(-1)
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # a reset has been told already
                await writer.wait_closed()


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
    async def greet_and_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await echo(reader, writer)

    async with holding(tmp_path) as client, served(greet_and_echo) as target:
        port = free_port()
        await forward(client, row(port, target))
        reader, writer = await asyncio.open_connection(ADDRESS, port)
        writer.write(b"before ")
        await writer.drain()
        assert await reader.readexactly(5) == b"hello"
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
        with pytest.raises(OSError, match=r"Errno (32|104|107)\b"):  # whatever we do when the reset comes
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


async def test_datagrams_leave_a_target_that_is_one_no_more(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with holding(tmp_path) as client, asyncio.timeout(10):
        port = free_port()
        kinds = socket.AF_INET, socket.SOCK_DGRAM
        with socket.socket(*kinds) as old, socket.socket(*kinds) as new, socket.socket(*kinds) as sender:
            for one in (old, new):
                one.setblocking(False)
                one.bind(("127.0.0.1", 0))
            sender.connect((ADDRESS, port))
            await forward(client, row(port, old.getsockname(), protocol="udp"))
            sender.send(b"first")
            assert await loop.sock_recv(old, 100) == b"first"
            await forward(client, row(port, new.getsockname(), protocol="udp"))
            sender.send(b"second")
            assert await loop.sock_recv(new, 100) == b"second"


async def test_a_slow_reader_holds_the_sender_and_a_reset_reaches_it(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with holding(tmp_path) as client, asyncio.timeout(20):
        port = free_port()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            await forward(client, row(port, server.getsockname()))
            sender = socket.create_connection((ADDRESS, port))
            receiver, _ = await loop.sock_accept(server)
        with sender, receiver:
            sender.setblocking(False)
            before = await memory(client)
            sent = await send_until_held(sender)
            assert await memory(client) < before + (4 << 20)
            received = 0
            while received < sent:
                received += len(await loop.sock_recv(receiver, 1 << 20))
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            receiver.close()
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(sender, 1)


async def send_until_held(sender: socket.socket) -> int:
    """Send until nothing more goes for a tenth of a second, and return how many bytes went."""
    loop, block, sent = asyncio.get_running_loop(), bytes(1 << 20), 0
    while True:
        writable = asyncio.Event()
        loop.add_writer(sender, writable.set)
        try:
            await asyncio.wait_for(writable.wait(), 0.1)
        except TimeoutError:
            return sent
        finally:
            loop.remove_writer(sender)
        sent += sender.send(block)


async def memory(client: HolderClient) -> int:
    """Return the holder's anonymous memory in bytes."""
    hello, _ = await client.request({"do": "hello"})
    return anonymous_bytes(hello["pid"])


def anonymous_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:"))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may lack the namespaces")
async def test_an_address_without_targets_refuses_at_once_in_the_pods_network(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with holding(tmp_path, "10.79.0.0/16") as client, served(naming(b"a")) as target, asyncio.timeout(2):
        place = {"side": "pods", "protocol": "tcp", "address": "10.79.8.5", "port": 80}
        await forward(client, {**place, "targets": [target]})
        with await client.make_socket("tcp") as one:
            await loop.sock_connect(one, ("10.79.8.5", 80))
            assert await loop.sock_recv(one, 10) == b"a"
        await forward(client, {**place, "targets": []})
        with await client.make_socket("tcp") as one, pytest.raises(ConnectionRefusedError):
            await loop.sock_connect(one, ("10.79.8.5", 80))


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
