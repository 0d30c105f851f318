"""The shape of a Table: columns, printers, ages.

Every file beside this one describes one group of kinds with these words; `rendering` gathers them and makes the wire
form. Nothing here reads a clock: `now` is handed in. Facts: kube-api.md 7, after printers/internalversion/printers.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from localset.base.clock import parse_rfc3339
from localset.machinery.metadata import Object

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Column:
    """One columnDefinition; `priority` above 0 is shown by `-o wide` only."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True)
class Printer:
    """How one kind is shown: its columns, its cells, and the conditions of a row where a kind has any."""

    columns: tuple[Column, ...]
    cells: Callable[[Object, datetime], list[Any]]
    conditions: Callable[[Object], list[dict[str, str]]] | None = None


NAME = Column("Name", format="name", description="The object's name, unique within its namespace and kind.")
AGE = Column("Age", description="Time since the object was created.")


def wide(name: str, column_type: str = "string") -> Column:
    """Return a column that only `-o wide` shows."""
    return Column(name, column_type, priority=1)


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


def since(timestamp: str | None, now: datetime) -> str:
    """Return the time from `timestamp` (RFC 3339) to `now`; `<unknown>` when absent or unreadable."""
    if not timestamp:
        return UNKNOWN
    try:
        return human_duration(now - parse_rfc3339(timestamp))
    except (ValueError, TypeError):
        return UNKNOWN


def age(obj: Object, now: datetime) -> str:
    """Return the AGE cell."""
    return since(part(obj, "metadata").get("creationTimestamp"), now)


def part(obj: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the sub-object `key`, empty when absent or null."""
    return obj.get(key) or {}


def items(obj: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list `key`, empty when absent or null."""
    return obj.get(key) or []


def name(obj: Object) -> str:
    """Return metadata.name."""
    return str(part(obj, "metadata").get("name", ""))


def labels_text(labels: Mapping[str, str] | None) -> str:
    """Return `a=1,b=2` sorted by key, `<none>` when empty."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else NONE
