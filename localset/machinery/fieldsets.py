"""Sets of field paths in the form in which managedFields are kept: FieldsV1. Pure.

A set is the JSON trie of the wire itself, so that nothing is parsed or written out for a write: `f:NAME` a field,
`k:{"name":"a"}` a list element by its keys, `v:"x"` a member of a set, `.` the item itself where more lies below it.
A node without anything below is an item: `{}`. At the root `{}` is the empty set. Sets are shared and never changed in
place. Called by `machinery.typed` and `machinery.ownership`; knows no schema.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

FieldSet = dict[str, Any]
Path = tuple[str, ...]

ITEM: FieldSet = {}
"""An item with nothing below it. Shared: never changed."""
_SELF = "."


def field(name: str) -> str:
    """Return the path element of a field or a map key."""
    return "f:" + name


def member(value: Any) -> str:
    """Return the path element of a set member."""
    return "v:" + _json(value)


def keyed(keys: dict[str, Any]) -> str:
    """Return the path element of an element of a keyed list."""
    return "k:{" + ",".join(f"{_json(name)}:{_json(keys[name])}" for name in sorted(keys)) + "}"


def _json(value: Any) -> str:
    if isinstance(value, str):  # nearly always, and much faster
        return encode_basestring(value)
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def made(is_item: bool, below: FieldSet) -> FieldSet | None:
    """Return the node that is an item or not and has `below` (without `.`); None for a node that is nothing."""
    if not below:
        return ITEM if is_item else None
    return {_SELF: ITEM, **below} if is_item else below


def is_item(node: FieldSet) -> bool:
    """Tell whether the node itself belongs to the set."""
    return not node or _SELF in node


def below_of(node: FieldSet) -> FieldSet:
    """Return what lies below a node, without the node itself."""
    return {key: sub for key, sub in node.items() if key != _SELF} if _SELF in node else node


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return the paths that are in one of two sets."""
    if not left or not right:
        return left or right
    result = dict(left)
    for key, theirs in right.items():
        ours = result.get(key)
        result[key] = theirs if ours is None else _union(ours, theirs)
    return result


def _union(left: FieldSet, right: FieldSet) -> FieldSet:
    below = union(below_of(left), below_of(right))
    return made(is_item(left) or is_item(right), below) or ITEM


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return the paths of `left` that are not in `right`; a path below one of `right` stays."""
    if not left or not right:
        return left
    result = {}
    for key, ours in left.items():
        theirs = right.get(key)
        rest = ours if theirs is None else _difference(ours, theirs)
        if rest is not None:
            result[key] = rest
    return result


def _difference(left: FieldSet, right: FieldSet) -> FieldSet | None:
    return made(is_item(left) and not is_item(right), difference(below_of(left), below_of(right)))


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return the paths that are in both sets."""
    result = {}
    for key, ours in left.items():
        theirs = right.get(key)
        if theirs is not None:
            both = made(is_item(ours) and is_item(theirs), intersection(below_of(ours), below_of(theirs)))
            if both is not None:
                result[key] = both
    return result


def without(fields: FieldSet, names: frozenset[str]) -> FieldSet:
    """Return the set without these top-level fields and all below them."""
    if not any(field(name) in fields for name in names):
        return fields
    return {key: node for key, node in fields.items() if key[2:] not in names}


def paths(fields: FieldSet) -> Iterator[Path]:
    """Yield every path of the set in upstream's order."""
    yield from _paths(fields, ())


def _paths(node: FieldSet, path: Path) -> Iterator[Path]:
    for key in sorted(node, key=_rank):
        if key != _SELF:
            here = (*path, key)
            if is_item(node[key]):
                yield here
            yield from _paths(node[key], here)


def ordered(fields: FieldSet) -> FieldSet:
    """Return an equal set with its keys in upstream's order: `.` first, then fields, keyed elements, members."""
    if not fields:
        return fields
    return {key: ordered(fields[key]) for key in sorted(fields, key=_rank)}


@lru_cache(maxsize=4096)
def _rank(key: str) -> tuple[int, Any]:
    """Sort as upstream sorts path elements: keys by their values, numbers as numbers."""
    kind = key[:2]
    if kind == "f:":
        return (1, key)
    if kind == "k:":
        return (2, [(name, *_comparable(value)) for name, value in json.loads(key[2:]).items()])
    if kind == "v:":
        return (3, _comparable(json.loads(key[2:])))
    return (0, key) if key == _SELF else (4, int(key[2:]))


def _comparable(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, _json(value))


def canonical(fields: Any) -> FieldSet:
    """Return FieldsV1 from a client as a set whose texts are comparable; ValueError when it is none."""
    if not isinstance(fields, dict):
        raise TypeError("fieldsV1 is not an object")
    result: FieldSet = {}
    for key, below in fields.items():
        if key == _SELF:
            continue
        node = canonical(below)
        found = made(not below or _SELF in below, node)
        if found is not None:
            result[_element(key)] = found
    return result


_LONGEST = 64 * 1024


def _element(key: str) -> str:
    kind, text = key[:2], key[2:]
    if len(text) > _LONGEST:
        raise ValueError("a path element is too long")
    if kind == "f:":
        return key
    if kind == "i:" and text.isascii() and text.isdecimal():
        return key
    if kind == "v:":
        return member(json.loads(text))
    if kind == "k:" and isinstance(keys := json.loads(text), dict):
        return keyed(keys)
    raise ValueError(f"{key[:80]} is no path element")


def path_text(path: Path) -> str:
    """Return a path as conflicts name it: `.spec.containers[name="a"].image`."""
    return "".join(_element_text(element) for element in path)


def _element_text(element: str) -> str:
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return "." + text
    if kind == "v:":
        return f"[={text}]"
    if kind == "k:":
        return "[" + ",".join(f"{name}={_json(value)}" for name, value in sorted(json.loads(text).items())) + "]"
    return f"[{text}]"
