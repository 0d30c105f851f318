"""Ages of what the server does not render."""

from localset.base.clock import SystemClock, parse_rfc3339
from localset.machinery.durations import human_duration


def age_of(timestamp: str) -> str:
    """Return the time since an RFC 3339 `timestamp` as `5m`, `2d3h` …; `<unknown>` for none."""
    return human_duration(SystemClock().now() - parse_rfc3339(timestamp)) if timestamp else "<unknown>"
