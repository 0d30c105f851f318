"""Ages as Kubernetes prints them, for what the server does not render."""

from datetime import datetime

from localset.base.clock import SystemClock, parse_rfc3339


def age_of(timestamp: str, now: datetime | None = None) -> str:
    """Return `5m`, `2d3h` …; `<unknown>` for no timestamp. Source: apimachinery duration.HumanDuration (kube-api.md
    7)."""
    if not timestamp:
        return "<unknown>"
    seconds = int(((now or SystemClock().now()) - parse_rfc3339(timestamp)).total_seconds())
    return human(seconds)


def human(seconds: int) -> str:
    """Return a duration in at most two units."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8:
        return f"{years}y{days % 365}d" if days % 365 else f"{years}y"
    return f"{years}y"
