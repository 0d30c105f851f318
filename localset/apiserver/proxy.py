"""`pods/…/proxy` and `services/…/proxy`: one HTTP request passed on to a port of a Pod, for `kubectl get --raw`.

The name may carry a port (`web-0:8080`, `web:http`). The Pod is asked in HTTP/1.0, so that its answer ends with its
connection. Credentials, cookies and everything else that says who asks stay here.
"""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from localset.apiserver import bodies
from localset.apiserver.house import HOUSE, House
from localset.apiserver.routes import Match
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import Object

HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
ANSWER_SECONDS = 60.0
_PASSED_ON = ("Accept", "Accept-Language", "Content-Type", "Range", "User-Agent")
_KEPT_BACK = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "set-cookie"})


@dataclass(frozen=True)
class _Target:
    pod: Object
    port: int


def _unavailable(why: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", why)


def split_name(text: str) -> tuple[str, str]:
    """Return (name, port or "") of `NAME`, `NAME:PORT` and `http:NAME:PORT`; 400 for another scheme."""
    parts = text.split(":")
    if len(parts) == 3 and parts[0] in {"", "http"}:
        parts = parts[1:]
    if len(parts) > 2 or not parts[0]:
        raise bad_request(f'invalid proxy request "{text}": only [http:]NAME[:PORT] is served')
    return parts[0], parts[1] if len(parts) == 2 else ""


async def proxy(request: web.Request, match: Match) -> web.StreamResponse:
    """Pass the request on and stream the answer back; 503 when nothing answers."""
    house = request.app[HOUSE]
    name, port = split_name(match.name)
    is_pod = match.resource.name == "pods"
    found = await (_pod if is_pod else _service)(house, match.namespace, name, port)
    body = await bodies.read(request)
    try:
        reader, writer = await house.streams.dial(found.pod, found.port)
    except OSError as error:
        raise _unavailable(f"error trying to reach service: {error.strerror or error}") from error
    try:
        writer.write(_request_head(request, match, len(body)) + body)
        await writer.drain()
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        return await _pass_back(request, head, reader)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError, ValueError) as error:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has gone") from error
        raise _unavailable("error trying to reach service: it does not answer in HTTP") from error
    finally:
        writer.close()


def _request_head(request: web.Request, match: Match, length: int) -> bytes:
    query = request.rel_url.raw_query_string
    path = (match.tail or "/") + (f"?{query}" if query else "")
    lines = [f"{request.method} {path} HTTP/1.0", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {request.headers[name]}" for name in _PASSED_ON if name in request.headers]
    if length or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


async def _pass_back(request: web.Request, head: bytes, reader: asyncio.StreamReader) -> web.StreamResponse:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, _, rest = first.partition(" ")
    status = int(rest[:3])
    if not version.startswith("HTTP/") or not 200 <= status < 600:
        raise ValueError(first)
    response = web.StreamResponse(status=status)
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "transfer-encoding":
            raise ValueError(line)  # nobody may answer a request of HTTP/1.0 so
        if name.lower() not in _KEPT_BACK:
            response.headers.add(name.strip(), value.strip())
    await response.prepare(request)
    while data := await reader.read(CHUNK_BYTES):
        await response.write(data)
    await response.write_eof()
    return response


async def _pod(house: House, namespace: str, name: str, port: str) -> _Target:
    pod = await house.registry.read("pods", namespace, name, "v1")
    ports = [p for c in pod["spec"].get("containers") or [] for p in c.get("ports") or []]
    numbers = {str(p.get("name")): p["containerPort"] for p in ports if p.get("name")}
    if not port and ports:
        return _Target(pod, int(ports[0]["containerPort"]))
    return _Target(pod, _number(numbers.get(port, port or 80)))


def _number(port: str | int) -> int:
    text = str(port)
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise bad_request(f'unknown port "{text}"')
    return int(text)


async def _service(house: House, namespace: str, name: str, port: str) -> _Target:
    """Return a ready Pod behind the Service, by its Endpoints."""
    service = await house.registry.read("services", namespace, name, "v1")
    ports = service["spec"].get("ports") or []
    chosen = [p for p in ports if port in {p.get("name"), str(p.get("port"))}] if port else ports
    if len(chosen) != 1:
        raise _unavailable(f'no service port "{port}" found for service "{name}"')
    try:
        endpoints = await house.registry.read("endpoints", namespace, name, "v1")
    except StatusError:
        endpoints = {}
    for subset in endpoints.get("subsets") or []:
        numbers = [p["port"] for p in subset.get("ports") or [] if p.get("name") == chosen[0].get("name")]
        for address in subset.get("addresses") or []:
            target = address.get("targetRef") or {}
            if numbers and target.get("kind") == "Pod":
                return _Target(await _living(house, namespace, str(target["name"])), int(numbers[0]))
    raise _unavailable(f'no endpoints available for service "{name}"')


async def _living(house: House, namespace: str, name: str) -> Object:
    try:
        return await house.registry.read("pods", namespace, name, "v1")
    except StatusError as error:
        raise _unavailable(f"no endpoints available: {error.message}") from error
