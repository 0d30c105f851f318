"""port-forward against the real application and a real listener: three shapes, half-closes, refusals, nothing left."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from localset.apiserver import spdy
from tests.component.apiserver_house import House, open_house, open_registry
from tests.component.spdy_client import SpdyClient

PODS = "/api/v1/namespaces/default/pods"
PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"


async def until(what: Callable[[], bool]) -> None:
    """Return once `what` holds; the tests' own deadlines end it."""
    async with asyncio.timeout(5):
        while True:
            if what():
                return
            await asyncio.sleep(0.002)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class EchoServer:
    """A Pod's port: answers each connection's bytes once they have ended, with `end:` before them; counts who waits."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self.got = 0
        self.is_flooding = False
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            if self.is_flooding:
                while True:
                    writer.write(bytes(1 << 16))
                    await writer.drain()
                    self.sent += 1 << 16
            got = await reader.read()
            self.got += len(got)
            writer.write(b"end:" + got)
            await writer.drain()
        except ConnectionError:
            return
        finally:
            self.open -= 1
            writer.close()

    async def until_idle(self) -> None:
        await until(lambda: not self.open)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        for name in ("p", "dead"):
            spec = {"containers": [{"name": "c", "image": "i"}]}
            await opened.call(
                "POST", PODS, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}
            )
        yield opened


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[EchoServer, None]:
    made = EchoServer()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await made.until_idle()


async def connect(house: House, kind: str) -> SpdyClient:
    if kind == "tunnel":
        return await SpdyClient.tunnel(house.session, f"{PODS}/p/portforward", TUNNEL)
    return await SpdyClient.connect(house.socket, f"{PODS}/p/portforward", PROTOCOL)


async def pair(client: SpdyClient, port: int, number: int) -> tuple[int, int]:
    """Open what kubectl opens for one local connection."""
    headers = {"port": str(port), "requestid": str(number)}
    error = await client.open(streamtype="error", **headers)
    await client.send(error, b"", fin=True)
    return error, await client.open(streamtype="data", **headers)


@pytest.mark.parametrize("kind", ["plain", "tunnel"])
async def test_parallel_connections_end_their_halves_apart(house: House, server: EchoServer, kind: str) -> None:
    async with asyncio.timeout(10):
        client = await connect(house, kind)
        pairs = [await pair(client, server.port, n) for n in range(20)]
        texts = {data: os.urandom(3000 * n) for n, (_, data) in enumerate(pairs)}
        for data, text in texts.items():
            for start in range(0, len(text), 7000):
                await client.send(data, text[start : start + 7000])
        for data in reversed(texts):
            await client.send(data, b"", fin=True)
        await client.read_until_finished(*(number for both in pairs for number in both))
        await client.aclose()
    for error, data in pairs:
        assert bytes(client.received[data]) == b"end:" + texts[data]
        assert not client.received.get(error)


async def test_a_reset_by_the_client_ends_the_connection_after_its_bytes(house: House, server: EchoServer) -> None:
    async with asyncio.timeout(5):
        client = await connect(house, "plain")
        _, data = await pair(client, server.port, 0)
        await client.send(data, bytes(30_000))
        await client.connection.write(spdy.reset_frame(data, spdy.CANCEL))
        await until(lambda: server.got == 30_000)
        await server.until_idle()
        await client.aclose()


async def test_a_port_that_refuses_is_told_and_harms_no_other(
    house: House, server: EchoServer, unused_tcp_port: int
) -> None:
    async with asyncio.timeout(5):
        client = await connect(house, "plain")
        error, data = await pair(client, unused_tcp_port, 0)
        await client.read_until_finished(error, data)
        assert bytes(client.received[error]).startswith(
            b"error forwarding port %d to pod default/p, uid" % unused_tcp_port
        )
        _, data = await pair(client, server.port, 1)
        await client.send(data, b"x", fin=True)
        await client.read_until_finished(data)
        assert bytes(client.received[data]) == b"end:x"
        await client.aclose()


@pytest.mark.parametrize(
    "headers",
    [{"streamtype": "data", "port": "0"}, {"streamtype": "data", "port": "x"}, {"streamtype": "odd", "port": "1"}],
)
async def test_streams_that_name_no_port_are_refused(house: House, headers: dict[str, str]) -> None:
    async with asyncio.timeout(5):
        client = await connect(house, "plain")
        stream = await client.open(**headers)
        while not client.reset:
            await client.read()
        await client.aclose()
    assert client.reset == {stream}


@pytest.mark.parametrize("kind", ["plain", "tunnel"])
async def test_nothing_is_left_when_the_client_goes(house: House, server: EchoServer, kind: str) -> None:
    async with asyncio.timeout(10):
        await (await connect(house, kind)).aclose()  # what is made once is made now
        await asyncio.sleep(0.05)
        before = len(asyncio.all_tasks()), descriptors()
        client = await connect(house, kind)
        for number in range(30):
            await pair(client, server.port, number)
        await client.open(streamtype="data", port=str(server.port), requestid="alone")
        await until(lambda: server.open == 30)
        await client.aclose()
        await server.until_idle()
        await until(lambda: (len(asyncio.all_tasks()), descriptors()) == before)


async def test_a_client_that_does_not_read_stops_the_reading_from_the_pod(house: House, server: EchoServer) -> None:
    server.is_flooding = True
    async with asyncio.timeout(10):
        client = await connect(house, "plain")
        await pair(client, server.port, 0)
        sent = -1
        while sent != server.sent:
            sent = server.sent
            await asyncio.sleep(0.1)
        assert 0 < sent < 32 << 20
        await client.aclose()
        await server.until_idle()


async def test_the_channels_of_the_python_clients(house: House, server: EchoServer, unused_tcp_port: int) -> None:
    path = f"{PODS}/p/portforward?ports={server.port}&ports={unused_tcp_port}"
    for offered, chosen in ((("v5.channel.k8s.io", "v4.channel.k8s.io"), "v4.channel.k8s.io"), ((), None)):
        async with asyncio.timeout(5), house.session.ws_connect(path, protocols=offered) as ws:
            assert ws.protocol == chosen
            received = [bytearray() for _ in range(4)]
            while not (len(received[3]) > 2 and all(len(r) >= 2 for r in received)):
                message = await ws.receive_bytes()
                received[message[0]] += message[1:]
            await ws.send_bytes(b"\x00hello")
        ports = [int.from_bytes(r[:2], "little") for r in received]
        assert ports == [server.port, server.port, unused_tcp_port, unused_tcp_port]
        assert b"error forwarding port" in received[3]


async def test_a_client_that_has_gone_when_its_port_refuses_leaves_no_trace(
    house: House, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send, told = web.WebSocketResponse.send_bytes, asyncio.Event()

    async def send_bytes(socket: web.WebSocketResponse, data: bytes) -> None:
        if len(data) > len(b"\x01PP"):  # the refusal: whether the reader has seen the end by then is a matter of luck
            told.set()
            raise ConnectionResetError("Cannot write to closing transport")
        await send(socket, data)

    monkeypatch.setattr(web.WebSocketResponse, "send_bytes", send_bytes)
    path = f"{PODS}/p/portforward?ports={unused_tcp_port}"
    async with asyncio.timeout(5), house.session.ws_connect(path) as ws:
        await told.wait()
        while not (await ws.receive()).type.name.startswith("CLOS"):
            pass
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_refusals_come_before_the_upgrade(house: House) -> None:
    for path, protocol, status in (
        (f"{PODS}/p/portforward", "v4.channel.k8s.io", 403),
        (f"{PODS}/nope/portforward", PROTOCOL, 404),
        (f"{PODS}/dead/portforward", PROTOCOL, 400),
    ):
        client = await SpdyClient.connect(house.socket, path, protocol)
        assert client.status == status
        await client.aclose()
    for query in ("", "?ports=0", "?ports=http", "?ports=" + ",".join(["1"] * 65)):
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
        status, refusal = await house.call("GET", f"{PODS}/p/portforward{query}", headers=headers)
        assert (status, refusal["reason"]) == (400, "BadRequest")
