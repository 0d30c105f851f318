"""Reads the recorded exchanges: one JSON object a line, a header line first.

The files lie in `../shared/kube-api-fixtures` beside the checkout, or where LOCALSET_FIXTURES says.
"""

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "kube-api-fixtures"


def fixtures_directory() -> Path:
    """Return where the recordings should lie; it need not exist."""
    return Path(os.environ.get("LOCALSET_FIXTURES") or BESIDE)


@dataclass(frozen=True)
class Request:
    """What was sent; `body` is the bytes' source: an object, or the text itself, or None."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    identity: str

    def encoded(self, body: Any) -> bytes | None:
        """Return the bytes of `body`, a possibly substituted form of the recorded one."""
        if body is None:
            return None
        if isinstance(body, str):
            return body.encode()
        if isinstance(body, dict) and set(body) == {"base64"}:
            return base64.b64decode(body["base64"])
        return json.dumps(body).encode()


@dataclass(frozen=True)
class Record:
    """One line: an exchange to compare, or a setup call."""

    id: str
    request: Request
    answer: dict[str, Any]
    is_setup: bool = False
    during: str = ""
    note: str = ""
    source: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_watch(self) -> bool:
        """Tell whether the answer is a stream of events."""
        return "events" in self.answer


def _expanded(value: Any) -> Any:
    """Return `value` with `{"$repeat": ["x", n]}` written out."""
    if isinstance(value, dict):
        if set(value) == {"$repeat"}:
            text, times = value["$repeat"]
            return text * times
        return {key: _expanded(inner) for key, inner in value.items()}
    return [_expanded(inner) for inner in value] if isinstance(value, list) else value


def _request(sent: dict[str, Any]) -> Request:
    body = sent.get("text", sent.get("body"))
    return Request(sent["method"], sent["path"], dict(sent.get("headers", {})), _expanded(body), sent.get("as", ""))


def read(name: str) -> list[Record]:
    """Return the records of `name` (`crud`), in order."""
    path = fixtures_directory() / f"{name}.jsonl"
    found = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if "req" not in row:
                continue
            found.append(
                Record(
                    row["id"],
                    _request(row["req"]),
                    _expanded(row["res"]),
                    bool(row.get("setup")),
                    row.get("during", ""),
                    row.get("note", ""),
                    row,
                )
            )
    return found
