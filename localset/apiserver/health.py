"""Health and version: the paths that answer whoever asks."""

import platform

from aiohttp import web

from localset import __version__
from localset.apiserver import responses
from localset.apiserver.house import HOUSE
from localset.base.machine import architecture, operating_system

SCHEMA_MINOR = 37
CHECKS = ("ping", "store")

GIT_VERSION = f"v1.{SCHEMA_MINOR}.0+localset.{__version__}"
"""What `/version` and the Node say: one value for the whole house (design 3.15)."""


def version_info() -> dict[str, str]:
    """Return the body of `/version`; the minor is the bundled schema's (design 3.15)."""
    return {
        "major": "1",
        "minor": str(SCHEMA_MINOR),
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{operating_system()}/{architecture()}",
    }


async def version(request: web.Request) -> web.StreamResponse:
    """Answer `/version`."""
    return await responses.answer(request, version_info())


def _checks(path: str) -> tuple[str, list[str], list[str]]:
    """Return (`livez`, the checks that it has, those that the path names)."""
    kind, *rest = path.strip("/").split("/")
    return kind, [*CHECKS, "shutdown"] if kind == "readyz" else list(CHECKS), rest


def is_known(path: str) -> bool:
    """Tell whether a path at or beneath `/livez` and its like names all checks, or one that there is."""
    _, checks, rest = _checks(path)
    return not rest or (len(rest) == 1 and rest[0] in checks)


async def health(request: web.Request) -> web.StreamResponse:
    """Answer `/healthz`, `/livez`, `/readyz`, with `?verbose` and `?exclude=`, and one check beneath each.

    The path `is_known`.
    """
    kind, checks, named = _checks(request.path)
    is_ending = request.app[HOUSE].open_streams.is_ending
    checks = named or checks
    excluded = set(request.query.getall("exclude", []))
    failed = [name for name in checks if name == "shutdown" and is_ending and name not in excluded]
    if not failed and "verbose" not in request.query:
        return responses.text("ok")
    lines = []
    for name in checks:
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld" if name in failed else f"[+]{name} ok")
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return responses.text("\n".join(lines) + "\n", 500 if failed else 200)
