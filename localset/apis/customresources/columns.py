"""The printer columns of custom resources: from a definition's JSONPaths to cells. Pure.

Asked by apiserver's tables. Source: apiextensions-apiserver pkg/registry/customresource/tableconvertor.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from localset.machinery.jsonpath import Path, path_of
from localset.machinery.metadata import Object

_AGE_PATH = ".metadata.creationTimestamp"
_AGE_DESCRIPTION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC."
)


class Column(NamedTuple):
    """One column."""

    name: str
    type: str
    format: str
    description: str
    priority: int
    path: Path

    def cell(self, obj: Object, age_of: Callable[[str], str]) -> Any:
        """Return the cell of `obj`; None where there is nothing, or nothing of the column's type.

        `age_of` turns an RFC 3339 text into an age; it knows the time, nothing here does.
        """
        found = self.path.find(obj)
        if not found or found[0] is None:
            return None
        value = found[0]
        if self.type == "string":
            return _text(value)
        if self.type == "date":
            return age_of(value) if isinstance(value, str) else None
        if self.type == "boolean":
            return value if isinstance(value, bool) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return int(value) if self.type == "integer" else float(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return str(value)


def columns_of(columns: list[Object] | None) -> tuple[Column, ...]:
    """Return the compiled columns; the age when a definition names none."""
    if not columns:
        return (Column("Age", "date", "", _AGE_DESCRIPTION, 0, path_of(_AGE_PATH)),)
    return tuple(
        Column(
            name=column["name"],
            type=column["type"],
            format=column.get("format") or "",
            description=column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            priority=column.get("priority") or 0,
            path=path_of(column["jsonPath"]),
        )
        for column in columns
    )
