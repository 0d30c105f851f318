"""From Kubernetes' protobuf bodies to JSON values, by a table of field numbers. Pure.

Called by apiserver for bodies of Go clients and of newer kubectls; `apis.schema.protobuf` has the table. Only decodes:
answers are always JSON. Depth and the number of values are bounded before memory is spent on them (reliability.md M12).
Go writes fields that are no pointers even when they are empty, and its JSON leaves them out: so does this, but for the
fields that the table marks as kept.
"""

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from localset.machinery.decoding import DecodeError, decode_json

MAGIC = b"k8s\0"
MAX_DEPTH = 100
MAX_VALUES = 500_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_INT_BITS = {"int32": 32, "int64": 64}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Field(NamedTuple):
    """One row of the table.

    `type` is string, bytes, bool, int32, int64, double or a message's name, with `list:` or `map:` before it (the
    keys of a map are strings). `is_kept`: an empty value says something. `is_inline`: the message's fields stand in
    the object that holds it.
    """

    name: str
    type: str
    is_kept: bool = False
    is_inline: bool = False


Messages = Mapping[str, Mapping[int, Field]]


class Envelope(NamedTuple):
    """`runtime.Unknown`: what the bytes are, and the bytes."""

    api_version: str
    kind: str
    raw: memoryview


def open_envelope(data: bytes) -> Envelope:
    """Return what the body says it is; DecodeError when it is no Kubernetes protobuf."""
    if not data.startswith(MAGIC):
        raise DecodeError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version, kind, raw = "", "", memoryview(b"")
    for number, value in _fields(memoryview(data)[len(MAGIC) :]):
        if number == 1:
            texts = {n: _text(v) for n, v in _fields(_message(value))}
            api_version, kind = texts.get(1, ""), texts.get(2, "")
        elif number == 2:
            raw = _message(value)
        elif number == 3 and len(_message(value)):
            raise DecodeError("the body's content is encoded once more, which is not understood")
    return Envelope(api_version, kind, raw)


def decode_message(raw: memoryview, message: str, messages: Messages) -> dict[str, Any]:
    """Return the JSON object that `raw`, one `message`, stands for; DecodeError."""
    return _Decoder(messages).message(raw, message, 0)


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (number, integer or memoryview) of each field."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise DecodeError("protobuf: illegal field number 0")
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in {_FIXED64, _FIXED32}:
            length = 8 if wire == _FIXED64 else 4
        else:
            raise DecodeError(f"protobuf: wire type {wire} of field {number} is not understood")
        if length > end - position:
            raise DecodeError("protobuf: unexpected end of the body")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise DecodeError("protobuf: unexpected end of the body")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise DecodeError("protobuf: a number is longer than 64 bits")


def _message(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise DecodeError("protobuf: a number stands where a text or message is expected")
    return value


def _text(value: Any) -> str:
    try:
        return str(_message(value), "utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("protobuf: a text is not UTF-8") from error


def _integer(value: Any, bits: int) -> int:
    if not isinstance(value, int):
        raise DecodeError("protobuf: a text or message stands where a number is expected")
    signed = value - 2**64 if value >= 2**63 else value
    if not -(2 ** (bits - 1)) <= signed < 2 ** (bits - 1):
        raise DecodeError(f"protobuf: {signed} does not fit in {bits} bits")
    return signed


def _double(value: Any) -> float:
    if not isinstance(value, memoryview) or len(value) != 8:
        raise DecodeError("protobuf: a double of another length")
    return float(struct.unpack("<d", value)[0])


def _packed(data: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        values.append(value)
    return values


# The types whose JSON is no object of their fields.


def _moment(raw: memoryview, form: str, digits: int) -> str | None:
    values = dict(_fields(raw))
    if not values:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=_integer(values.get(1, 0), 64))
    except OverflowError as error:
        raise DecodeError("protobuf: a time is out of range") from error
    nanos = _integer(values.get(2, 0), 32)
    fraction = f".{max(nanos, 0) // 1000:06d}" if digits else ""
    return moment.strftime(form).zfill(19) + fraction + "Z"


def _time(raw: memoryview) -> str | None:
    return _moment(raw, "%Y-%m-%dT%H:%M:%S", 0)


def _micro_time(raw: memoryview) -> str | None:
    return _moment(raw, "%Y-%m-%dT%H:%M:%S", 6)


def _quantity(raw: memoryview) -> str:
    return next((_text(value) for number, value in _fields(raw) if number == 1), "") or "0"


def _int_or_string(raw: memoryview) -> int | str:
    values = dict(_fields(raw))
    if _integer(values.get(1, 0), 64) == 1:
        return _text(values.get(3, memoryview(b"")))
    return _integer(values.get(2, 0), 32)


def _raw_json(raw: memoryview) -> Any:
    content = next((bytes(_message(value)) for number, value in _fields(raw) if number == 1), b"")
    return decode_json(content)[0] if content else None


def _texts(raw: memoryview) -> list[str]:
    return [_text(value) for number, value in _fields(raw) if number == 1]


_SPECIAL: dict[str, Callable[[memoryview], Any]] = {
    "am.apis.meta.v1.Time": _time,
    "am.apis.meta.v1.MicroTime": _micro_time,
    "am.api.resource.Quantity": _quantity,
    "am.util.intstr.IntOrString": _int_or_string,
    "am.apis.meta.v1.FieldsV1": _raw_json,
    "am.runtime.RawExtension": _raw_json,
    "api.authentication.v1.ExtraValue": _texts,
    "api.authentication.v1.AttestationValue": _texts,
    "api.authorization.v1.ExtraValue": _texts,
}


class _Decoder:
    """One body; counts the values that it has made."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._values = 0

    def message(self, raw: memoryview, name: str, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise DecodeError(f"exceeded max depth of {MAX_DEPTH}")
        table = self._messages[name]
        made: dict[str, Any] = {}
        for number, wire in _fields(raw):
            self._count()
            field = table.get(number)
            if field is not None:  # a newer client's field is left out, as an older server does
                self._take(made, field, wire, depth)
        return made

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise DecodeError(f"protobuf: more than {MAX_VALUES} values")

    def _take(self, made: dict[str, Any], field: Field, wire: Any, depth: int) -> None:
        shape, colon, inner = field.type.partition(":")
        if colon and shape == "list":
            items = made.setdefault(field.name, [])
            if inner in _INT_BITS and isinstance(wire, memoryview):
                items += [_integer(value, _INT_BITS[inner]) for value in _packed(wire)]
            else:
                items.append(self._value(inner, wire, depth))
        elif colon:
            entry = dict(_fields(_message(wire)))
            key = _text(entry.get(1, memoryview(b"")))
            empty: Any = memoryview(b"")
            made.setdefault(field.name, {})[key] = self._value(inner, entry.get(2, empty), depth)
        elif field.is_inline:
            made.update(self.message(_message(wire), field.type, depth + 1))
        else:
            value = self._value(field.type, wire, depth)
            if value or field.is_kept or isinstance(value, dict | list) or field.type in _SPECIAL:
                made[field.name] = value

    def _value(self, kind: str, wire: Any, depth: int) -> Any:
        self._count()
        if kind == "string":
            return _text(wire)
        if kind == "bool":
            return bool(_integer(wire, 64))
        if kind in _INT_BITS:
            return _integer(wire, _INT_BITS[kind])
        if kind == "bytes":
            return base64.b64encode(_message(wire)).decode()
        if kind == "double":
            return _double(wire)
        special = _SPECIAL.get(kind)
        if special is not None:
            return special(_message(wire))
        return self.message(_message(wire), kind, depth + 1)
