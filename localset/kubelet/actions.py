"""The things that probes and lifecycle hooks do: run a command, GET a URL, connect to a port.

One attempt each, bounded in time and in output; `probes` and `hooks` decide when and what it means. HTTP is spoken by
hand over one connection without keep-alive, proxy or certificate check, as Kubernetes does (semantics 3.6).
"""

import asyncio
import os
import re
import ssl
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from localset.base.frozen import frozen
from localset.kubelet.dialling import Dialler
from localset.kubelet.runtime import ExecSpec, Runtime
from localset.machinery.metadata import Object

OUTPUT_LIMIT = 10 * 1024
_EVENT_LIMIT = 1024
_HEADER_LIMIT = 64 * 1024
_REDIRECT_LIMIT = 10
_HOST = Dialler()
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@frozen
class ActionResult:
    """How one attempt came out. `is_error`: it could not be made at all, so it says nothing about the container."""

    has_succeeded: bool
    output: str = ""
    is_error: bool = False


def clean_output(data: bytes | str) -> str:
    """Return process output fit for an event: no control or bidi characters, at most 1 KiB (reliability E1)."""
    text = data if isinstance(data, str) else data[:OUTPUT_LIMIT].decode("utf-8", "replace")
    text = _CONTROL.sub("\ufffd", text.replace("\r\n", "\n")).strip()
    return text if len(text) <= _EVENT_LIMIT else text[: _EVENT_LIMIT - 1] + "…"


async def run_command(runtime: Runtime, spec: ExecSpec, timeout_seconds: float) -> ActionResult:
    """Run a command in the container; only exit code 0 is success."""
    result = await runtime.execute(spec, timeout_seconds)
    if result.timed_out:
        return ActionResult(
            False, f"command timed out after {timeout_seconds:g}s {clean_output(result.output)}".strip()
        )
    if result.exit_code is None:
        return ActionResult(False, result.error or "command could not be run", is_error=True)
    output = clean_output(result.output)
    if result.exit_code != 0 and not output:
        output = result.error or f"command exited with code {result.exit_code}"
    return ActionResult(result.exit_code == 0, output)


async def connect(host: str, port: int, timeout_seconds: float, dialler: Dialler = _HOST) -> ActionResult:
    """Connect and close."""
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await dialler.open(host, port)
    except TimeoutError:
        return ActionResult(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return ActionResult(False, f"dial tcp {host}:{port}: connect: {_why(error)}")
    await _close(writer)
    return ActionResult(True)


def _why(error: Exception) -> str:
    """Return the reason in the kernel's words; asyncio's own text repeats the address."""
    number = getattr(error, "errno", None)
    return (os.strerror(number) if number else str(error)).lower()


async def http_get(
    action: Object, host: str, port: int, agent: str, timeout_seconds: float, dialler: Dialler = _HOST
) -> ActionResult:
    """GET as an httpGet action says; 200–399 is success, redirects are followed on the same host only."""
    scheme = (action.get("scheme") or "HTTP").lower()
    target = action.get("host") or host
    path = action.get("path") or "/"
    url = f"{scheme}://{target}:{port}{path if path.startswith('/') else '/' + path}"
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _follow(url, action.get("httpHeaders") or [], agent, dialler)
    except TimeoutError:
        return ActionResult(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded)')
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return ActionResult(False, f'Get "{url}": dial tcp {target}:{port}: {_why(error)}')


async def _follow(url: str, headers: list[Object], agent: str, dialler: Dialler) -> ActionResult:
    first_host = urlsplit(url).hostname
    for _ in range(_REDIRECT_LIMIT):
        code, location, body = await _exchange(url, headers, agent, dialler)
        if code in {301, 302, 303, 307, 308} and location:
            following = urljoin(url, location)
            if urlsplit(following).hostname != first_host:
                return ActionResult(True, "Probe terminated redirects, Response body: " + body)
            url = following
            continue
        if 200 <= code < 400:
            return ActionResult(True, body)
        return ActionResult(False, f"HTTP probe failed with statuscode: {code}")
    return ActionResult(False, f'Get "{url}": stopped after {_REDIRECT_LIMIT} redirects')


async def _exchange(url: str, headers: list[Object], agent: str, dialler: Dialler) -> tuple[int, str, str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context = None
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await dialler.open(parts.hostname or "", port, tls=context, limit=_HEADER_LIMIT)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        given = {h["name"].title(): h.get("value") or "" for h in headers}
        fields = {"Host": parts.netloc, "User-Agent": agent, "Accept": "*/*", **given, "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        if any("\r" in line or "\n" in line for line in [target, *lines]):
            raise ValueError("header or path holds a line break")
        writer.write("\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode("latin-1", "replace"))
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        words = head[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
            raise ValueError(f'malformed HTTP response "{clean_output(head[0])}"')
        location = next(
            (line.partition(":")[2].strip() for line in head[1:] if line.lower().startswith("location:")), ""
        )
        body = clean_output(await reader.read(OUTPUT_LIMIT))
        return int(words[1]), location, body
    finally:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError, asyncio.IncompleteReadError):
        await writer.wait_closed()


def port_number(container: Object, port: int | str | None) -> int:
    """Return a probe's port; a name is looked up among the container's ports. Raises ValueError."""
    if isinstance(port, int):
        return port
    text = str(port or "")
    if text.isdigit():
        return int(text)
    for entry in container.get("ports") or []:
        if entry.get("name") == text:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port: {text!r} in the container's ports")
