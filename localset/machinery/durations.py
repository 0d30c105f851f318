"""Durations as Kubernetes prints them: the AGE of a table, the time in an event. Pure.

Used by apiserver for tables and by cli for what the server does not render, so that both say the same.
Source: apimachinery util/duration HumanDuration (kube-api.md 7).
"""

import re
from datetime import timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def human_duration(span: timedelta) -> str:
    """Return `span` as short text: `45s`, `3m20s`, `2d3h`, `1y20d`; `<invalid>` when more than a second negative."""
    seconds = int(span.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{seconds}s"
    if minutes < 10:
        return _pair(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(first: int, first_unit: str, second: int, second_unit: str) -> str:
    return f"{first}{first_unit}{second}{second_unit}" if second else f"{first}{first_unit}"


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration such as `90s`, `1h30m`, `500ms`; a bare 0 is none. Raises ValueError."""
    rest = text.strip()
    parts = _PART.findall(rest)
    if rest == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f'"{text}" is not a duration such as 5s, 2m or 1h30m')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
