"""YAML to JSON values, bounded; the other half of `decoding`, apart because PyYAML costs a start what it rarely needs.

Used by apiserver for YAML bodies, by cli for manifests and by images for image.yaml. Nodes behind aliases are counted
as often as they are used, before memory is spent on them. Plain scalars are read as Kubernetes' YAML reader does: dates
and `1:30` stay text, `0644` and `0o644` are octal.
"""

import re
from typing import Any

import yaml

from localset.machinery.decoding import MAX_DEPTH, DecodeError, Document, child_path, float_of, integer_of

MAX_NODES = 200_000
MAX_EXPANDED_CHARACTERS = 12 * 1024 * 1024

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
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
        return integer_of(text.replace("_", ""))
    if _BASED.match(text):
        return _based(text.replace("_", ""))
    if _NOT_FINITE.match(text):
        raise DecodeError(f"{text} has no JSON form")
    if _FLOAT.match(text):
        return float_of(text.replace("_", ""))
    return text


def _based(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").lower()
    base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2], 8)
    bare = digits[2:] if digits[1:2] in "xbo" else digits[1:]
    if len(bare) > 64 or not bare:
        raise DecodeError(f"number {text[:32]} does not fit in 64 bits")
    return integer_of(str(sign * int(bare, base)))


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
            path = child_path(top.path, top.key if isinstance(top.container, dict) else len(top.container))
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
            self._duplicates.append(child_path(frame.path, frame.key))
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
        last = data.count(b"\n") + 1  # the reader may stand behind it
        raise DecodeError(str(why), min(mark.line + 1, last) if mark else 0) from error
    return composer.documents
