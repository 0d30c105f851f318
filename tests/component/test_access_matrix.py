"""Who reaches what over TLS: every route with every kind of credential (reliability.md G13), generated from the tables.

A new route cannot escape: it is in the route table or in FIXED_ROUTES, or it is not served.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from apiserver_house import open_registry

from localset.apis.served import ServedResources
from localset.apiserver.application import FIXED_ROUTES
from localset.apiserver.certificates import CertificateFiles
from localset.apiserver.routes import RouteTable
from tests.component.tls_house import POD_ADDRESS, Caller, TlsHouse, make_files, open_tls_house

PUBLIC = {"/healthz", "/livez", "/readyz", "/version", "/version/"}
DISCOVERY = {*PUBLIC, "/api", "/apis", "/api/", "/apis/"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TYPES = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_files(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture
async def house(tmp_path: Path, files: CertificateFiles) -> AsyncGenerator[TlsHouse, None]:
    async with open_registry() as registry, open_tls_house(tmp_path, files, registry) as opened:
        yield opened


def routes() -> Iterator[tuple[str, frozenset[str]]]:
    """Yield every path of both tables, and what lies around them."""
    yield from RouteTable(ServedResources()).sample_paths()
    for route in FIXED_ROUTES:
        yield route.path, route.methods
        yield f"{route.path.rstrip('/')}/", route.methods
        if route.is_tree:
            yield f"{route.path}/ping", route.methods
            yield f"{route.path}/status", route.methods
    for path in ("/api/v1", "/apis/apps", "/apis/apps/v1", "/metrics", "/nope", "/openapi/v2", "/openapi/v3/x"):
        yield path, frozenset({"GET"})


def walk(caller: Caller, method_filter: frozenset[str] | None = None) -> Iterator[tuple[str, str, int, object]]:
    """Yield (method, path, status, body) of every route with the methods that it has."""
    for path, methods in dict(routes()).items():
        for method in sorted(methods & (method_filter or methods)):
            # Without bodies: a refusal with an unread body closes the connection, and handshakes are slow.
            headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
            found = caller.call(method, path, headers=headers)
            assert "Access-Control-Allow-Origin" not in found.headers
            assert "Server" not in found.headers
            yield method, path, found.status, found.body


async def test_nobody_reaches_more_than_health_and_version(house: TlsHouse) -> None:
    found = await house.run(lambda caller: list(walk(caller)))
    reached = {(method, path) for method, path, status, _ in found if status != 403}
    assert reached <= {("GET", path) for path in PUBLIC}
    assert len(found) > 150


async def test_a_wrong_token_is_401_on_everything_even_health(house: TlsHouse) -> None:
    found = await house.run(lambda caller: list(walk(caller)), token="e30.e30.e30")
    assert {status for _, _, status, _ in found} == {401}
    assert {body["message"] for _, _, _, body in found} == {"Unauthorized"}


async def test_a_user_without_rights_reaches_discovery_health_and_reviews_of_himself(house: TlsHouse) -> None:
    for method, path, status, body in await house.run(lambda caller: list(walk(caller)), "bob"):
        is_own_review = "/selfsubject" in path and method == "POST" and not path.endswith("/x")
        is_open = method == "GET" and (path in DISCOVERY or path in {"/api/v1", "/apis/apps", "/apis/apps/v1"})
        is_open = is_open or path.startswith("/openapi/")
        if is_own_review or is_open:
            assert status in {200, 201, 400, 404, 406, 422}, (method, path, body)
        else:
            assert (status, body["reason"]) == (403, "Forbidden"), (method, path)
            assert 'User "bob" cannot' in body["message"]


async def test_the_owner_reaches_everything(house: TlsHouse) -> None:
    found = await house.run(lambda caller: list(walk(caller, frozenset({"GET"}))), "admin")
    assert not {(path, status) for _, path, status, _ in found if status in {401, 403} or status >= 500}


HOSTILE_HOSTS = (
    "evil.example",
    "evil.example:PORT",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.1:PORT.",
    "127.0.0.1.:PORT",
    "LOCALHOST:PORT",
    "localhost.:PORT",
    "localhost:PORT@evil.example",
    "localset:PORT",
    "kubernetes.default.svc:PORT",
    f"{POD_ADDRESS}:PORT",
    "0.0.0.0:PORT",
    "[::]:PORT",
    "https://127.0.0.1:PORT",
    None,
)
"""`localset` is the Unix socket's, `kubernetes…` the Pods' address's: neither is 127.0.0.1's name."""


async def test_no_other_host_is_answered(house: TlsHouse) -> None:
    paths = ["/healthz", "/api/v1/namespaces", "/apis/apps/v1/namespaces/n/statefulsets", "/localset/v1/status"]

    def ask(caller: Caller) -> None:
        for host, path in itertools.product(HOSTILE_HOSTS, paths):
            named = host and host.replace("PORT", str(caller.port))
            assert caller.call("GET", path, host=named).status in {400, 403}, (host, path)
        for host in ("127.0.0.1", "localhost", "[::1]"):
            assert caller.call("GET", "/healthz", host=f"{host}:{caller.port}").status == 200

    await house.run(ask, "admin")


@pytest.mark.slow
@pytest.mark.parametrize("credential", ["none", "wrong"])
async def test_the_whole_matrix_of_routes_hosts_and_types_is_refused(house: TlsHouse, credential: str) -> None:
    def ask(caller: Caller) -> int:
        count = 0
        for (path, methods), host, kind in itertools.product(dict(routes()).items(), HOSTILE_HOSTS, TYPES):
            named = host and host.replace("PORT", str(caller.port))
            for method in methods:
                found = caller.call(method, path, headers={"Content-Type": kind}, host=named)
                assert found.status in {400, 401, 403, 415}, (method, path, host, kind)
                count += 1
        return count

    token = "nonsense" if credential == "wrong" else ""
    assert await house.run(ask, token=token) > 10_000


async def test_types_that_a_page_can_send_are_refused_even_from_the_owner(house: TlsHouse) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    body = {"metadata": {"name": "typed"}}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for method, target in (
            ("POST", path),
            ("PUT", f"{path}/typed"),
            ("DELETE", f"{path}/typed"),
            ("PATCH", f"{path}/typed"),
        ):
            assert (await house.ask("admin", method, target, body, headers={"Content-Type": kind})).status == 415
    made = await house.ask("admin", "POST", path, body, headers={"Content-Type": ""})
    assert (made.status, made.body["kind"]) == (201, "ConfigMap")


async def test_pages_of_other_origins_are_refused_with_any_credential(house: TlsHouse) -> None:
    origin = f"https://127.0.0.1:{house.port}"
    assert (await house.ask("admin", "GET", "/api", headers={"Origin": origin})).status == 200
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for who in ("", "admin"):
            assert (await house.ask(who, "GET", "/version", headers=headers)).status == 403


async def test_a_session_is_refused_before_it_is_upgraded(house: TlsHouse) -> None:
    path = f"https://127.0.0.1:{house.port}/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=true"

    async def status(who: str, origin: str | None) -> int:
        context = house.caller(who).context
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(path, origin=origin)
            return caught.value.status

    async with asyncio.timeout(10):
        assert await status("", None) == 403
        assert await status("bob", None) == 403
        assert await status("admin", "https://evil.example") == 403
        # The door is open: what is wrong now is that there is no such Pod, or no protocol was named.
        assert await status("admin", f"https://127.0.0.1:{house.port}") in {400, 404}
    assert house.streams.sessions == []
