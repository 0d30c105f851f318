"""Kinds without a form of their own, custom resources among them: every field, its name in words. Pure.

Source: kubectl's describe.go, genericDescriber and printUnstructuredContent.
"""

import re
from typing import Any

from localset.cli.describing.lines import Lines, annotations, labels
from localset.machinery.errors import go_print

_HIDDEN = frozenset((".metadata.managedFields", ".metadata.name", ".metadata.namespace", ".metadata.labels",
                     ".metadata.annotations"))  # fmt: skip


def generic_lines(obj: dict[str, Any]) -> Lines:
    """Return an object without its events."""
    metadata = obj["metadata"]
    lines = [f"Name:\t{metadata['name']}", f"Namespace:\t{metadata.get('namespace', '')}"]
    lines += labels("Labels", metadata.get("labels")) + annotations("Annotations", metadata.get("annotations"))
    _content(obj, "", "", lines)
    return lines


def _content(value: dict[str, Any], indent: str, path: str, lines: Lines) -> None:
    for key in sorted(value):
        item, here = value[key], f"{path}.{key}"
        if here in _HIDDEN:
            continue
        name = _words(key)
        if isinstance(item, dict):
            lines.append(f"{indent}{name}:")
            _content(item, indent + "  ", here, lines)
        elif isinstance(item, list):
            lines.append(f"{indent}{name}:")
            for element in item:
                if isinstance(element, dict):
                    _content(element, indent + "  ", here, lines)
                else:
                    lines.append(f"{indent}  {go_print(element)}")
        else:
            lines.append(f"{indent}{name}:\t{go_print(item)}")


_ACRONYMS = {"API", "URL", "UID", "OSB", "GUID"}
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|-+")


def _words(key: str) -> str:
    """Return `creationTimestamp` as `Creation Timestamp`; names with more than letters and `-` stay."""
    if any(not (char.isalpha() or char == "-") for char in key):
        return key
    parts = _PARTS.findall(key)
    return " ".join(part.upper() if part.upper() in _ACRONYMS else part[0].upper() + part[1:] for part in parts)
