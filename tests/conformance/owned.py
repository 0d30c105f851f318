"""The fields that managedFields entries own, as lines that can be compared as a set. Used by comparing alone. Pure."""

from typing import Any

from tests.conformance import volatile


def owned_lines(entry: dict[str, Any]) -> list[str]:
    """Return one line per field that a managedFields entry owns."""
    who = "/".join(str(entry.get(key) or "") for key in ("manager", "operation", "apiVersion"))
    lines = [f"{who} {path}" for path in _leaves(entry.get("fieldsV1") or {}, "")]
    return [volatile.NEWER_ATOMIC.sub(r"\1", line) for line in lines]


def _leaves(fields: dict[str, Any], path: str) -> list[str]:
    found = [path] if path and not fields else []
    for key, inner in fields.items():
        if key not in volatile.NEWER_OWNED:
            found += _leaves(inner, f"{path}.{key.removeprefix('f:')}")
    return found


def listed(paths: list[str]) -> str:
    """Return lines as a difference shows them: the first few and how many more."""
    return "[" + ", ".join(paths[:6]) + (f" and {len(paths) - 6} more" if len(paths) > 6 else "") + "]"
