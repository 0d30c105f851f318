"""Reads gnostic's `openapi.v2.Document` back into a Swagger object: a decoder of its own, for the tests alone.

One line per message of the published OpenAPIv2.proto: field number, key, and what it holds (nothing is text; `?` truth,
`#` number, `.` double, `~` YAML text, `+` many, `=` a map, `!` the message stands for its parent).
"""

import json
import struct
from typing import Any

GRAMMAR = """
Document: 1 swagger; 2 info Info; 8 paths Paths; 9 definitions Definitions; 12 security +SecurityRequirement;
  13 securityDefinitions SecurityDefinitions
Info: 1 title; 2 version
Paths: 2 =PathItem
Definitions: 1 =Schema
Properties: 1 =Schema
Responses: 1 =ResponseValue
SecurityRequirement: 1 =StringArray
SecurityDefinitions: 1 =SecurityDefinitionsItem
SecurityDefinitionsItem: 2 !ApiKeySecurity
StringArray: 1 !+
TypeItem: 1 !+
ItemsItem: 1 !+Schema
ApiKeySecurity: 1 type; 2 name; 3 in; 4 description
PathItem: 2 get Operation; 3 put Operation; 4 post Operation; 5 delete Operation; 8 patch Operation;
  9 parameters +ParametersItem
Operation: 1 tags +; 3 description; 5 operationId; 6 produces +; 7 consumes +; 8 parameters +ParametersItem;
  9 responses Responses; 10 schemes +; 13 x-
ParametersItem: 1 !Parameter
Parameter: 1 !BodyParameter; 2 !NonBodyParameter
NonBodyParameter: 3 !Query; 4 !Path
BodyParameter: 1 description; 2 name; 3 in; 4 required ?; 5 schema Schema
Query: 1 required ?; 2 in; 3 description; 4 name; 6 type; 7 format; 8 items Primitives; 9 collectionFormat
Path: 1 required ?; 2 in; 3 description; 4 name; 5 type; 6 format
Primitives: 1 type; 2 format
ResponseValue: 1 !Response
Response: 1 description; 2 schema SchemaItem
SchemaItem: 1 !Schema
AdditionalPropertiesItem: 1 !Schema; 2 !?
Schema: 1 $ref; 2 format; 4 description; 5 default ~; 7 maximum .; 9 minimum .; 11 maxLength #; 13 pattern;
  19 required +; 20 enum +~; 21 additionalProperties AdditionalPropertiesItem; 22 type TypeItem; 23 items ItemsItem;
  25 properties Properties; 31 x-
"""


def _grammar() -> dict[str, dict[int, tuple[str, str]]]:
    found: dict[str, dict[int, tuple[str, str]]] = {}
    for line in GRAMMAR.strip().replace("\n  ", " ").splitlines():
        message, _, fields = line.partition(": ")
        found[message] = {}
        for field in fields.split(";"):
            number, key, *held = field.split()
            found[message][int(number)] = (key, held[0] if held else "")
    return found


MESSAGES = _grammar()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def wire(data: bytes) -> list[tuple[int, Any]]:
    """Return the (field number, raw value) pairs of a message."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: Any
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 1:
            value, at = data[at : at + 8], at + 8
        else:
            assert tag & 7 == 2, f"wire type {tag & 7}"
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size, "cut off"
        found.append((tag >> 3, value))
    return found


def _named(data: bytes) -> tuple[str, bytes]:
    pair = dict(wire(data))
    return pair[1].decode(), pair[2]


def _one(held: str, raw: Any) -> Any:
    if held == "":
        return raw.decode()
    if held in {"?", "#"}:
        return bool(raw) if held == "?" else raw
    if held == ".":
        return struct.unpack("<d", raw)[0]
    if held == "~":
        return json.loads(dict(wire(raw))[2])
    return read(held, raw)


def read(message: str, data: bytes) -> Any:
    """Return what the message says, as JSON."""
    made: dict[str, Any] = {}
    many: list[Any] = []
    fields = MESSAGES[message]
    for number, raw in wire(data):
        key, held = fields[number]
        if key == "x-":
            name, value = _named(raw)
            made[name] = _one("~", value)
        elif key.startswith("="):
            name, value = _named(raw)
            made[name] = read(key[1:], value)
        elif key.startswith("!+"):
            many.append(_one(key[2:], raw))
        elif key.startswith("!"):
            return _one(key[1:], raw)
        elif held.startswith("+"):
            made.setdefault(key, []).append(_one(held[1:], raw))
        else:
            made[key] = _one(held, raw)
    if any(key.startswith("!+") for key, _ in fields.values()):
        return many[0] if message in {"TypeItem", "ItemsItem"} else many
    return made
