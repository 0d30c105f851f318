"""Answers `/openapi/v2`, `/openapi/v3` and the address of v2 that kubectl 1.20 falls back to.

Called by `application` for these fixed paths. v2 is JSON or gnostic's protobuf, v3 is JSON; both are revalidated by
ETag, and a v3 document under its own hash may be kept for ever (kube-api.md 3).
"""

import asyncio
import email.utils
import zlib
from datetime import timedelta

from aiohttp import web

from localset.apiserver import responses
from localset.apiserver.house import DOCUMENTS, HOUSE
from localset.apiserver.negotiation import JSON, parse_media_type
from localset.apiserver.openapi.documents import V2_JSON, V2_PROTOBUF, v3_names

V3 = "/openapi/v3"
_PROTOBUF = "application/com.github.proto-openapi.spec.v2"
PROTOBUF_TYPES = frozenset({f"{_PROTOBUF}@v1.0+protobuf", f"{_PROTOBUF}.v1.0+protobuf"})
_JSON_TYPES = frozenset({JSON, "application/*", "*/*"})
KEPT_FOR = timedelta(days=365)


def _chosen(request: web.Request, *, with_protobuf: bool) -> str:
    """Return the media type to answer with; empty when none of those asked for can be given."""
    accept = request.headers.get("Accept", "")
    if not accept.strip():
        return JSON
    for alternative in accept.split(","):
        media_type, parameters = parse_media_type(alternative)
        if parameters.get("q") in {"0", "0.0"}:
            continue
        if with_protobuf and media_type in PROTOBUF_TYPES:
            return "application/octet-stream"
        if media_type in _JSON_TYPES:
            return JSON
    return ""


def _not_acceptable() -> web.Response:
    return web.Response(status=406, headers={"Cache-Control": responses.CACHE_CONTROL, "Vary": "Accept"})


async def v2(request: web.Request) -> web.StreamResponse:
    """Answer with the Swagger 2.0 document."""
    media_type = _chosen(request, with_protobuf=True)
    if not media_type:
        return _not_acceptable()
    name = V2_JSON if media_type == JSON else V2_PROTOBUF
    return await _document(request, name, media_type, {"Cache-Control": responses.CACHE_CONTROL})


async def v2_protobuf(request: web.Request) -> web.StreamResponse:
    """Answer with the Swagger 2.0 document as protobuf, whatever is accepted."""
    headers = {"Cache-Control": responses.CACHE_CONTROL}
    return await _document(request, V2_PROTOBUF, "application/octet-stream", headers)


async def v3(request: web.Request) -> web.StreamResponse:
    """Answer with the index of the v3 documents, or with one of them."""
    if not _chosen(request, with_protobuf=False):
        return _not_acceptable()
    documents = request.app[DOCUMENTS]()
    hashes = documents.hashes()
    name = request.path.removeprefix(V3).strip("/")
    if not name:
        paths = {n: {"serverRelativeURL": f"{V3}/{n}?hash={hashes[n]}"} for n in v3_names(request.app[HOUSE].routes)}
        return await responses.answer(request, {"paths": paths}, headers={"Vary": "Accept"})
    if name not in hashes or name in {V2_JSON, V2_PROTOBUF}:
        return responses.page_not_found()
    headers = {"Cache-Control": responses.CACHE_CONTROL}
    asked = request.query.get("hash")
    if asked is not None:
        if asked != hashes[name]:
            location = f"{V3}/{name}?hash={hashes[name]}"
            return web.Response(status=301, headers={"Location": location, **headers})
        expires = email.utils.format_datetime(request.app[HOUSE].clock.now() + KEPT_FOR, usegmt=True)
        headers = {"Cache-Control": "public, immutable", "Expires": expires}
    return await _document(request, name, JSON, headers)


async def _document(request: web.Request, name: str, media_type: str, headers: dict[str, str]) -> web.Response:
    documents = request.app[DOCUMENTS]()
    tag = documents.hashes()[name]
    changed = email.utils.format_datetime(documents.changed, usegmt=True)
    headers = {**headers, "ETag": f'"{tag}"', "Last-Modified": changed, "Vary": "Accept"}
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    data = await documents.compressed(name)
    headers["Content-Type"] = media_type
    if responses.accepts_gzip(request):
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept, Accept-Encoding"}
    else:
        data = await asyncio.to_thread(zlib.decompress, data, zlib.MAX_WBITS | 16)
    return web.Response(body=data, headers=headers)
