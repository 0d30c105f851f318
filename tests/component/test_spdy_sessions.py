"""exec and attach over SPDY/3.1 against the real application: negotiation, channels, how they end, hang-ups."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from localset.apiserver import spdy
from tests.component.apiserver_house import House, open_house, open_registry
from tests.component.spdy_client import SpdyClient

PODS = "/api/v1/namespaces/default/pods"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
ALL = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        await opened.call("POST", PODS, POD)
        yield opened


async def start(house: House, query: str, *protocols: str, method: str = "POST") -> SpdyClient:
    return await SpdyClient.connect(house.socket, f"{PODS}/p/{query}", *(protocols or ALL), method=method)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_command_gets_its_input_and_tells_how_it_ended(house: House, method: str) -> None:
    query = "exec?command=cat&command=3&stdin=true&stdout=true&stderr=true"
    async with asyncio.timeout(5):
        client = await start(house, query, method=method)
        assert client.status == 101
        assert "X-Stream-Protocol-Version: v5.channel.k8s.io" in client.head
        error, stdin, stdout, stderr = [await client.open(streamtype=t) for t in ("error", "stdin", "stdout", "stderr")]
        await client.send(stdin, b"hello")
        await client.send(stdin, b"", fin=True)
        await client.read_until_finished(error, stdin, stdout, stderr)
        await client.connection.write(spdy.goaway_frame(0))
        while not client.is_closed:
            await client.read()
        await client.aclose()
        await house.streams.sessions[0].closed.wait()
    assert client.replied == {error, stdin, stdout, stderr}
    assert (bytes(client.received[stdout]), bytes(client.received[stderr])) == (b"hello", b"bye")
    told = json.loads(client.received[error])
    assert told["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


@pytest.mark.parametrize(("protocol", "code", "text"), [(ALL[2], 3, b"command terminated"), (ALL[4], 0, b"")])
async def test_old_protocols_tell_the_end_in_words(house: House, protocol: str, code: int, text: bytes) -> None:
    async with asyncio.timeout(5):
        client = await start(house, f"exec?command=cat&command={code}&stdin=1&stdout=1", protocol)
        assert f"X-Stream-Protocol-Version: {protocol}" in client.head
        error, stdin, stdout = [await client.open(streamtype=t) for t in ("error", "stdin", "stdout")]
        await client.send(stdin, b"", fin=True)
        await client.read_until_finished(error, stdout)
        await client.aclose()
    assert bytes(client.received[error]).startswith(text)
    assert bool(client.received[error]) == bool(text)


async def test_a_terminal_has_its_size_and_one_output(house: House) -> None:
    async with asyncio.timeout(5):
        client = await start(house, "exec?command=cat&stdin=1&stdout=1&stderr=1&tty=1")
        error, stdin, stdout, resize = [await client.open(streamtype=t) for t in ("error", "stdin", "stdout", "resize")]
        await client.send(resize, b'{"Width":120,"Hei')
        await client.send(resize, b'ght":40}\n{"Width":0,"Height":0}\n{"Width":80,"Height":24}\n')
        await client.send(stdin, b"x")
        while not client.received.get(stdout):
            await client.read()
        await client.send(stdin, b"", fin=True)
        await client.read_until_finished(error)
        await client.aclose()
    assert house.streams.sessions[0].sizes in ([(120, 40), (80, 24)], [(80, 24)])


async def test_a_client_that_hangs_up_ends_its_session(house: House) -> None:
    async with asyncio.timeout(5):
        client = await start(house, "attach?stdin=1&stdout=1")
        for kind in ("error", "stdin", "stdout"):
            await client.open(streamtype=kind)
        await client.send(3, b"x")
        while not client.received.get(5):
            await client.read()
        await client.aclose()
        await house.streams.sessions[0].closed.wait()


async def test_pings_come_back_and_unknown_streams_are_refused(house: House) -> None:
    async with asyncio.timeout(5):
        client = await start(house, "exec?command=cat&stdin=1&stdout=1")
        await client.connection.write(spdy.ping_frame(7))
        unknown = await client.open(streamtype="stderr")
        while not (client.pings and client.reset):
            await client.read()
        await client.aclose()
    assert (client.pings, client.reset) == ([7], {unknown})


async def test_bytes_that_are_no_spdy_end_the_connection(house: House) -> None:
    async with asyncio.timeout(5):
        client = await start(house, "exec?command=cat&stdin=1&stdout=1")
        await client.connection.write(b"\x80\x09 no SPDY of version 3 at all")
        while not client.is_closed:
            await client.read()
        await client.aclose()


async def test_refusals_come_before_the_upgrade(house: House) -> None:
    for query, protocol, status in (
        ("exec?command=ls&stdout=1", "v9.channel.k8s.io", 403),
        ("exec?command=ls&container=zz&stdout=1", ALL[0], 400),
        ("exec?stdout=1", ALL[0], 400),
        ("exec?command=ls", ALL[0], 400),
        ("../nope/exec?command=ls&stdout=1", ALL[0], 404),
    ):
        path = f"{PODS}/p/{query}".replace("p/../", "")
        client = await SpdyClient.connect(house.socket, path, protocol)
        assert client.status == status, query
        await client.aclose()


async def test_the_connection_serves_on_after_a_refused_upgrade(house: House) -> None:
    client = await start(house, "exec?stdout=1")
    assert client.status == 400
    await client.connection.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    rest = b""
    while piece := await client.connection.read():
        rest += piece
    await client.aclose()
    assert b"gitVersion" in rest


async def test_shutdown_ends_open_sessions_and_says_why(house: House) -> None:
    async with asyncio.timeout(10):
        client = await start(house, "exec?command=cat&stdin=1&stdout=1")
        error, _, _ = [await client.open(streamtype=t) for t in ("error", "stdin", "stdout")]
        while len(client.replied) < 3:
            await client.read()
        closing = asyncio.ensure_future(house.listener.aclose())
        await client.read_until_finished(error)
        await client.aclose()
        await closing
    assert "shutting down" in json.loads(client.received[error])["message"]
