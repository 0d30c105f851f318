"""pods/proxy and services/proxy: what is passed on, what comes back, what is refused."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio

from localset.apis.served import ServedResources
from localset.apiserver.routes import RouteTable
from tests.component.apiserver_house import House, open_house, open_registry

V1 = "/api/v1/namespaces/default"


class WebServer:
    """Answers every request with what it has read of it, or with what a test sets."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = b""
        self.asked = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer or b"HTTP/1.0 201 Created\r\nContent-Type: text/x\r\nSet-Cookie: a=b\r\n\r\nhello")
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[WebServer, None]:
    made = WebServer()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await listening.wait_closed()


@pytest_asyncio.fixture
async def house(tmp_path: Path, server: WebServer) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        container = {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": server.port}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
        await opened.call("POST", f"{V1}/pods", pod)
        for name in ("s", "empty"):
            spec = {"ports": [{"name": "web", "port": 80}]}
            service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
            await opened.call("POST", f"{V1}/services", service)
        address = {"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "p"}}
        subset = {"addresses": [address], "ports": [{"name": "web", "port": server.port}]}
        endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s"}, "subsets": [subset]}
        assert (await opened.call("POST", f"{V1}/endpoints", endpoints))[0] == 201
        yield opened


async def test_requests_reach_the_pod_by_every_name(house: House, server: WebServer) -> None:
    names = ("pods/p", f"pods/p:{server.port}", "pods/http:p:http", "services/s", "services/s:web", "services/s:80")
    for name in names:
        headers = {"Authorization": "Bearer secret", "Cookie": "c=d", "Accept": "text/x"}
        path = f"{V1}/{name}/proxy/a//b%2Fc/?x=1&y=%20"
        async with house.session.get(path, headers=headers) as response:
            assert (response.status, await response.text()) == (201, "hello"), name
            assert response.headers["Content-Type"] == "text/x"
            assert "Set-Cookie" not in response.headers
        assert server.asked.startswith(b"GET /a//b%2Fc/?x=1&y=%20 HTTP/1.0\r\n"), server.asked
        assert b"secret" not in server.asked
        assert b"Cookie" not in server.asked


async def test_what_cannot_be_reached_is_told(house: House, server: WebServer, unused_tcp_port: int) -> None:
    for name, status in (
        ("pods/nope", 404),
        ("pods/https:p:1", 400),
        ("pods/p:nosuch", 400),
        (f"pods/p:{unused_tcp_port}", 503),
        ("services/empty", 503),
        ("services/s:81", 503),
    ):
        assert (await house.call("GET", f"{V1}/{name}/proxy/"))[0] == status, name
    for answer in (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"x"):
        server.answer = answer
        assert (await house.call("GET", f"{V1}/pods/p/proxy"))[0] == 503


def test_only_what_follows_proxy_is_free() -> None:
    routes = RouteTable(ServedResources())
    match = routes.match(f"{V1}/pods/p/proxy//x")
    assert match is not None
    assert (match.name, match.subresource, match.tail) == ("p", "proxy", "//x")
    for path in ("pods/p/log/x", "configmaps/p/proxy/x", "pods/p%2Fq/proxy/x"):
        assert routes.match(f"{V1}/{path}") is None
