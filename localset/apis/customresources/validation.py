"""Judges a custom object by its compiled schema, in the words of Kubernetes' own validator.

Called by `strategy`. What an update does not touch is not judged again ("ratcheting"): old objects stay writable after
a schema has become stricter. Source: kube-openapi pkg/validation/validate and apiextensions-apiserver validation.go.
"""

import json
from typing import Any

from localset.apis.customresources.formats import FORMATS
from localset.apis.customresources.schema import ABSENT, Schema
from localset.machinery.errors import Cause, bad_value, duplicate, go_quote, not_supported, required
from localset.machinery.regexp import TooExpensiveError


def type_name(value: Any) -> str:
    """Return the JSON type of `value` as the validator names it; a whole number is an integer."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def schema_causes(schema: Schema, value: Any, old: Any = ABSENT, path: str = "") -> list[Cause]:
    """Return what is wrong with `value`, whose stored state is `old`; `path` is empty for the object itself."""
    if path and old is not ABSENT and type(old) is type(value) and old == value:
        return []
    if value is None:
        if schema.is_nullable or not schema.types:
            return []
        return [_wrong_type(path, schema.types, value), *_enum_causes(schema, value, path)]
    causes: list[Cause] = []
    is_known_type = not schema.types or _has_type(schema, value)
    if not is_known_type:
        causes.append(_wrong_type(path, schema.types, value))
    causes += _junctor_causes(schema, value, path)
    if isinstance(value, str):
        causes += _string_causes(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        causes += _number_causes(schema, value, path)
    elif isinstance(value, list):
        causes += _list_causes(schema, value, old, path)
    causes += _enum_causes(schema, value, path)
    if isinstance(value, dict):
        causes += _object_causes(schema, value, old, path)
    return causes


def _has_type(schema: Schema, value: Any) -> bool:
    found = type_name(value)
    return found in schema.types or (found == "integer" and "number" in schema.types)


def _wrong_type(path: str, types: tuple[str, ...], value: Any) -> Cause:
    name = type_name(value)
    return _told(path, name, f'must be of type {",".join(types)}: "{name}"', "FieldValueTypeInvalid")


def _told(path: str, value: Any, complaint: str, reason: str = "FieldValueInvalid") -> Cause:
    made = bad_value(path, value, f"{path} in body {complaint}")
    return Cause(reason, made.message, made.field)


def _string_causes(schema: Schema, value: str, path: str) -> list[Cause]:
    limits, causes = schema.limits, []
    if "maxLength" in limits and len(value) > limits["maxLength"]:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {limits['maxLength']} bytes", path))
    if "minLength" in limits and len(value) < limits["minLength"]:
        causes.append(_told(path, value, f"should be at least {limits['minLength']} chars long"))
    if schema.pattern is not None:
        try:
            if not schema.pattern.is_found_in(value):
                causes.append(_told(path, value, f"should match '{schema.pattern.text}'"))
        except TooExpensiveError:
            causes.append(_told(path, value[:80], f"is too long for the pattern '{schema.pattern.text}'"))
    if schema.format is not None and not FORMATS[schema.format](value):
        complaint = f"must be of type {schema.format}: {go_quote(value)}"
        causes.append(_told(path, value, complaint, "FieldValueTypeInvalid"))
    return causes


def _number_causes(schema: Schema, value: float, path: str) -> list[Cause]:
    limits, causes = schema.limits, []
    factor = limits.get("multipleOf")
    if factor and value % factor:
        causes.append(_told(path, value, f"should be a multiple of {go_quote(factor)}"))
    maximum, minimum = limits.get("maximum"), limits.get("minimum")
    if maximum is not None:
        is_exclusive = limits.get("exclusiveMaximum")
        if value > maximum or (is_exclusive and value == maximum):
            how = "less than" if is_exclusive else "less than or equal to"
            causes.append(_told(path, value, f"should be {how} {_shown(maximum)}"))
    if minimum is not None:
        is_exclusive = limits.get("exclusiveMinimum")
        if value < minimum or (is_exclusive and value == minimum):
            how = "greater than" if is_exclusive else "greater than or equal to"
            causes.append(_told(path, value, f"should be {how} {_shown(minimum)}"))
    return causes


def _shown(number: float) -> str:
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e21 else str(number)


def _enum_causes(schema: Schema, value: Any, path: str) -> list[Cause]:
    if not schema.enum or any(type_name(one) == type_name(value) and one == value for one in schema.enum):
        return []
    texts = [one if isinstance(one, str) else json.dumps(one, separators=(",", ":")) for one in schema.enum]
    return [not_supported(path, value, texts)]


def _list_causes(schema: Schema, value: list[Any], old: Any, path: str) -> list[Cause]:
    limits, causes = schema.limits, []
    if schema.items is not None:
        known = _correlated(schema, old)
        for index, item in enumerate(value):
            before = known.get(_key(schema, item), ABSENT) if known else ABSENT
            causes += schema_causes(schema.items, item, before, f"{path}[{index}]")
    if "minItems" in limits and len(value) < limits["minItems"]:
        causes.append(_told(path, len(value), f"should have at least {limits['minItems']} items"))
    if "maxItems" in limits and len(value) > limits["maxItems"]:
        causes.append(_too_many(path, len(value), limits["maxItems"]))
    return causes


def _too_many(path: str, count: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} items", path)


def _correlated(schema: Schema, old: Any) -> dict[str, Any]:
    """Return the stored items of a list of maps by their key: only those can be told to be unchanged."""
    if schema.list_type != "map" or not isinstance(old, list):
        return {}
    return {_key(schema, item): item for item in old}


def _key(schema: Schema, item: Any) -> str:
    """Return the identity of a list item: its keys in a list of maps, else all of it."""
    if schema.list_type == "map" and isinstance(item, dict):
        item = {name: item[name] for name in schema.list_keys if name in item}
    return json.dumps(item, sort_keys=True)


def _object_causes(schema: Schema, value: dict[str, Any], old: Any, path: str) -> list[Cause]:
    limits, causes = schema.limits, []
    if "minProperties" in limits and len(value) < limits["minProperties"]:
        return [_told(path, len(value), f"should have at least {limits['minProperties']} properties")]
    if "maxProperties" in limits and len(value) > limits["maxProperties"]:
        return [_too_many(path, len(value), limits["maxProperties"])]
    before = old if isinstance(old, dict) else {}
    if schema.additional is not None:
        for name, item in value.items():
            if name not in schema.properties:
                inner = f"{path}.{name}" if path else name
                causes += schema_causes(schema.additional, item, before.get(name, ABSENT), inner)
    for name, inner_schema in schema.properties.items():
        if name in value and (path or name != "metadata"):
            inner = f"{path}.{name}" if path else name
            causes += schema_causes(inner_schema, value[name], before.get(name, ABSENT), inner)
    causes += [required(f"{path}.{name}" if path else name) for name in schema.required if name not in value]
    return causes


def _junctor_causes(schema: Schema, value: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if schema.any_of and not any(not schema_causes(part, value, path=path or "") for part in schema.any_of):
        causes.append(_whole(path, "must validate at least one schema (anyOf)"))
        causes += _best(schema.any_of, value, path)
    if schema.one_of:
        hits = sum(not schema_causes(part, value, path=path) for part in schema.one_of)
        if hits != 1:
            why = f"Found {hits} valid alternatives" if hits else "Found none valid"
            causes.append(_whole(path, f"must validate one and only one schema (oneOf). {why}"))
        if not hits:
            causes += _best(schema.one_of, value, path)
    if schema.all_of:
        found = [cause for part in schema.all_of for cause in schema_causes(part, value, path=path)]
        if found:
            causes += [_whole(path, "must validate all the schemas (allOf)"), *found]
    if schema.not_ is not None and not schema_causes(schema.not_, value, path=path):
        causes.append(_whole(path, "must not validate the schema (not)"))
    return causes


def _whole(path: str, complaint: str) -> Cause:
    return bad_value("<nil>", "", f'"{path}" {complaint}')


def _best(parts: list[Schema], value: Any, path: str) -> list[Cause]:
    """Return the shortest list of complaints: the alternative that was probably meant."""
    return min((schema_causes(part, value, path=path) for part in parts), key=len)


# What Kubernetes checks beside the schema


def list_causes(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """Return what stands twice in lists that are sets or maps. Source: schema/listtype ValidateListSetsAndMaps."""
    if not schema.has_lists:
        return []
    causes: list[Cause] = []
    if isinstance(value, list) and schema.items is not None:
        if schema.list_type in {"set", "map"}:
            seen: set[str] = set()
            for index, item in enumerate(value):
                key = _key(schema, item)
                if key in seen:
                    causes.append(duplicate(f"{path}[{index}]", json.loads(key)))
                seen.add(key)
        for index, item in enumerate(value):
            causes += list_causes(schema.items, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            inner = schema.properties.get(name)
            if inner is not None:
                causes += list_causes(inner, item, f"{path}.{name}" if path else name)
            elif schema.additional is not None:
                causes += list_causes(schema.additional, item, f"{path}[{name}]")
    return causes


def embedded_causes(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """Return what embedded objects lack: apiVersion and kind. Source: schema/objectmeta ValidateEmbeddedResource."""
    if not schema.has_embedded:
        return []
    causes: list[Cause] = []
    if isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            causes += embedded_causes(schema.items, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        if schema.is_embedded:
            causes += [
                required(f"{path}.{name}", "must not be empty")
                for name in ("apiVersion", "kind")
                if not value.get(name)
            ]
        for name, item in value.items():
            inner = schema.of(name)
            if inner is not None:
                causes += embedded_causes(inner, item, f"{path}.{name}" if path else name)
    return causes
