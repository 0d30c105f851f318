"""The safe way from bytes to JSON values: request bodies and manifest files.

Used by apiserver for bodies and by cli for files, so that both refuse the same things with the same words. All is
bounded before memory is spent on it (reliability.md M12, C4, C5): nesting depth, YAML nodes with aliases counted as
often as they are used, integers of 64 bits, no NaN. Duplicate keys are reported, not judged: `fieldValidation` decides.
Plain YAML scalars are read as Kubernetes' YAML reader does: dates and `1:30` stay text, `0644` and `0o644` are octal.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

MAX_DEPTH = 200
MAX_NODES = 200_000
MAX_EXPANDED_CHARACTERS = 12 * 1024 * 1024
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


def _integer(text: str) -> int:
    if len(text) > 20 or not -_INT64 <= (value := int(text)) < _INT64:
        raise DecodeError(f"number {text[:32]} does not fit in 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DecodeError(f"number {text[:32]} is out of range")
    return value


def _constant(text: str) -> Any:
    raise DecodeError(f"{text} is not JSON")


def _child(path: str, key: object) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def _find(value: Any, wanted: dict[int, list[str]], path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key in wanted.get(id(value), ()):
            yield _child(path, key)
        for key, child in value.items():
            yield from _find(child, wanted, _child(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _find(child, wanted, _child(path, index))


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
            data, object_pairs_hook=build, parse_int=_integer, parse_float=_float, parse_constant=_constant
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


_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_BASED = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+|o?[0-7_]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_TAG = "tag:yaml.org,2002:"


def _plain(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in "-+.0123456789":
        return text
    if _DECIMAL.match(text):
        return _integer(text.replace("_", ""))
    if _BASED.match(text):
        return _based(text.replace("_", ""))
    if _NOT_FINITE.match(text):
        raise DecodeError(f"{text} has no JSON form")
    if _FLOAT.match(text):
        return _float(text.replace("_", ""))
    return text


def _based(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").lower()
    base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2], 8)
    bare = digits[2:] if digits[1:2] in "xbo" else digits[1:]
    if len(bare) > 64 or not bare:
        raise DecodeError(f"number {text[:32]} does not fit in 64 bits")
    return _integer(str(sign * int(bare, base)))


def _tagged(tag: str, text: str) -> Any:
    kind = tag.removeprefix(_TAG)
    if tag == "!" or kind in {"str", "binary", "timestamp"}:
        return text
    if kind in {"int", "float", "bool", "null"}:
        value = _plain(text)
        return float(value) if kind == "float" and isinstance(value, int) else value
    raise DecodeError(f"tag {tag} is not supported")


class _Frame:
    """A collection under construction."""

    __slots__ = ("anchor", "container", "duplicates", "has_key", "key", "path", "start")

    def __init__(self, container: Any, anchor: str | None, path: str, start: tuple[int, int]) -> None:
        self.container = container
        self.anchor = anchor
        self.path = path
        self.start = start
        self.key: str = ""
        self.has_key = False


class _Composer:
    """Builds JSON values from parser events and counts what it builds, aliases included."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._nodes = 0
        self._characters = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._duplicates: list[str] = []
        self._root: Any = None
        self._line = 1

    def take(self, event: Any) -> None:
        """Take one event; raises DecodeError."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors, self._duplicates, self._root = {}, [], None
            self._line = event.start_mark.line + 1 if event.start_mark else 0
        elif isinstance(event, yaml.DocumentEndEvent) and self._root is not None:
            self.documents.append(Document(self._root, self._line, self._duplicates))

    def _count(self, nodes: int, characters: int) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > MAX_NODES:
            raise DecodeError(f"the document has more than {MAX_NODES} nodes, aliases counted")
        if self._characters > MAX_EXPANDED_CHARACTERS:
            raise DecodeError("the document is too large once its aliases are expanded")

    def _scalar(self, event: Any) -> None:
        self._count(1, len(event.value))
        if event.tag is not None and not event.implicit[0]:
            value = _tagged(event.tag, event.value)
        else:
            value = _plain(event.value) if event.implicit[0] else event.value
        if event.anchor:
            self._anchors[event.anchor] = (value, 1, len(event.value))
        self._add(value, event.value)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise DecodeError(f"alias *{event.anchor} names no finished anchor")
        value, nodes, characters = self._anchors[event.anchor]
        self._count(nodes, characters)
        self._add(value, value if isinstance(value, str) else None)

    def _open(self, event: Any) -> None:
        self._count(1, 0)
        if len(self._stack) >= MAX_DEPTH:
            raise DecodeError(f"exceeded max depth of {MAX_DEPTH}")
        if event.tag is not None and event.tag not in {_TAG + "map", _TAG + "seq", "!"}:
            raise DecodeError(f"tag {event.tag} is not supported")
        container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        top = self._stack[-1] if self._stack else None
        path = ""
        if top is not None:
            if isinstance(top.container, dict) and not top.has_key:
                raise DecodeError("a mapping key must be a scalar")
            path = _child(top.path, top.key if isinstance(top.container, dict) else len(top.container))
        self._stack.append(_Frame(container, event.anchor, path, (self._nodes - 1, self._characters)))

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.anchor:
            nodes, characters = frame.start
            self._anchors[frame.anchor] = (frame.container, self._nodes - nodes, self._characters - characters)
        self._add(frame.container, None)

    def _add(self, value: Any, text: str | None) -> None:
        if not self._stack:
            self._root = value
            return
        frame = self._stack[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif not frame.has_key:
            frame.key, frame.has_key = self._key(value, text), True
        else:
            self._put(frame, value)
            frame.has_key = False

    def _key(self, value: Any, text: str | None) -> str:
        if value is None or isinstance(value, dict | list):
            raise DecodeError("a mapping key must be text")
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if isinstance(value, str) else (text or str(value))

    def _put(self, frame: _Frame, value: Any) -> None:
        if frame.key == "<<":
            for source in value if isinstance(value, list) else [value]:
                if not isinstance(source, dict):
                    raise DecodeError("<< merges mappings only")
                self._count(len(source), 0)
                frame.container.update({k: v for k, v in source.items() if k not in frame.container})
            return
        if frame.key in frame.container:
            self._duplicates.append(_child(frame.path, frame.key))
        frame.container[frame.key] = value


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def decode_yaml(data: bytes) -> list[Document]:
    """Return the documents of a YAML (or JSON) stream as JSON values; empty documents are left out.

    NB: values reached by an alias are shared: copy before changing. Raises DecodeError with the line.
    """
    composer = _Composer()
    line = 0
    try:
        for event in yaml.parse(data, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 0
            composer.take(event)
    except DecodeError as error:
        raise DecodeError(str(error), line) from None
    except UnicodeDecodeError as error:
        raise DecodeError("the text is not UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise DecodeError(str(why), mark.line + 1 if mark else 0) from error
    return composer.documents
