"""Where the daemon's own messages go: one line each, to standard error.

Never object bodies, never secrets (reliability.md A5). Called once, by daemon; the rooms use
`logging.getLogger(__name__)`.
"""

import asyncio
import logging
import sys
from typing import Any

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_BURST = 10
_REFILL_SECONDS = 6.0


def set_up(level: str = "INFO") -> None:
    """Send messages of `level` and above to standard error."""
    logging.basicConfig(stream=sys.stderr, level=level, format=_FORMAT, force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class LoopErrors:
    """A loop exception handler that cannot flood the disk (reliability.md M11: 7 MB of tracebacks in 20 s)."""

    def __init__(self) -> None:
        """Allow a burst, then one message every few seconds."""
        self._tokens = float(_BURST)
        self._last = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log `context` unless too much was logged lately."""
        now = loop.time()
        self._tokens = min(float(_BURST), self._tokens + (now - self._last) / _REFILL_SECONDS)
        self._last = now
        if self._tokens < 1:
            return
        self._tokens -= 1
        error = context.get("exception")
        logging.getLogger("localset.loop").error(
            "%s", context.get("message", "unhandled error"), exc_info=error if isinstance(error, Exception) else None
        )
