"""The field numbers of every kind that may come as protobuf, read from `protobuf.json.gz` at the first such body.

`tools/generate_protobuf.py` writes that file from Kubernetes' published numbers. Called by apiserver. A kind without a
table is refused by name: JSON is always understood.
"""

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from localset.machinery.protobuf import Envelope, Field, decode_message

_FLAGS = {"k": "is_kept", "i": "is_inline"}


@cache
def _document() -> dict[str, Any]:
    packed = Path(__file__).with_name("protobuf.json.gz").read_bytes()
    loaded: dict[str, Any] = json.loads(zlib.decompress(packed, wbits=zlib.MAX_WBITS | 16))
    return loaded


class _Table(dict[str, dict[int, Field]]):
    """Rows made at the first use of each message: a body touches few of them."""

    def __missing__(self, name: str) -> dict[int, Field]:
        rows = {
            int(number): Field(field, kind, **{_FLAGS[flag]: True for flag in flags})
            for number, (field, kind, flags) in _document()["messages"][name].items()
        }
        self[name] = rows
        return rows


_TABLE = _Table()


def has_table(api_version: str, kind: str) -> bool:
    """Tell whether bodies of this kind are understood."""
    return _message_of(api_version, kind) is not None


def _message_of(api_version: str, kind: str) -> str | None:
    group = api_version.rpartition("/")[0]
    kinds: dict[str, str] = _document()["kinds"]
    return kinds.get(f"{api_version}/{kind}") or kinds.get(f"{group}/{kind}") or kinds.get(f"*/{kind}")


def decode_envelope(envelope: Envelope) -> dict[str, Any]:
    """Return the JSON object of a body whose kind has a table; DecodeError for broken bytes."""
    message = _message_of(envelope.api_version, envelope.kind)
    assert message is not None, "ask has_table first"
    decoded = decode_message(envelope.raw, message, _TABLE)
    return {"apiVersion": envelope.api_version, "kind": envelope.kind, **decoded}
