"""Which module answers what, each imported when it is asked for the first time.

`application` hands every request for a resource to `answer`, and takes the handlers of its fixed routes from here. The
daemon answers before it has read what streams, patches, Tables and documents need: a third of the API's own code is
never used by most installations. NB: nothing here decides; the guard has been passed.
"""

from aiohttp import web

from localset.apis.metrics import METRICS
from localset.apis.reviews import REVIEWS
from localset.apiserver.routes import Match
from localset.machinery.errors import method_not_allowed

_REVIEWS = frozenset(resource.name for resource in REVIEWS)
_METRICS = frozenset(resource.name for resource in METRICS)
_OF_OBJECTS = frozenset({"", "status", "finalize", "ephemeralcontainers"})
"""What is read and written as an object is; all other subresources have handlers of their own."""


async def answer(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer a request for a resource, or refuse its method."""
    if request.method not in match.methods:
        raise method_not_allowed()
    if match.resource.name in _REVIEWS:
        from localset.apiserver import reviews

        return await reviews.create(request, match)
    from localset.apiserver import objects

    if match.resource.name in _METRICS:
        from localset.apiserver import metrics

        return await objects.run(request, match, metrics.read)
    if match.subresource in _STREAMS:
        return await _STREAMS[match.subresource](request, match)
    if match.subresource not in _OF_OBJECTS:
        from localset.apiserver import subresources

        return await objects.run(request, match, subresources.HANDLERS[match.subresource])
    handlers = objects.ITEM if match.name and not match.is_legacy_watch else objects.COLLECTION
    return await objects.run(request, match, handlers[request.method])


async def _log(request: web.Request, match: Match) -> web.StreamResponse:
    from localset.apiserver import logs

    return await logs.log(request, match)


async def _session(request: web.Request, match: Match) -> web.StreamResponse:
    from localset.apiserver import sessions

    return await sessions.session(request, match)


async def _port_forward(request: web.Request, match: Match) -> web.StreamResponse:
    from localset.apiserver import portforward

    return await portforward.port_forward(request, match)


async def _proxy(request: web.Request, match: Match) -> web.StreamResponse:
    from localset.apiserver import proxy

    return await proxy.proxy(request, match)


_STREAMS = {"log": _log, "exec": _session, "attach": _session, "portforward": _port_forward, "proxy": _proxy}


async def core_versions(request: web.Request) -> web.StreamResponse:
    """Answer `/api`."""
    from localset.apiserver import discovery

    return await discovery.core(request)


async def groups(request: web.Request) -> web.StreamResponse:
    """Answer `/apis`."""
    from localset.apiserver import discovery

    return await discovery.groups(request)


async def one_group(request: web.Request, group: str, version: str) -> web.StreamResponse:
    """Answer `/apis/GROUP` or, with a version, what it serves."""
    from localset.apiserver import discovery

    if version:
        return await discovery.one_version(request, group, version)
    return await discovery.one_group(request, group)


async def openapi_v2(request: web.Request) -> web.StreamResponse:
    """Answer the Swagger 2.0 document."""
    from localset.apiserver.openapi import serving

    return await serving.v2(request)


async def openapi_v2_protobuf(request: web.Request) -> web.StreamResponse:
    """Answer the Swagger 2.0 document where kubectl 1.20 looks for it."""
    from localset.apiserver.openapi import serving

    return await serving.v2_protobuf(request)


async def openapi_v3(request: web.Request) -> web.StreamResponse:
    """Answer the index of the v3 documents, or one of them."""
    from localset.apiserver.openapi import serving

    return await serving.v3(request)
