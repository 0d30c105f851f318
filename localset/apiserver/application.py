"""The HTTP application: one guard in front, one dispatcher behind it.

The daemon calls `make_application` and gives it to a listener. Paths of objects go through the route table, so a new
kind in `apis/resources.py` is served without a line here. NB: whatever is added must stay behind `guard`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web

from localset.apiserver import bodies, control, handlers, health, responses
from localset.apiserver.authentication import TOKENS
from localset.apiserver.guard import add_headers, guard
from localset.apiserver.house import DOCUMENTS, HOUSE, DaemonControl, House
from localset.apiserver.listener import CONNECTIONS, Connections
from localset.apiserver.routes import RouteTable
from localset.apiserver.tokens import Tokens
from localset.base.clock import Clock
from localset.base.frozen import frozen
from localset.base.tasks import Tasks
from localset.client.streams import PodStreams
from localset.machinery.errors import method_not_allowed
from localset.registry.registry import Registry

if TYPE_CHECKING:
    from localset.apiserver.openapi.documents import Documents


def make_application(
    registry: Registry, streams: PodStreams, clock: Clock, control: DaemonControl, tokens: Tokens | None = None
) -> web.Application:
    """Return the application over the given rooms. Its streams end when the runner that serves it shuts down.

    Without `tokens` no bearer token is known, and none can be asked for.
    """
    application = web.Application(middlewares=[guard], client_max_size=bodies.LIMIT_BYTES)
    application[CONNECTIONS] = Connections()
    if tokens is not None:
        application[TOKENS] = tokens
    house = House(
        registry=registry,
        streams=streams,
        clock=clock,
        control=control,
        routes=RouteTable(registry.served),
        tasks=Tasks("apiserver"),
    )
    application[HOUSE] = house

    @cache
    def documents() -> "Documents":
        from localset.apiserver.openapi.documents import Documents

        return Documents(house.routes, health.GIT_VERSION, clock)

    application[DOCUMENTS] = lambda: documents()  # noqa: PLW0108 - a cache is no plain function to type checkers

    async def end_streams(_: web.Application) -> None:
        house.open_streams.end()

    async def own_tasks(_: web.Application) -> AsyncIterator[None]:
        yield
        await house.tasks.aclose()

    application.on_shutdown.append(end_streams)
    application.cleanup_ctx.append(own_tasks)
    application.on_response_prepare.append(add_headers)
    application.router.add_route("*", "/{path:.*}", dispatch)
    return application


async def dispatch(request: web.Request) -> web.StreamResponse:
    """Find what the path names and let its handler answer."""
    raw_path = request.rel_url.raw_path
    match = request.app[HOUSE].routes.match(raw_path)
    if match is not None:
        return await handlers.answer(request, match)
    if "//" in raw_path:
        return await responses.answer(request, {"paths": _paths(request)}, status=404)
    fixed = _fixed_route(raw_path.rstrip("/") or "/")
    if fixed is None:
        return await _unknown(request, raw_path)
    if request.method not in fixed.methods:
        raise method_not_allowed()
    return await fixed.handler(request)


def _fixed_route(path: str) -> "FixedRoute | None":
    """Return the route of `path` (without a slash at its end): an exact one, else the tree that it stands in."""
    found = _EXACT_ROUTES.get(path)
    if found is not None:
        return found
    return next((r for r in FIXED_ROUTES if r.is_tree and path.startswith(r.path + "/")), None)


def _paths(request: web.Request) -> list[str]:
    versions = request.app[HOUSE].routes.versions
    found = {route.path for route in FIXED_ROUTES if route.is_listed}
    for group, served in versions.items():
        if group:
            found.add(f"/apis/{group}")
        found.update(f"/apis/{group}/{v}" if group else f"/api/{v}" for v in served)
    return sorted(found)


async def _root(request: web.Request) -> web.StreamResponse:
    return await responses.answer(request, {"paths": _paths(request)})


async def _health(request: web.Request) -> web.StreamResponse:
    if health.is_known(request.path):
        return await health.health(request)
    return await _unknown(request, request.path)


async def _unknown(request: web.Request, raw_path: str) -> web.StreamResponse:
    """Answer group and version discovery, and the three forms of 404 that clients know."""
    segments = [segment for segment in raw_path.split("/") if segment]
    versions = request.app[HOUSE].routes.versions
    is_named_group = segments[0] == "apis" and len(segments) >= 2
    group = segments[1] if is_named_group else ""
    if segments[0] not in {"api", "apis"}:
        return await responses.answer(request, {"paths": _paths(request)}, status=404)
    if group not in versions:
        return responses.page_not_found()
    rest = segments[2:] if is_named_group else segments[1:]
    if len(rest) > 1:
        raise responses.unknown_resource()
    if request.method != "GET":
        raise method_not_allowed()
    return await handlers.one_group(request, group, rest[0] if rest else "")


@frozen
class FixedRoute:
    """A path that is no resource's. `is_tree` takes what is beneath it too; `is_listed` shows it at `/`."""

    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    methods: frozenset[str] = frozenset({"GET"})
    is_tree: bool = False
    is_listed: bool = True


FIXED_ROUTES: tuple[FixedRoute, ...] = (
    FixedRoute("/", _root, is_listed=False),
    FixedRoute("/api", handlers.core_versions),
    FixedRoute("/apis", handlers.groups),
    FixedRoute("/version", health.version),
    FixedRoute("/openapi/v2", handlers.openapi_v2),
    FixedRoute("/openapi/v3", handlers.openapi_v3, is_tree=True),
    FixedRoute("/swagger-2.0.0.pb-v1", handlers.openapi_v2_protobuf, is_listed=False),
    FixedRoute("/healthz", _health, is_tree=True),
    FixedRoute("/livez", _health, is_tree=True),
    FixedRoute("/readyz", _health, is_tree=True),
    FixedRoute(control.PREFIX, control.handle, frozenset({"GET", "POST"}), is_tree=True, is_listed=False),
)
"""Every path beside the route table's: the security tests walk through both, so nothing may be served elsewhere."""

_EXACT_ROUTES = {route.path: route for route in FIXED_ROUTES}
