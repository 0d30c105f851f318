"""The wall in front of all routes: who may ask, under which name, with which body, and what a failing handler answers.

Runs before routing on every request and every listener (reliability.md M10, B1–B4): Host and Origin, then who asks
(`authentication`), whether he may (`authorization`), then the body's type. A new listener adds an identity, not an
exception, and nobody reaches more than health and version.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from aiohttp import web

from localset.apiserver import authorization, bodies, responses
from localset.apiserver.authentication import IDENTITY, MASTERS, NOBODY, authenticate, is_local_socket
from localset.apiserver.listener import CONNECTIONS
from localset.machinery.errors import StatusError, method_not_allowed

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
LOCAL_NAMES = frozenset({"localhost", "localset"})
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
FORWARDED_ADDRESS = web.AppKey("forwarded_address", str)
"""Where Pods of another network ask for us at port 443, which is forwarded to us; empty or absent where none do."""
POD_NAMES = frozenset(
    {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
)
HTTPS_PORT = 443
AUDIT_ID: web.RequestKey[str] = web.RequestKey("audit_id", str)


def _split_host(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, _, port = host.partition("]")
        return name + "]", port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def is_allowed_host(request: web.Request) -> bool:
    """Tell whether the one Host header names this server.

    By the Unix names; on 127.0.0.1 the loopback's names, on the Pods' address that one and the Service's names, with
    our port in both (443 may be left out). What is forwarded to the Pods' address was sent to port 443 of another one.
    """
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not request.raw_path.startswith("/"):
        return False
    transport = request.transport
    if transport is None:
        return False
    if _accepted.get(transport) == hosts[0]:
        return True
    if not _is_name_of_ours(request, transport, hosts[0]):
        return False
    _accepted[transport] = hosts[0]
    return True


_accepted: "WeakKeyDictionary[asyncio.Transport, str]" = WeakKeyDictionary()
"""The Host under which a connection was answered: clients do not change it, and it need not be judged each time."""


def _is_name_of_ours(request: web.Request, transport: asyncio.Transport, host: str) -> bool:
    name, port = _split_host(host)
    if is_local_socket(transport):
        return name in LOCAL_NAMES and (not port or port.isdecimal())
    address: Any = transport.get_extra_info("sockname")
    if not address:
        return False
    if address[0] in {"127.0.0.1", "::1"}:
        names, forwarded = LOOPBACK_NAMES, ""
    else:
        forwarded = request.app.get(FORWARDED_ADDRESS, "")
        names = frozenset({address[0], *POD_NAMES, *([forwarded] if forwarded else [])})
    is_https = bool(forwarded) or address[1] == HTTPS_PORT
    return name in names and (port == str(address[1]) or (is_https and (host == name or port == str(HTTPS_PORT))))


def is_foreign_origin(request: web.Request) -> bool:
    """Tell whether a web page of another origin sent this; scripts send no Origin or our own."""
    origins = request.headers.getall("Origin", [])
    if not origins:
        return request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    return len(origins) > 1 or urlsplit(origins[0]).netloc.lower() != request.headers.get("Host", "").lower()


def _require(request: web.Request) -> None:
    if not is_allowed_host(request):
        raise StatusError(403, "Forbidden", "forbidden: this server does not answer under that Host")
    if is_foreign_origin(request):
        raise StatusError(403, "Forbidden", "forbidden: requests from web pages of other origins are refused")
    identity = authorization.impersonated(authenticate(request), request)
    request[IDENTITY] = identity
    if MASTERS not in identity.groups:  # who may do everything need not wait for his path to be read
        authorization.require(identity, authorization.attributes_of(request.method, request.rel_url.raw_path, request))
    if request.method not in METHODS:
        raise method_not_allowed()
    bodies.require_known_type(request)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what must not be handled, and turn every failure into a Status without a traceback."""
    request[AUDIT_ID] = str(uuid.uuid4())
    request[IDENTITY] = NOBODY
    request.app[CONNECTIONS].request_began(request.transport)
    try:
        _require(request)
        response = await handler(request)
    except StatusError as error:
        response = _refuse(request, error)
    except web.HTTPException as error:
        response = _refuse(request, _from_http(error))
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s failed (audit id %s)", request.method, request.path, request[AUDIT_ID])
        message = f"Internal error occurred: see the daemon's log, audit id {request[AUDIT_ID]}"
        response = _refuse(request, StatusError(500, "InternalError", message))
    return response


def _refuse(request: web.Request, error: StatusError) -> web.StreamResponse:
    response = responses.refusal(request, error)
    if error.code in {401, 403, 408, 413, 415} and request.body_exists:
        response.force_close()  # the unread body must not be taken for the next request
    return response


def _from_http(error: web.HTTPException) -> StatusError:
    if error.status == 413:
        return bodies.too_large()
    if error.status == 405:
        return method_not_allowed()
    if error.status == 404:
        return responses.unknown_resource()
    return StatusError(error.status, "BadRequest" if error.status < 500 else "InternalError", error.reason)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer, streams too, its audit id and the headers that keep browsers out."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("X-Frame-Options", "DENY")
    response.headers["Audit-Id"] = request.get(AUDIT_ID, "")
    response.headers.pop("Server", None)
