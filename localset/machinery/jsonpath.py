"""kubectl's JSONPath: what custom resources name columns and fields by, and what `-o jsonpath=` and `wait` ask for.

`.spec.size`, `.a['b.c']`, `[0]`, `[-1]`, `[*]`, `[1:3]`, `['a','b']`, `..name`, and filters that compare one path with
a literal or another path: `[?(@.type=="Ready")].status`. Templates around them: `machinery.jsonpath_template`. Pure.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_NAME = re.compile(r"(?:[^.\[\]'\"\\]|\\.)+")
_INDEX = re.compile(r"-?\d{1,9}\Z")
_SLICE = re.compile(r"(-?\d{1,9})?:(-?\d{1,9})?(?::(\d{1,9}))?\Z")
_FILTER = re.compile(r"\?\(\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<literal>.+?))?\s*\)\Z")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


class PathError(ValueError):
    """The text is no path that is understood here."""


def _member(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _everything(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _descendants(value: Any) -> Iterator[Any]:
    yield value
    for inner in _everything(value):
        yield from _descendants(inner)


def _index(number: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= number < len(value):
            yield value[number]

    return step


def _slice(wanted: slice) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[wanted]

    return step


def _union(steps: list[Step]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for inner in steps:
            yield from inner(value)

    return step


def _filter(text: str) -> Step:
    found = _FILTER.match(text)
    if found is None:
        raise PathError(f"unrecognized filter: {text}")
    path = Path(found["path"] or ".")
    operator = found["operator"]
    other = Path(found["literal"]) if operator and found["literal"].startswith(("@", "$")) else None
    literal = _literal(found["literal"]) if operator and other is None else None

    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            here = path.find(item)
            if operator is None:
                if here:
                    yield item
                continue
            there = other.find(item) if other is not None else [literal]
            try:
                is_wanted = bool(here and there) and _OPERATORS[operator](here[0], there[0])
            except TypeError:
                continue  # values of two types have no order
            if is_wanted:
                yield item

    return step


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise PathError(f"unrecognized literal: {text}") from None


def _bracket(text: str) -> Step:
    if text == "*":
        return _everything
    if text.startswith("?"):
        return _filter(text)
    if _INDEX.match(text):
        return _index(int(text))
    found = _SLICE.match(text)
    if found is not None:
        bounds = [int(part) if part else None for part in found.groups()]
        if bounds[2] == 0:
            raise PathError("step must be > 0")
        return _slice(slice(*bounds))
    parts = [part.strip() for part in text.split(",")]
    if all(len(part) >= 2 and part[0] == part[-1] and part[0] in "'\"" for part in parts):
        return _union([_member(part[1:-1]) for part in parts])
    if len(parts) > 1 and all(part and part[0] not in "'\"?" for part in parts):
        return _union([_bracket(part) for part in parts])
    raise PathError(f"invalid array index {text}")


class Path:
    """A compiled path. Raises PathError for what is not understood."""

    def __init__(self, text: str) -> None:
        """Compile `text`, which starts with a dot or a bracket (a leading `$` is allowed)."""
        self.text = text
        self._steps: list[Step] = []
        self._asked: dict[int, str | int] = {}  # by step: the one name or index it asks for
        if text.count("..") > 1:
            raise PathError(f"more than one recursive descent in {text!r}")  # what they find multiplies
        rest = "" if text in {"$", "@", "."} else text.removeprefix("$").removeprefix("@")
        while rest:
            if rest.startswith(".."):
                self._steps.append(_descendants)
                rest = rest[1:] if rest[2:3] != "[" else rest[2:]
            elif rest.startswith("."):
                rest = self._dotted(rest[1:])
            elif rest.startswith("["):
                stop = _closing(rest)
                inner = rest[1:stop].strip()
                if _INDEX.match(inner):
                    self._asked[len(self._steps)] = int(inner)
                self._steps.append(_bracket(inner))
                rest = rest[stop + 1 :]
            else:
                raise PathError(f"unexpected {rest[:20]!r} in {text!r}")

    def _dotted(self, rest: str) -> str:
        if rest.startswith("["):
            return rest
        found = _NAME.match(rest)
        if found is None:
            raise PathError(f"a name is missing in {self.text!r}")
        name = re.sub(r"\\(.)", r"\1", found[0])
        if found[0] != "*":
            self._asked[len(self._steps)] = name
        self._steps.append(_everything if found[0] == "*" else _member(name))
        return rest[found.end() :]

    def find(self, value: Any) -> list[Any]:
        """Return all that the path finds in `value`, in order; nothing found is no error."""
        found = [value]
        for step in self._steps:
            found = [inner for item in found for inner in step(item)]
        return found

    def search(self, value: Any, *, is_missing_allowed: bool = True) -> list[Any]:
        """Return what `find` does, as strictly as kubectl prints: PathError for an index beyond a list, and for an
        absent member unless `is_missing_allowed`."""
        found = [value]
        for number, step in enumerate(self._steps):
            asked = self._asked.get(number)
            for item in found:
                if isinstance(asked, int) and isinstance(item, list) and not -len(item) <= asked < len(item):
                    raise PathError(f"array index out of bounds: index {asked}, length {len(item)}")
                if isinstance(asked, str) and not is_missing_allowed and not (isinstance(item, dict) and asked in item):
                    raise PathError(f"{asked} is not found")
            found = [inner for item in found for inner in step(item)]
        return found


def _closing(text: str) -> int:
    quote = ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "]":
            return index
    raise PathError(f"unterminated array in {text!r}")


@lru_cache(maxsize=512)
def path_of(text: str) -> Path:
    """Return the compiled path of `text`; PathError."""
    return Path(text)
