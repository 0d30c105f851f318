"""Whether the schema in a definition is structural: every field typed, logic apart from structure.

Called by `kind` for each version. Takes a schema whose JSON types have been checked; returns causes in the order of
their text, as upstream sorts them. Source: apiextensions-apiserver pkg/apiserver/schema validation.go, complete.go,
convert.go and pkg/apis/apiextensions/validation.
"""

from typing import Any

from localset.apis.customresources.schema import Schema
from localset.apis.customresources.validation import schema_causes as value_causes
from localset.machinery.errors import Cause, bad_value, not_allowed, not_supported, required
from localset.machinery.jsonpath import PathError, path_of
from localset.machinery.regexp import Pattern, PatternError

_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_FORBIDDEN = ("definitions", "dependencies", "additionalItems", "patternProperties", "id", "$ref", "$schema")
_NESTED_EMPTY = {"type": "empty", "title": "empty", "description": "empty", "x-kubernetes-list-map-keys": "empty"}
_NESTED_UNDEFINED = ("additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type")
_NESTED_FALSE = (
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
)
_SCALARS = {"boolean", "integer", "number", "string"}
MAX_DEPTH = 64
Node = dict[str, Any]


def schema_causes(schema: Node, path: str) -> list[Cause]:
    """Return why `schema`, which lies at `path`, is not structural."""
    if _depth(schema) > MAX_DEPTH:
        return [bad_value(path, "", f"must not nest deeper than {MAX_DEPTH} levels")]
    causes = [*_invariant_causes(schema, path, "root"), *_completeness_causes(schema, path)]
    causes.sort(key=lambda cause: f"{cause.field}: {cause.message}")
    if not causes:
        causes += _default_causes(schema, path)
    return causes


def _parts(node: Node) -> list[Node]:
    """Return the schemas directly inside `node`."""
    found = [node.get("items"), node.get("additionalProperties"), node.get("not")]
    found += list((node.get("properties") or {}).values())
    found += [part for junctor in _JUNCTORS for part in node.get(junctor) or []]
    return [part for part in found if isinstance(part, dict)]


def _depth(node: Node) -> int:
    deepest, waiting = 0, [(node, 1)]
    while waiting:
        part, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(inner, depth + 1) for inner in _parts(part)]
    return deepest


def has_rules(schema: Node) -> bool:
    """Tell whether there is a CEL rule anywhere in `schema`."""
    return bool(schema.get("x-kubernetes-validations")) or any(has_rules(part) for part in _parts(schema))


def _invariant_causes(node: Node, path: str, level: str) -> list[Cause]:
    causes = [*_type_causes(node, path, level), *_form_causes(node, path), *_list_causes(node, path)]
    more, properties = node.get("additionalProperties"), node.get("properties") or {}
    if isinstance(node.get("items"), dict):
        causes += _invariant_causes(node["items"], f"{path}.items", "item")
    for name, part in properties.items():
        at = f"{path}.properties[{name}]"
        if name == "metadata" and level == "root":
            causes += _metadata_causes(part, at)
        else:
            causes += _invariant_causes(part, at, "field")
    if more is not None:
        if level == "root":
            causes.append(not_allowed(f"{path}.additionalProperties", "must not be used at the root"))
        if more is False:
            causes.append(not_allowed(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
        if properties:
            why = "additionalProperties and properties are mutual exclusive"
            causes.append(not_allowed(f"{path}.additionalProperties", why))
        if isinstance(more, dict):
            causes += _invariant_causes(more, f"{path}.additionalProperties", "field")
    return [*causes, *_value_causes(node, path, is_structure=True)]


def _type_causes(node: Node, path: str, level: str) -> list[Cause]:
    given, causes = node.get("type") or "", []
    is_free = node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")
    if given and given not in _TYPES:
        causes.append(not_supported(f"{path}.type", given, _TYPES))
    if node.get("x-kubernetes-embedded-resource") and given != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        causes.append(bad_value(f"{path}.type", given, why) if given else required(f"{path}.type", why))
    elif not given and not is_free:
        whom = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
        causes.append(required(f"{path}.type", f"must not be empty {whom[level]}"))
    if level == "root" and given and given != "object":
        causes.append(bad_value(f"{path}.type", given, "must be object at the root"))
    if given == "array" and not isinstance(node.get("items"), dict):
        causes.append(required(f"{path}.items", "must be specified"))
    if level == "root" or node.get("x-kubernetes-embedded-resource"):
        for name in ("kind", "apiVersion"):
            part = (node.get("properties") or {}).get(name)
            if part is not None and part.get("type") != "string":
                causes.append(bad_value(f"{path}.properties[{name}].type", part.get("type") or "", "must be string"))
    return causes


def _metadata_causes(node: Node, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if node.get("type") != "object":
        causes.append(bad_value(f"{path}.type", node.get("type") or "", "must be object"))
    said = {name for name, value in node.items() if value and name not in {"type", "properties", "description"}}
    if said or set(node.get("properties") or {}) - {"name", "generateName"}:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(not_allowed(path, why))
    return causes


def _form_causes(node: Node, path: str) -> list[Cause]:
    """Return what no structural schema may use at all, and extensions that exclude each other."""
    causes = [not_allowed(f"{path}.{name}", f"{name} is not supported") for name in _FORBIDDEN if node.get(name)]
    if node.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(not_allowed(f"{path}.uniqueItems", why))
    if node.get("x-kubernetes-int-or-string"):
        if node.get("type"):
            why = "must be empty if x-kubernetes-int-or-string is true"
            causes.append(bad_value(f"{path}.type", node["type"], why))
        causes += [
            bad_value(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")
            for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource")
            if node.get(name)
        ]
    kept = "x-kubernetes-preserve-unknown-fields"
    if node.get(kept) is False:
        causes.append(bad_value(f"{path}.{kept}", False, "must be true or undefined"))
    if node.get("x-kubernetes-embedded-resource") and not node.get(kept) and not node.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        causes.append(required(f"{path}.properties", why))
    map_type = node.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in {"atomic", "granular"}:
        causes.append(not_supported(f"{path}.x-kubernetes-map-type", map_type, ["atomic", "granular"]))
    return causes


def _list_causes(node: Node, path: str) -> list[Cause]:
    list_type, keys = node.get("x-kubernetes-list-type"), node.get("x-kubernetes-list-map-keys") or []
    items, causes = node.get("items") if isinstance(node.get("items"), dict) else {}, []
    at, keys_at = f"{path}.x-kubernetes-list-type", f"{path}.x-kubernetes-list-map-keys"
    if list_type is None:
        return [bad_value(at, None, "must be map if x-kubernetes-list-map-keys is non-empty")] if keys else []
    if list_type not in {"atomic", "set", "map"}:
        return [not_supported(at, list_type, ["atomic", "map", "set"])]
    if node.get("type") != "array":
        causes.append(
            bad_value(f"{path}.type", node.get("type") or "", "must be array if x-kubernetes-list-type is specified")
        )
    if list_type != "map":
        return [
            *causes,
            *([bad_value(at, list_type, "must be map if x-kubernetes-list-map-keys is non-empty")] if keys else []),
        ]
    if not keys:
        causes.append(required(keys_at, "must not be empty if x-kubernetes-list-type is map"))
    if (items or {}).get("type") != "object":
        causes.append(
            bad_value(
                f"{path}.items.type",
                (items or {}).get("type") or "",
                "must be object if parent array's x-kubernetes-list-type is map",
            )
        )
    fields = (items or {}).get("properties") or {}
    for index, key in enumerate(keys):
        if key not in fields:
            causes.append(bad_value(f"{keys_at}[{index}]", key, "entries must all be names of item properties"))
            continue
        if fields[key].get("type") not in _SCALARS:
            causes.append(
                bad_value(
                    f"{path}.items.properties[{key}].type",
                    fields[key].get("type") or "",
                    "must be a scalar type if parent array's x-kubernetes-list-type is map",
                )
            )
        if "default" not in fields[key] and key not in ((items or {}).get("required") or []):
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            causes.append(required(f"{path}.items.properties[{key}].default", why))
    return causes


def _value_causes(node: Node, path: str, *, is_structure: bool) -> list[Cause]:
    causes: list[Cause] = []
    is_free = is_structure and bool(node.get("x-kubernetes-int-or-string"))
    for junctor in _JUNCTORS:
        for index, part in enumerate(node.get(junctor) or []):
            if is_free and junctor == "anyOf" and node["anyOf"] == _INT_OR_STRING:
                continue
            if is_free and junctor == "allOf" and index == 0 and part.get("anyOf") == _INT_OR_STRING:
                continue
            causes += _nested_causes(part, f"{path}.{junctor}[{index}]")
    if isinstance(node.get("not"), dict):
        causes += _nested_causes(node["not"], f"{path}.not")
    if node.get("pattern"):
        try:
            Pattern(node["pattern"])
        except PatternError as error:
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            causes.append(bad_value(f"{path}.pattern", node["pattern"], why))
    return causes


def _nested_causes(node: Node, path: str) -> list[Cause]:
    """Return what may not stand under a logical junctor."""
    causes = [
        not_allowed(f"{path}.{name}", f"must be {how} to be structural")
        for name, how in _NESTED_EMPTY.items()
        if node.get(name)
    ]
    causes += [
        not_allowed(f"{path}.{name}", "must be undefined to be structural")
        for name in _NESTED_UNDEFINED
        if node.get(name) is not None
    ]
    causes += [
        not_allowed(f"{path}.{name}", "must be false to be structural") for name in _NESTED_FALSE if node.get(name)
    ]
    for name, part in (node.get("properties") or {}).items():
        at = f"{path}.properties[{name}]"
        if name == "metadata":
            causes.append(not_allowed(at, "must not be specified in a nested context"))
        causes += _nested_causes(part, at)
    if isinstance(node.get("items"), dict):
        causes += _nested_causes(node["items"], f"{path}.items")
    return [*causes, *_value_causes(node, path, is_structure=False)]


def _completeness_causes(node: Node, path: str) -> list[Cause]:
    """Return fields that logic speaks of and structure does not. Source: complete.go."""
    causes: list[Cause] = []
    for junctor in _JUNCTORS:
        for index, part in enumerate(node.get(junctor) or []):
            causes += _undescribed(node, part, path, f"{path}.{junctor}[{index}]")
    if isinstance(node.get("not"), dict):
        causes += _undescribed(node, node["not"], path, f"{path}.not")
    for name, part in (node.get("properties") or {}).items():
        causes += _completeness_causes(part, f"{path}.properties[{name}]")
    if isinstance(node.get("items"), dict):
        causes += _completeness_causes(node["items"], f"{path}.items")
    if isinstance(node.get("additionalProperties"), dict):
        causes += _completeness_causes(node["additionalProperties"], f"{path}.additionalProperties")
    return causes


def _undescribed(structure: Node, logic: Node, path: str, logic_path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name, part in (logic.get("properties") or {}).items():
        at, logic_at = f"{path}.properties[{name}]", f"{logic_path}.properties[{name}]"
        described = (structure.get("properties") or {}).get(name)
        if described is None:
            more = structure.get("additionalProperties")
            if isinstance(more, dict):
                described, at = more, f"{path}.additionalProperties"
            elif more is True:
                continue
        if described is None:
            causes.append(required(at, f"because it is defined in {logic_at}"))
        else:
            causes += _undescribed(described, part, at, logic_at)
    if isinstance(logic.get("items"), dict):
        if isinstance(structure.get("items"), dict):
            causes += _undescribed(structure["items"], logic["items"], f"{path}.items", f"{logic_path}.items")
        else:
            causes.append(required(f"{path}.items", f"because it is defined in {logic_path}.items"))
    for junctor in _JUNCTORS:
        for index, part in enumerate(logic.get(junctor) or []):
            causes += _undescribed(structure, part, path, f"{logic_path}.{junctor}[{index}]")
    if isinstance(logic.get("not"), dict):
        causes += _undescribed(structure, logic["not"], path, f"{logic_path}.not")
    return causes


def _default_causes(node: Node, path: str) -> list[Cause]:
    """Return defaults that the schema itself would refuse or prune. Source: defaulting/validation.go."""
    causes: list[Cause] = []
    if node.get("default") is not None:
        compiled, unknown = Schema(node), list[str]()
        compiled.pruned(node["default"], unknown)
        if unknown:
            why = f"must not have unknown fields, found: {', '.join(unknown)}"
            causes.append(bad_value(f"{path}.default", node["default"], why))
        causes += value_causes(compiled, compiled.defaulted(node["default"]), path=f"{path}.default")
    for name, part in (node.get("properties") or {}).items():
        causes += _default_causes(part, f"{path}.properties[{name}]")
    if isinstance(node.get("items"), dict):
        causes += _default_causes(node["items"], f"{path}.items")
    if isinstance(node.get("additionalProperties"), dict):
        causes += _default_causes(node["additionalProperties"], f"{path}.additionalProperties")
    return causes


def plain_path_causes(schema: Node, text: str, path: str) -> list[Cause]:
    """Return why a selectable field's path is none: it must lead over plain names to a scalar of the schema."""
    if not text:
        return [required(path)]
    try:
        path_of(text)
    except PathError as error:
        return [bad_value(path, text, f"is an invalid path: {error}")]
    if "[" in text or not text.startswith(".") or ".." in text:
        return [bad_value(path, text, "is an invalid path: must be a simple path without arrays")]
    if text.startswith(".metadata"):
        return [bad_value(path, text, "must not point to fields in metadata")]
    node: Any = schema
    for step in text.removeprefix(".").split("."):
        node = (node.get("properties") or {}).get(step) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return [bad_value(path, text, "is an invalid path: does not refer to a valid field")]
    if node.get("type") not in {"boolean", "integer", "string"}:
        why = "must point to a field of type string, boolean or integer. "
        why += "Enum string fields and strings with formats are allowed."
        return [bad_value(path, text, why)]
    return []
