"""The recorded exchanges with a real API server, where they lie beside the checkout (`../shared/kube-api-fixtures`)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

DIRECTORY = Path(__file__).resolve().parents[3] / "shared" / "kube-api-fixtures"


@cache
def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def records(file: str, *prefixes: str) -> list[Any]:
    """Return pytest params of the records whose id begins with a prefix; one skipped param where there are none."""
    path = DIRECTORY / file
    if not path.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{path} is not beside this checkout"), id="absent")]
    return [
        pytest.param(record, id=record["id"])
        for record in _read(path)
        if "req" in record and not record.get("setup") and record["id"].startswith(prefixes)
    ]


def record(file: str, wanted: str) -> dict[str, Any]:
    """Return one record; skip the test where the fixtures are absent."""
    path = DIRECTORY / file
    if not path.exists():
        pytest.skip(f"{path} is not beside this checkout")
    return next(r for r in _read(path) if r.get("id") == wanted)
