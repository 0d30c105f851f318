"""The shape of a Table: columns, printers, ages.

Every file beside this one describes one group of kinds with these words; `rendering` gathers them and makes the wire
form. Nothing here reads a clock: `now` is handed in. Facts: kube-api.md 7, after printers/internalversion/printers.go.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from localset.base.clock import parse_rfc3339
from localset.base.frozen import frozen
from localset.machinery.durations import human_duration
from localset.machinery.metadata import Object

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


@frozen
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


@frozen
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


def more_text(texts: list[str], most: int, *, separator: str = ",", empty: str = UNSET) -> str:
    """Return the first `most` texts joined, with ` + N more...` for the rest."""
    shown = separator.join(texts[:most]) or empty
    return f"{shown} + {len(texts) - most} more..." if len(texts) > most else shown


def selector_text(selector: Mapping[str, Any]) -> str:
    """Return a LabelSelector as `a=b,c in (d,e),!f`, `<none>` when it selects everything."""
    terms = [f"{key}={value}" for key, value in sorted(part(selector, "matchLabels").items())]
    for expression in items(selector, "matchExpressions"):
        key, operator = expression.get("key", ""), expression.get("operator")
        values = ",".join(sorted(items(expression, "values")))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        terms.append(forms.get(str(operator), key))
    return ",".join(terms) or NONE
