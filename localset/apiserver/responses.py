"""From JSON values to HTTP answers: one encoder, one set of headers, Status errors, Warning headers.

Called by every handler and by the error boundary. No handler makes an aiohttp response for an object by itself.
"""

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web
from multidict import CIMultiDict

from localset.apiserver.negotiation import JSON, YAML, Answer
from localset.machinery.errors import StatusError
from localset.registry.registry import EncodedList

CACHE_CONTROL = "no-cache, private"
COMPRESS_OVER_BYTES = 128 * 1024
WRITE_DEADLINE_SECONDS = 60.0
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")


def wants_pretty(request: web.Request) -> bool:
    """Tell whether the answer is for eyes: `?pretty=`, else a browser, curl or wget."""
    asked = request.query.get("pretty")
    if asked is not None:
        return asked.lower() not in {"0", "false"}
    return request.headers.get("User-Agent", "").startswith(_BROWSERS)


def encode(value: Any, media_type: str = JSON, *, pretty: bool = False) -> bytes:
    """Return `value` as one line of JSON with a newline, indented JSON, or YAML."""
    if media_type == YAML:
        import yaml

        dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return yaml.dump(value, Dumper=dumper, default_flow_style=False, allow_unicode=True).encode()
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if pretty else 0))


def warning_header(text: str) -> str:
    """Return the value of a Warning header, one line, quoted; texts are cut at 1 KiB."""
    clean = "".join(c if c.isprintable() else " " for c in text)[:1024]
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


async def answer(
    request: web.Request,
    value: Any,
    *,
    status: int = 200,
    form: Answer | None = None,
    warnings: Iterable[str] = (),
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return the HTTP answer that carries `value`."""
    media_type = (form or Answer()).media_type
    body = encode(value, media_type, pretty=wants_pretty(request))
    sent: CIMultiDict[str] = CIMultiDict(headers or {})
    sent.setdefault("Cache-Control", CACHE_CONTROL)
    sent.setdefault("Content-Type", media_type)
    for text in dict.fromkeys(warnings):
        sent.add("Warning", warning_header(text))
    body = await _compressed(request, body, sent)
    return web.Response(body=body, status=status, headers=sent)


async def encoded_answer(request: web.Request, body: bytes) -> web.Response:
    """Return the answer that carries ready-made JSON, ended by a newline as all answers are."""
    sent: CIMultiDict[str] = CIMultiDict({"Cache-Control": CACHE_CONTROL, "Content-Type": JSON})
    body = await _compressed(request, body if body.endswith(b"\n") else body + b"\n", sent)
    return web.Response(body=body, headers=sent)


class _Piecewise(web.StreamResponse):
    """An answer of known length that is made while it is sent, no faster than the client takes it."""

    def __init__(self, listed: EncodedList) -> None:
        super().__init__(headers={"Cache-Control": CACHE_CONTROL, "Content-Type": JSON})
        self.content_length = listed.length
        self._pieces = listed.pieces

    async def write_eof(self, data: bytes = b"") -> None:
        """Write all pieces. The server calls it last, and bears it when the client goes meanwhile."""
        for piece in self._pieces:
            try:
                async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
                    await self.write(piece)
            except TimeoutError as error:
                raise ConnectionResetError("the client takes nothing") from error
        await super().write_eof(data)


async def list_answer(request: web.Request, listed: EncodedList) -> web.StreamResponse:
    """Return the answer that carries a list's bytes."""
    if listed.length > COMPRESS_OVER_BYTES and not accepts_gzip(request):
        return _Piecewise(listed)
    return await encoded_answer(request, b"".join(listed.pieces))


async def _compressed(request: web.Request, body: bytes, sent: "CIMultiDict[str]") -> bytes:
    if len(body) <= COMPRESS_OVER_BYTES or request.method != "GET" or not accepts_gzip(request):
        return body
    sent["Content-Encoding"] = "gzip"
    sent["Vary"] = "Accept-Encoding"
    return await asyncio.to_thread(gzip.compress, body, 1)


def accepts_gzip(request: web.Request) -> bool:
    """Tell whether the client takes gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "").lower()


def text(body: str, status: int = 200) -> web.Response:
    """Return a plain text answer, as the router and the health paths give."""
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": CACHE_CONTROL}
    return web.Response(text=body, status=status, headers=headers)


def page_not_found() -> web.Response:
    """Return the router's own 404."""
    return text("404 page not found\n", 404)


def unknown_resource() -> StatusError:
    """404 for a resource or subresource that a served group version does not have."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def refusal(request: web.Request, error: StatusError) -> web.Response:
    """Return the answer that carries a Status error; details is there even when empty, where upstream has it so."""
    status = error.to_status()
    if error.code in {403, 404, 405, 406} and "details" not in status:
        code = status.pop("code")
        status["details"] = {}
        status["code"] = code
    headers = {"Content-Type": JSON, "Cache-Control": CACHE_CONTROL, **error.headers}
    retry = error.details.get("retryAfterSeconds")
    if retry:
        headers.setdefault("Retry-After", str(retry))
    return web.Response(body=encode(status, pretty=wants_pretty(request)), status=error.code, headers=headers)
