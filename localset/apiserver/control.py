"""`/localset/v1`: what the daemon's own commands ask of it beside the Kubernetes API."""

from typing import Any

from aiohttp import web

from localset.apiserver import bodies, responses
from localset.apiserver.house import HOUSE
from localset.machinery.errors import StatusError, bad_request, method_not_allowed

PREFIX = "/localset/v1"


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer `GET status`, `GET dns?name=&type=`, `GET table?word=…`, `POST shutdown {keepRunning, timeoutSeconds}`."""
    what = request.path.removeprefix(PREFIX).strip("/")
    wanted = {"status": "GET", "dns": "GET", "table": "GET", "shutdown": "POST"}.get(what)
    if wanted is None:
        raise StatusError(404, "NotFound", "the server could not find the requested resource")
    if request.method != wanted:
        raise method_not_allowed()
    control = request.app[HOUSE].control
    if what == "status":
        return await responses.answer(request, await control.status())
    if what == "table":
        from localset.apiserver import texts

        return await texts.table(request)
    if what == "dns":
        name = request.query.get("name", "")
        if not name:
            raise bad_request("the parameter name is required")
        return await responses.answer(request, await control.query(name, request.query.get("type", "A").upper()))
    keep_running, timeout_seconds = await _shutdown_options(request)
    await control.shutdown(keep_running=keep_running, timeout_seconds=timeout_seconds)
    return await responses.answer(request, {"shuttingDown": True}, status=202)


async def _shutdown_options(request: web.Request) -> tuple[bool, float | None]:
    data = await bodies.read(request)
    value: Any = bodies.decode(data, bodies.media_type_of(request))[0] if data.strip() else {}
    if not isinstance(value, dict):
        raise bad_request("the body must be an object")
    keep_running, timeout_seconds = value.get("keepRunning", False), value.get("timeoutSeconds")
    if not isinstance(keep_running, bool):
        raise bad_request("keepRunning must be true or false")
    if timeout_seconds is not None and (
        isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, int | float)
    ):
        raise bad_request("timeoutSeconds must be a number")
    return keep_running, None if timeout_seconds is None else float(timeout_seconds)
