"""Checks an object against the published types, and tells how a strategic merge patch treats each field.

Called by apis.scheme for every body that a client sends and by registry for patches. The types are read from
`schema.json.gz` on the first use and kept; the node forms are described in `tools/generate_schema.py`.
Never changes its input, never defaults, never judges values beyond their JSON type.
"""

import base64
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from localset.apis.moments import canonical_moment
from localset.apis.quantities import canonical_quantity
from localset.apis.resources import BY_KIND
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.strategic_patch import PatchRule

SCHEMA_MINOR = 37
"""The minor version of Kubernetes whose types these are."""

Node = str | dict[str, Any]

_INT_BITS = {"i": 32, "l": 64}
_FORMATTED: dict[str, Node] = {"byte": "bytes", "date-time": "time"}
"""Leaves of our own: texts that must say something."""
_EXPECTED = {"s": "string", "b": "boolean", "i": "integer", "l": "integer", "n": "number"}
_ZERO: dict[str, Any] = {
    "s": "",
    "b": False,
    "i": 0,
    "l": 0,
    "n": 0,
    "is": 0,
    "q": "0",
    "o": None,
    "bytes": "",
    "time": None,
    "micro": None,
}
_SHOWN = 80
_NOT_A_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
_MOMENTS = {"time": "2006-01-02T15:04:05Z", "micro": "2006-01-02T15:04:05.000000Z"}
"""Leaves that are moments, and how each is written."""


class Checked(NamedTuple):
    """A new object that has only known fields, and the full paths of the ones it lost, in document order."""

    object: dict[str, Any]
    unknown: list[str]


class _WrongType(Exception):  # noqa: N818 -- never leaves this module
    pass


@cache
def schema() -> dict[str, Any]:
    """Return `{"kinds": {"group/Kind": name}, "types": {name: node}}`; shared, never to be changed.

    A version whose fields differ from the storage version's is `group/version/Kind`.
    """
    # zlib and pathlib, not gzip and importlib.resources: those cost more to import than the schema to read.
    packed = Path(__file__).with_name("schema.json.gz").read_bytes()
    loaded: dict[str, Any] = json.loads(zlib.decompress(packed, wbits=zlib.MAX_WBITS | 16))
    return loaded


def published() -> dict[str, Any]:
    """Return what only OpenAPI needs, read afresh; do not keep it, it takes a megabyte.

    `{"kinds": {"group/version/Kind": name}, "types": {name: node}, "descriptions": {name: [text, {field: text}]}}`: all
    kinds of the published groups in their published versions, and the types that `schema` does not have.
    """
    packed = Path(__file__).with_name("published.json.gz").read_bytes()
    loaded: dict[str, Any] = json.loads(zlib.decompress(packed, wbits=zlib.MAX_WBITS | 16))
    return loaded


def type_of(group: str, version: str, kind: str) -> Node | None:
    """Return the kind's root node, or None for a kind or version that is not served.

    The beta versions have the v1 fields. DeleteOptions belong to every group and version.
    """
    if kind == "DeleteOptions":
        group = ""
    else:
        resource = BY_KIND.get((group, kind))
        if version not in (resource.versions if resource else ("v1", "v1beta1")):
            return None
    kinds = schema()["kinds"]
    name = kinds.get(f"{group}/{version}/{kind}") or kinds.get(f"{group}/{kind}")
    return None if name is None else {"r": name}


def check(group: str, version: str, kind: str, obj: Any) -> Checked:
    """Return `obj` pruned to the known fields of `kind`, as a deep copy.

    Fields that are null vanish, also in typed maps, and so do empty lists and maps that are not required; a null list
    element becomes its type's zero value. Numbers given for a quantity become text, moments UTC. Raises StatusError 400
    for a value of the wrong JSON type and for an unknown kind.
    """
    node = type_of(group, version, kind)
    if node is None:
        at = f"{group}/{version}" if group else version
        raise bad_request(f'no kind "{kind}" is registered for version "{at}"')
    unknown: list[str] = []
    try:
        pruned = _checked(node, obj, "", unknown)
    except _WrongType as wrong:
        raise _refused(version, kind, str(wrong)) from None
    return Checked(pruned, unknown)


def check_type(name: str, value: Any, path: str, unknown: list[str]) -> Any:
    """Return `value` pruned to the known fields of the type `name`, as a deep copy; `path` is where it lies.

    Unknown paths are appended to `unknown`. ValueError for a value of the wrong JSON type.
    """
    try:
        return _checked({"r": name}, value, path, unknown)
    except _WrongType as wrong:
        raise ValueError(str(wrong)) from None


def _refused(version: str, kind: str, why: str) -> StatusError:
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def _resolved(node: Node) -> Node:
    """Follow references, and unwrap a leaf that carries extensions."""
    while isinstance(node, dict):
        if "r" in node:
            node = "micro" if node["r"] == _MICRO_TIME else schema()["types"][node["r"]]
        elif "t" in node:
            node = _FORMATTED[node["f"]] if node.get("f") in _FORMATTED else node["t"]
        else:
            return node
    return node


def _checked(node: Node, value: Any, path: str, unknown: list[str]) -> Any:
    node = _resolved(node)
    if isinstance(node, str):
        return _checked_leaf(node, value, path)
    if "a" in node:
        return _checked_list(node["a"], value, path, unknown)
    if not isinstance(value, dict):
        raise _wrong(path, "object", value)
    fields: dict[str, Node] | None = node.get("p")
    result = {}
    for key, item in value.items():
        sub: Node | None = node["m"] if fields is None else fields.get(key)
        if sub == "s" and type(item) is str:  # most of all that is written: this is the hottest loop of a write
            result[key] = item
            continue
        here = f"{path}.{key}" if path else key
        if sub is None:
            unknown.append(here)
        elif item is not None and (item or not _vanishes(node, sub, key, item)):
            result[key] = _checked(sub, item, here, unknown)
    return result


def _vanishes(owner: dict[str, Any], node: Node, field: str, value: Any) -> bool:
    """Tell whether an empty list or map in a field is the same as none: Go leaves it out, unless it is required."""
    if not isinstance(value, list | dict) or "p" not in owner or field in owner.get("req", ()):
        return False
    node = _resolved(node)
    return isinstance(node, dict) and ("a" in node or "m" in node)


def _checked_list(node: Node, value: Any, path: str, unknown: list[str]) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "array", value)
    return [
        _zero(node) if item is None else _checked(node, item, f"{path}[{index}]", unknown)
        for index, item in enumerate(value)
    ]


def _zero(node: Node) -> Any:
    node = _resolved(node)
    if isinstance(node, str):
        return _ZERO[node]
    return [] if "a" in node else {}


def _checked_leaf(leaf: str, value: Any, path: str) -> Any:
    if leaf == "o":
        return _copied(value)
    if leaf == "q":
        return _checked_quantity(value, path)
    if leaf == "bytes" or leaf in _MOMENTS:
        return _checked_text(leaf, value, path)
    if leaf == "is":
        if isinstance(value, str):
            return value
        return _checked_integer(32, value, path, "integer or string")
    if leaf in _INT_BITS:
        return _checked_integer(_INT_BITS[leaf], value, path, "integer")
    if leaf == "n":
        right = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        right = isinstance(value, str if leaf == "s" else bool)
    if not right:
        raise _wrong(path, _EXPECTED[leaf], value)
    return value


def _checked_integer(bits: int, value: Any, path: str, expected: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, expected, value)
    limit = 1 << (bits - 1)
    if not -limit <= value < limit:
        raise _wrong(path, f"{expected} of {bits} bits", value)
    return value


def _checked_quantity(value: Any, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(path, "quantity", value)
    try:
        return canonical_quantity(str(value))
    except ValueError:
        raise _WrongType(f"{path}: {_NOT_A_QUANTITY}") from None


def _checked_text(leaf: str, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "string", value)
    if leaf in _MOMENTS:
        try:
            return canonical_moment(value, is_micro=leaf == "micro")
        except ValueError:
            raise _wrong(path, f"time as {_MOMENTS[leaf]}", value) from None
    try:
        base64.b64decode(value, validate=True)
    except ValueError:  # binascii.Error is one, and so is what a letter outside ASCII raises
        raise _WrongType(f"{path}: illegal base64 data") from None
    return value


def _copied(value: Any) -> Any:
    """Copy a free-form value; nulls inside it are the client's own."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _wrong(path: str, expected: str, value: Any) -> _WrongType:
    if isinstance(value, dict):
        got = "object"
    elif isinstance(value, list):
        got = "array"
    elif value is None:
        got = "null"
    else:
        name = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        text = json.dumps(value, ensure_ascii=False)
        got = f"{name} {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"
    return _WrongType(f"{path}: expected {expected}, got {got}" if path else f"expected {expected}, got {got}")


class PatchRules:
    """The strategic-merge rules of one kind."""

    def __init__(self, root: Node, *, is_old_budget: bool = False) -> None:
        """Take the root node of the kind. `is_old_budget`: a selector of policy/v1beta1, which v1 replaces, merges."""
        self._root = root
        self._merged = ("spec", "selector") if is_old_budget else ()

    def lookup(self, path: tuple[str, ...]) -> PatchRule | None:
        """Return the rule of the field at `path` (names from the root, no list indexes); None for an unknown field.

        A known field without a strategy has `PatchRule(None, ())`; so has everything inside free-form values.
        """
        node = self._root
        for name in path:
            inner = _resolved(node)
            while isinstance(inner, dict) and "a" in inner:
                inner = _resolved(inner["a"])
            if isinstance(inner, str):
                return PatchRule(None, ()) if inner == "o" else None
            step = inner["m"] if "m" in inner else inner["p"].get(name)
            if step is None:
                return None
            node = step
        if isinstance(node, str) or (path and path == self._merged):
            return PatchRule(None, ())
        return PatchRule(node.get("mk"), tuple(node.get("ps", ())))


def patch_rules(group: str, version: str, kind: str) -> PatchRules:
    """Return the strategic-merge rules of `kind`; StatusError 400 for a kind that is not served."""
    node = type_of(group, version, kind)
    if node is None:
        at = f"{group}/{version}" if group else version
        raise bad_request(f'no kind "{kind}" is registered for version "{at}"')
    return PatchRules(node, is_old_budget=(group, version, kind) == ("policy", "v1beta1", "PodDisruptionBudget"))
