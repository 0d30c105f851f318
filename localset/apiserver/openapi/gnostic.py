"""Encodes Swagger 2.0 objects as protobuf messages of gnostic's package `openapi.v2`.

Pure. The tables hold the published field numbers of OpenAPIv2.proto, for the parts that our documents have; whatever
begins with `x-` is a vendor extension, whose value is YAML text, and JSON is that. A key that no table knows is an
error of ours: ValueError.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

Fields = dict[str, tuple[int, str]]
"""Per key: its field number and what it holds. `*` is repeated, `=` a map as repeated (name, value) pairs."""

_VARIABLE: Fields = {
    "required": (1, "bool"),
    "in": (2, "string"),
    "description": (3, "string"),
    "name": (4, "string"),
    "type": (5, "string"),
    "format": (6, "string"),
    "x-": (22, "extension"),
}
_QUERY: Fields = {
    **{key: _VARIABLE[key] for key in ("required", "in", "description", "name")},
    "type": (6, "string"),
    "format": (7, "string"),
    "items": (8, "PrimitivesItems"),
    "collectionFormat": (9, "string"),
    "x-": (23, "extension"),
}
MESSAGES: dict[str, Fields] = {
    "Document": {
        "swagger": (1, "string"),
        "info": (2, "Info"),
        "security": (12, "*SecurityRequirement"),
        "securityDefinitions": (13, "SecurityDefinitions"),
    },
    "Info": {"title": (1, "string"), "version": (2, "string")},
    "SecurityRequirement": {"": (1, "=StringArray")},
    "StringArray": {"value": (1, "*string")},
    "SecurityDefinitions": {"": (1, "=SecurityDefinitionsItem")},
    "SecurityDefinitionsItem": {"apiKey": (2, "ApiKeySecurity")},
    "ApiKeySecurity": {
        "type": (1, "string"),
        "name": (2, "string"),
        "in": (3, "string"),
        "description": (4, "string"),
    },
    "PathItem": {
        "get": (2, "Operation"),
        "put": (3, "Operation"),
        "post": (4, "Operation"),
        "delete": (5, "Operation"),
        "patch": (8, "Operation"),
        "parameters": (9, "*ParametersItem"),
        "x-": (10, "extension"),
    },
    "Operation": {
        "tags": (1, "*string"),
        "description": (3, "string"),
        "operationId": (5, "string"),
        "produces": (6, "*string"),
        "consumes": (7, "*string"),
        "parameters": (8, "*ParametersItem"),
        "responses": (9, "Responses"),
        "schemes": (10, "*string"),
        "x-": (13, "extension"),
    },
    "ParametersItem": {"parameter": (1, "Parameter")},
    "Parameter": {"body": (1, "BodyParameter"), "other": (2, "NonBodyParameter")},
    "BodyParameter": {
        "description": (1, "string"),
        "name": (2, "string"),
        "in": (3, "string"),
        "required": (4, "bool"),
        "schema": (5, "Schema"),
    },
    "NonBodyParameter": {"query": (3, "QueryParameterSubSchema"), "path": (4, "PathParameterSubSchema")},
    "QueryParameterSubSchema": _QUERY,
    "PathParameterSubSchema": _VARIABLE,
    "PrimitivesItems": {"type": (1, "string"), "format": (2, "string")},
    "Responses": {"": (1, "=ResponseValue")},
    "ResponseValue": {"response": (1, "Response")},
    "Response": {"description": (1, "string"), "schema": (2, "SchemaItem")},
    "SchemaItem": {"schema": (1, "Schema")},
    "Schema": {
        "$ref": (1, "string"),
        "format": (2, "string"),
        "title": (3, "string"),
        "description": (4, "string"),
        "default": (5, "Any"),
        "multipleOf": (6, "double"),
        "maximum": (7, "double"),
        "exclusiveMaximum": (8, "bool"),
        "minimum": (9, "double"),
        "exclusiveMinimum": (10, "bool"),
        "maxLength": (11, "integer"),
        "minLength": (12, "integer"),
        "pattern": (13, "string"),
        "maxItems": (14, "integer"),
        "minItems": (15, "integer"),
        "uniqueItems": (16, "bool"),
        "maxProperties": (17, "integer"),
        "minProperties": (18, "integer"),
        "required": (19, "*string"),
        "enum": (20, "*Any"),
        "additionalProperties": (21, "AdditionalPropertiesItem"),
        "type": (22, "TypeItem"),
        "items": (23, "ItemsItem"),
        "properties": (25, "Properties"),
        "externalDocs": (29, "ExternalDocs"),
        "example": (30, "Any"),
        "x-": (31, "extension"),
    },
    "AdditionalPropertiesItem": {"schema": (1, "Schema"), "boolean": (2, "bool")},
    "TypeItem": {"value": (1, "*string")},
    "ItemsItem": {"schema": (1, "*Schema")},
    "Properties": {"": (1, "=Schema")},
    "ExternalDocs": {"description": (1, "string"), "url": (2, "string")},
}
_DOCUMENT_PATHS = 8
_DOCUMENT_DEFINITIONS = 9
_PATHS_PATH = 2
_DEFINITIONS_ITEM = 1
_VARINT, _FIXED64, _BYTES = 0, 1, 2


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _sized(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(data)) + data


def _any(value: Any) -> bytes:
    return _sized(2, orjson.dumps(value) + b"\n")


_SCALARS: dict[str, Callable[[int, Any], bytes]] = {
    "string": lambda field, value: _sized(field, str(value).encode()),
    "bool": lambda field, value: _varint(field << 3 | _VARINT) + _varint(bool(value)),
    "integer": lambda field, value: _varint(field << 3 | _VARINT) + _varint(int(value)),
    "double": lambda field, value: _varint(field << 3 | _FIXED64) + struct.pack("<d", value),
    "Any": lambda field, value: _sized(field, _any(value)),
}


def _named(name: str, value: bytes) -> bytes:
    return _sized(1, name.encode()) + _sized(2, value)


def _as_message(message: str, value: Any) -> dict[str, Any]:
    """Return `value` with the keys of the table of `message`, where protobuf has a level more than JSON."""
    if message == "ParametersItem":
        return {"parameter": {"body" if value["in"] == "body" else "other": value}}
    if message == "NonBodyParameter":
        return {value["in"]: value}
    if message == "AdditionalPropertiesItem":
        return {"boolean": value} if isinstance(value, bool) else {"schema": value}
    if message in {"TypeItem", "StringArray"}:
        return {"value": value if isinstance(value, list) else [value]}
    if message == "ItemsItem":
        return {"schema": value if isinstance(value, list) else [value]}
    wrapped = {"ResponseValue": "response", "SchemaItem": "schema", "SecurityDefinitionsItem": "apiKey"}.get(message)
    made: dict[str, Any] = {wrapped: value} if wrapped else value
    return made


def encode(message: str, value: Any) -> bytes:
    """Return the bytes of `message` that say what the Swagger object `value` says."""
    fields = MESSAGES[message]
    if "" in fields:
        number, kind = fields[""]
        return b"".join(_sized(number, _named(name, encode(kind[1:], item))) for name, item in value.items())
    made = bytearray()
    for key, item in _as_message(message, value).items():
        if key.startswith("x-") and "x-" in fields:
            made += _sized(fields["x-"][0], _named(key, _any(item)))
            continue
        if key not in fields:
            raise ValueError(f"{message} has no field {key}")
        number, kind = fields[key]
        repeated = item if kind.startswith("*") else [item]
        kind = kind.removeprefix("*")
        write = _SCALARS.get(kind)
        for one in repeated:
            made += write(number, one) if write is not None else _sized(number, encode(kind, one))
    return bytes(made)


def document(head: dict[str, Any]) -> bytes:
    """Return the start of a Document: everything but paths and definitions."""
    return encode("Document", head)


def paths(items: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
    """Yield the Document's paths, one by one once their length is known."""
    return _collected(_DOCUMENT_PATHS, _PATHS_PATH, "PathItem", items)


def definitions(items: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
    """Yield the Document's definitions, one by one once their length is known."""
    return _collected(_DOCUMENT_DEFINITIONS, _DEFINITIONS_ITEM, "Schema", items)


def _collected(field: int, inner: int, message: str, items: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
    encoded = [_sized(inner, _named(name, encode(message, value))) for name, value in items]
    yield _varint(field << 3 | _BYTES) + _varint(sum(map(len, encoded)))
    yield from encoded
