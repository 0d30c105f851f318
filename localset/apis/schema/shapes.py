"""Shapes for server-side apply: from the published types of built-in kinds, and from a custom resource's own schema.

Called by registry through `apis.scheme`. Shapes are made on demand and kept: built-in ones for ever, a custom one by
whoever holds its schema. Sources: kube-openapi `schemaconv`, and apiextensions' structural schemas.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from localset.apis.schema.types import Node, schema, type_of
from localset.machinery.shapes import OPAQUE, UNKNOWN, Form, Shape

_EXPECTED = {"s": "string", "b": "boolean", "i": "numeric", "l": "numeric", "n": "numeric"}
_KEY_DEFAULTS = {"protocol": "TCP"}

# Go's API types hold these fields by value, so that an object has them even when nobody said so: they are never new,
# and nobody owns them as such. Everything else that refers to a type is a pointer there.
_BY_VALUE = frozenset(
    {
        "CrossVersionObjectReference",
        "CustomResourceDefinitionNames",
        "DaemonEndpoint",
        "DaemonSetUpdateStrategy",
        "DeploymentStrategy",
        "EventSource",
        "IngressLoadBalancerStatus",
        "JobTemplateSpec",
        "LoadBalancerStatus",
        "NodeDaemonEndpoints",
        "NodeSystemInfo",
        "ObjectMeta",
        "PodTemplateSpec",
        "RoleRef",
        "ServiceBackendPort",
        "StatefulSetUpdateStrategy",
        "VolumeResourceRequirements",
    }
)
_BY_VALUE_IN = frozenset(
    {
        ("Container", "resources"),
        ("ContainerStatus", "lastState"),
        ("ContainerStatus", "state"),
        ("EphemeralContainer", "resources"),
        ("Event", "deprecatedSource"),
        ("Event", "involvedObject"),
        ("Event", "regarding"),
        ("NetworkPolicySpec", "podSelector"),
    }
)
_ALWAYS_WRITTEN: dict[str, dict[str, Any]] = {
    "Event": {
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
        "eventTime": None,
        "firstTimestamp": None,
        "lastTimestamp": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    "ObjectMeta": {"creationTimestamp": None},
    "StatefulSetSpec": {"serviceName": ""},
}
"""Optional fields that Go writes out even when they are empty."""
_ZERO: dict[str, Any] = {"s": "", "b": False, "i": 0, "l": 0, "n": 0}


def shape_of(group: str, version: str, kind: str) -> Shape | None:
    """Return the shape of a built-in kind, or None for one that is not built in."""
    node = type_of(group, version, kind)
    return None if node is None else _of_name(str(node["r"])) if isinstance(node, dict) else None


@cache
def _of_name(name: str) -> Shape:
    return _of_node(schema()["types"][name], name)


def _of_node(node: Node, owner: str = "") -> Shape:
    more: Mapping[str, Any] = {}
    while isinstance(node, dict):
        if "r" in node:
            if "mt" not in node and "lt" not in node:
                return _of_name(node["r"])
            more, owner, node = {**node, **more}, node["r"], schema()["types"][node["r"]]
        elif "t" in node:
            node = node["t"]
        else:
            break
    if isinstance(node, str):
        return OPAQUE if node == "o" else _scalar(_EXPECTED.get(node, ""))
    if "a" in node:
        return _list(node)
    if "m" in node:
        element = _lazily(node["m"])
        is_atomic = node.get("mt") == "atomic"
        return Shape(Form.MAP, atomic=is_atomic, part=lambda _: element())
    return _struct(node, owner, is_atomic="atomic" in {node.get("mt"), more.get("mt")})


@cache
def _scalar(expects: str) -> Shape:
    return Shape(Form.SCALAR, expects=expects)


def _lazily(node: Node) -> Callable[[], Shape]:
    made: list[Shape] = []

    def get() -> Shape:
        if not made:
            made.append(_of_node(node))
        return made[0]

    return get


def _struct(node: dict[str, Any], owner: str, *, is_atomic: bool) -> Shape:
    fields: dict[str, Node] = node["p"]
    made: dict[str, Shape] = {}

    def part(name: str) -> Shape | None:
        found = made.get(name)
        if found is None and name in fields:
            found = made[name] = _of_node(fields[name])
        return found

    present = {name: _zero(fields[name]) for name in node.get("req", ())}
    short = owner.rpartition(".")[2]
    present |= {name: {} for name, sub in fields.items() if _is_by_value(short, name, sub)}
    present |= _ALWAYS_WRITTEN.get(short, {})
    return Shape(Form.MAP, atomic=is_atomic, part=part, declares=fields.__contains__, present=present)


def _is_by_value(owner: str, name: str, node: Node) -> bool:
    if not isinstance(node, dict) or "r" not in node:
        return False
    kind = node["r"].rpartition(".")[2]
    if name in {"spec", "status"} and kind.endswith(name.capitalize()):
        return True
    return kind in _BY_VALUE or (owner, name) in _BY_VALUE_IN


def _zero(node: Node) -> Any:
    """Return what Go holds in a field that is never left out: a struct, a zero, or nothing."""
    while isinstance(node, dict):
        if "t" in node:
            node = node["t"]
        elif "r" in node:
            return {} if isinstance(schema()["types"][node["r"]], dict) else None
        else:
            return None
    return _ZERO.get(node)


def _list(node: dict[str, Any]) -> Shape:
    kind = node.get("lt")
    keys = tuple(node.get("lk", ()))
    if kind is None and "merge" in node.get("ps", ()):
        keys = (node["mk"],) if "mk" in node else ()
        kind = "map" if keys else "set"
    if kind not in {"map", "set"}:
        return Shape(Form.LIST, atomic=True, element=_lazily(node["a"]))
    return Shape(Form.LIST, element=_lazily(node["a"]), keys=keys, defaults=_key_defaults(node["a"], keys))


def _key_defaults(node: Node, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return what an element's keys are when it leaves them out: the published types say it only by their Go source."""
    inner = schema()["types"][node["r"]] if isinstance(node, dict) and "r" in node else node
    if not isinstance(inner, dict) or "p" not in inner:
        return {}
    return {key: _KEY_DEFAULTS.get(key, "") for key in keys if key not in inner.get("req", ())}


# --- Custom resources ------------------------------------------------------------------------------------------------


def custom_shape(openapi: dict[str, Any] | None) -> Shape:
    """Return the shape of a custom resource's `openAPIV3Schema`; without one everything is deduced from the values.

    Its apiVersion, kind and metadata are those of every object.
    """
    found = _of_openapi(openapi or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    known = {"apiVersion": _scalar("string"), "kind": _scalar("string"), "metadata": _of_name(_METADATA)}
    return Shape(
        Form.MAP,
        part=lambda name: known.get(name) or found.part(name),
        declares=lambda name: name in known or found.declares(name),
    )


_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_TYPES = {"string": "string", "boolean": "boolean", "integer": "numeric", "number": "numeric"}


def _of_openapi(openapi: dict[str, Any]) -> Shape:
    kind = openapi.get("type")
    if openapi.get("x-kubernetes-int-or-string"):
        return _scalar("")
    if openapi.get("x-kubernetes-embedded-resource"):
        return _embedded(openapi)
    if kind == "array":
        return _openapi_list(openapi)
    if kind == "object" or "properties" in openapi:
        return _openapi_map(openapi)
    return _scalar(_TYPES[kind]) if kind in _TYPES else UNKNOWN


def _embedded(openapi: dict[str, Any]) -> Shape:
    inner = _openapi_map({**openapi, "x-kubernetes-embedded-resource": False})
    metadata = openapi.get("properties", {}).get("metadata")
    known = {"apiVersion": _scalar("string"), "kind": _scalar("string")}
    known["metadata"] = _of_openapi(metadata) if metadata and metadata.get("properties") else _of_name(_METADATA)
    return Shape(
        Form.MAP,
        atomic=inner.atomic,
        part=lambda name: known.get(name) or inner.part(name),
        declares=lambda name: name in known or inner.declares(name),
    )


def _openapi_map(openapi: dict[str, Any]) -> Shape:
    fields: dict[str, Any] = openapi.get("properties") or {}
    more = openapi.get("additionalProperties")
    is_open = bool(openapi.get("x-kubernetes-preserve-unknown-fields")) or more is True
    made: dict[str, Shape] = {}
    rest = _of_openapi(more) if isinstance(more, dict) and more else UNKNOWN if is_open else None

    def part(name: str) -> Shape | None:
        found = made.get(name)
        if found is None:
            if name not in fields:
                return rest
            found = made[name] = _of_openapi(fields[name])
        return found

    return Shape(
        Form.MAP,
        atomic=openapi.get("x-kubernetes-map-type") == "atomic",
        part=part,
        declares=fields.__contains__,
    )


def _openapi_list(openapi: dict[str, Any]) -> Shape:
    items: dict[str, Any] = openapi.get("items") or {}
    made: list[Shape] = []

    def element() -> Shape:
        if not made:
            made.append(_of_openapi(items))
        return made[0]

    kind = openapi.get("x-kubernetes-list-type")
    if kind not in {"map", "set"}:
        return Shape(Form.LIST, atomic=True, element=element)
    keys = tuple(openapi.get("x-kubernetes-list-map-keys") or ())
    properties = items.get("properties") or {}
    defaults = {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}
    return Shape(Form.LIST, element=element, keys=keys, defaults=defaults)
