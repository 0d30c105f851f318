"""Wires the house: settings, data directory, start, stop.

Whoever imports a module of this room gets an aiohttp without TLS: it would read the machine's certificate store while
it is imported, 60 ms and 4 MB for a server that has a Unix socket only. asyncio and the probes keep their `ssl`.
"""

import asyncio.sslproto  # noqa: F401 - before ssl is hidden
import sys
from types import ModuleType


def _load_aiohttp() -> None:
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None: "cannot be imported"
    hidden = modules.get("ssl")
    modules["ssl"] = None
    try:
        import aiohttp.web  # noqa: F401 - to be found in sys.modules by those who use it
    finally:
        if hidden is None:
            del modules["ssl"]
        else:
            modules["ssl"] = hidden


_load_aiohttp()
