"""The safe way from bytes to JSON values: request bodies and manifest files.

Used by apiserver for bodies and by cli for files, so that both refuse the same things with the same words. All is
bounded before memory is spent on it (reliability.md M12, C4, C5): nesting depth, YAML nodes with aliases counted as
often as they are used, integers of 64 bits, no NaN. Duplicate keys are reported, not judged: `fieldValidation` decides.
YAML is `yaml_decoding`, imported by those who meet some: the daemon speaks JSON until somebody sends it.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_DEPTH = 200
_INT64 = 2**63


class DecodeError(ValueError):
    """Bytes that are not an acceptable document; the message is for people. `line` is 1-based, 0 when unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        """Keep the bare message and the line."""
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


class Document(NamedTuple):
    """One YAML document: its JSON value, the line it begins on, and the paths of keys that stand twice."""

    value: Any
    line: int
    duplicates: list[str]


_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def _refuse_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRUCTURE.finditer(data):
        character = data[match.start()]
        if character in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise DecodeError(f"exceeded max depth of {MAX_DEPTH}")
        elif character in b"]}":
            depth -= 1


def integer_of(text: str) -> int:
    """Return the number that `text` spells; DecodeError beyond 64 bits."""
    if len(text) > 20 or not -_INT64 <= (value := int(text)) < _INT64:
        raise DecodeError(f"number {text[:32]} does not fit in 64 bits")
    return value


def float_of(text: str) -> float:
    """Return the number that `text` spells; DecodeError when it is not finite."""
    value = float(text)
    if not math.isfinite(value):
        raise DecodeError(f"number {text[:32]} is out of range")
    return value


def _constant(text: str) -> Any:
    raise DecodeError(f"{text} is not JSON")


def child_path(path: str, key: object) -> str:
    """Return the path of a member: `a.key` or `a[0]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def _find(value: Any, wanted: dict[int, list[str]], path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key in wanted.get(id(value), ()):
            yield child_path(path, key)
        for key, child in value.items():
            yield from _find(child, wanted, child_path(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _find(child, wanted, child_path(path, index))


def decode_json(data: bytes) -> tuple[Any, list[str]]:
    """Return (value, paths of duplicate keys as `spec.template.spec.containers[0].image`); the last one wins.

    Raises DecodeError: not JSON, too deep, NaN, an integer beyond 64 bits, not UTF-8.
    """
    _refuse_depth(data)
    repeated: list[tuple[dict[str, Any], list[str]]] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            seen: set[str] = set()
            again = dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            repeated.append((built, list(again)))
        return built

    try:
        value = json.loads(
            data, object_pairs_hook=build, parse_int=integer_of, parse_float=float_of, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()):
            raise DecodeError("unexpected end of JSON input") from error
        raise DecodeError(f"{error.msg} at character {error.pos + 1}", error.lineno) from error
    except UnicodeDecodeError as error:
        raise DecodeError("the text is not UTF-8") from error
    duplicates = list(_find(value, {id(built): keys for built, keys in repeated}, "")) if repeated else []
    return (_without_surrogates(value) if _SURROGATE.search(data) else value), duplicates


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _without_surrogates(value: Any) -> Any:
    """Replace halves of surrogate pairs, as Go does: no encoder could write them out again."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(v) for v in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value
