"""JSONPath templates, as `-o jsonpath=` takes them: text, `{.paths}`, `{"text"}`, `{range .items[*]}…{end}`. Pure.

The order of evaluation and the texts of errors follow client-go's util/jsonpath.
"""

import re
from collections.abc import Iterator
from typing import Any

from localset.machinery.jsonpath import Path, PathError

_RELAXED = re.compile(r"\{\.?(?P<inner>[^{}]+)\}\Z|\.?(?P<plain>[^{}]+)\Z")
_QUOTED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}

Node = tuple[Path | str, "list[Node] | None"]
"""A text; a path; or, with nodes behind, a path whose values the nodes are walked with."""


def relaxed(text: str) -> Path:
    """Return the path of `.spec.x`, `spec.x`, `{.spec.x}` or `{spec.x}`; PathError."""
    found = _RELAXED.match(text)
    if found is None:
        raise PathError(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'"
        )
    inner = str(found["inner"] or found["plain"])
    return Path(inner if inner.startswith("[") else "." + inner)


class Template:
    """A compiled template. Raises PathError, whose text is kubectl's, for what cannot be read."""

    def __init__(self, text: str) -> None:
        """Compile `text`."""
        self.text = text
        self._position = 0
        self._nodes = self._read(is_inside=False)

    def _read(self, *, is_inside: bool) -> list[Node]:
        nodes: list[Node] = []
        while self._position < len(self.text):
            start = self.text.find("{", self._position)
            if start < 0:
                nodes.append((self.text[self._position :], None))
                self._position = len(self.text)
                break
            if start > self._position:
                nodes.append((self.text[self._position : start], None))
            stop = _closing(self.text, start)
            self._position = stop + 1
            action = self.text[start + 1 : stop].strip()
            if action == "end":
                if is_inside:
                    return nodes
                raise PathError("not in range, nothing to end")
            if action.startswith("range ") or action == "range":
                nodes.append((_path(action.removeprefix("range").strip()), self._read(is_inside=True)))
            elif action[:1] in {'"', "'"}:
                nodes.append((_unquoted(action), None))
            elif action:
                nodes.append((_path(action), None))
        if is_inside:
            raise PathError("unterminated range")
        return nodes

    def results(self, value: Any, *, is_missing_allowed: bool = True) -> Iterator[list[Any] | str]:
        """Yield what each text and path gives, in order: a text, or the values found."""
        yield from _walk(self._nodes, value, is_missing_allowed=is_missing_allowed)


def _walk(nodes: list[Node], value: Any, *, is_missing_allowed: bool) -> Iterator[list[Any] | str]:
    for what, inner in nodes:
        if isinstance(what, str):
            yield what
            continue
        found = what.search(value, is_missing_allowed=is_missing_allowed)
        if inner is None:
            yield found
            continue
        for item in found:
            yield from _walk(inner, item, is_missing_allowed=is_missing_allowed)


def _path(text: str) -> Path:
    if not text.startswith((".", "[", "$", "@", "*")):
        raise PathError(f"unrecognized identifier {text}")
    return Path(text)


def _closing(text: str, start: int) -> int:
    quote, index = "", start + 1
    while index < len(text):
        char = text[index]
        if quote and char == "\\":
            index += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "}":
            return index
        index += 1
    raise PathError("unterminated quoted string" if quote else "unclosed action")


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise PathError("unterminated quoted string")
    return re.sub(r"\\(.)", lambda found: _QUOTED.get(found[1], found[0]), text[1:-1])
