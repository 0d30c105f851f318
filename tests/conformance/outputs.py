"""Compares what a kubectl printed with what was recorded, by line, or by field where it is YAML or JSON. Pure.

Rules: the fixtures' README, section Comparing. A line is `exit: recorded 0, got 1`, `stdout: missing TEXT` or
`stdout: unexpected TEXT`; explained.toml matches these.
"""

import difflib
import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.conformance.comparing import Comparison, Pairs

_VOLATILE = (
    (re.compile(r"\x1b\[[\d;]*m"), ""),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uid>"),
    (re.compile(r"\b\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4}|Z)?"), "<time>"),
    (re.compile(r"^([IWE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\]"), r"\1 <log>]"),
    (re.compile(r"/tmp/(LIVE|MERGED)-\d+"), r"/tmp/\1-<n>"),
    (re.compile(r"/\S*/kubectl[\w.]*-edit-\w+\.(yaml|json)"), r"<file>/kubectl-edit-<n>.\1"),
    (re.compile(r"\bhttps://127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"\b(127|10)\.\d+\.\d+\.\d+\b"), "<ip>"),
    (re.compile(r"\b(\d+[smhdy])+( \(x\d+ over (\d+[smhdy])+\))?(?=\s|,|$)"), "<age>"),
    (re.compile(r"<invalid>"), "<age>"),
    (re.compile(r"\bkube-api-access-[a-z0-9]{5}\b"), "kube-api-access-<suffix>"),
    (re.compile(r"(hash[=:] ?)[0-9a-z]{8,10}\b"), r"\1<hash>"),
    (re.compile(r"\b(web|zk)-(?=[a-z]*\d)[0-9a-z]{8,10}\b"), r"\1-<hash>"),
    (re.compile(r"\b(default-token|debugger|j1|d1-\w+)-[a-z0-9]{5}\b"), r"\1-<suffix>"),
    (re.compile(r'(resourceVersion"?: |resourceVersion: ?)"?\d+"?'), r"\1<version>"),
    (re.compile(r"\bnodePort: \d+|(?<=80:)3\d{4}\b|\b3[012]\d{3}/TCP"), "<port>"),
)
_PUT_IN = (
    (re.compile(r"-----BEGIN CERTIFICATE-----.*?(-----END CERTIFICATE-----|\Z)", re.DOTALL), "(certificate)"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "(token)"),
)
_CUT = 1200
"""The recorder kept so many characters of what was printed; a longer output is compared as far as it was kept."""
_BEYOND = 12
_SKEW = re.compile(r"^WARNING: version difference between client")


@dataclass(frozen=True)
class Printed:
    """What one command did; `exit` is a number, or `timeout` for one that was ended."""

    exit: Any
    stdout: str
    stderr: str


def differences(
    recorded: Printed, live: Printed, pairs: Pairs, *, is_structured: bool, has_free_order: bool = False
) -> list[str]:
    """Return all differences between a recorded command and the live one; its lines may be in any order where free."""
    found = []
    if has_free_order:
        recorded, live = _in_order(recorded), _in_order(live)
    if recorded.exit != live.exit:
        found.append(f"exit: recorded {recorded.exit}, got {live.exit}")
    is_structured = is_structured and len(recorded.stdout) < _CUT
    objects = [_document(side.stdout) for side in (recorded, live)] if is_structured else [None, None]
    if all(isinstance(side, dict) for side in objects):
        comparison = Comparison(pairs)
        comparison.values("stdout", *objects)
        found += comparison.found
    else:
        found += _lines("stdout", recorded.stdout, live.stdout)
    return found + _lines("stderr", recorded.stderr, live.stderr)


def _in_order(printed: Printed) -> Printed:
    return Printed(printed.exit, "\n".join(sorted(printed.stdout.splitlines())), printed.stderr)


def _document(text: str) -> Any:
    try:
        return json.loads(json.dumps(yaml.load(text, yaml.CSafeLoader), default=_moment))
    except (yaml.YAMLError, ValueError):
        return None


def _moment(value: Any) -> str:
    return str(value.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _lines(stream: str, recorded: str, live: str) -> list[str]:
    is_cut = len(recorded) >= _CUT or "(certificate)" in recorded
    recorded = recorded.rpartition("\n")[0] if is_cut else recorded
    for pattern, placeholder in _PUT_IN:
        live = pattern.sub(placeholder, live)
    sides = [[_stable(line) for line in text.rstrip("\n").splitlines()] for text in (recorded, live)]
    wanted, got = ([line for line in side if line and not _SKEW.match(line)] for side in sides)
    got = got[: len(wanted) + _BEYOND] if is_cut else got
    marks = {"- ": "missing", "+ ": "unexpected"}
    told = [line for line in difflib.ndiff(wanted, got) if line[:2] != "? "] if wanted != got else []
    while is_cut and told and told[-1].startswith("+ "):
        told.pop()
    return [f"{stream}: {marks[line[:2]]} {line[2:]}" for line in told if line[:2] in marks]


def _stable(line: str) -> str:
    """Return a line with placeholders for what is never the same, and columns as wide as they must be."""
    for pattern, placeholder in _VOLATILE:
        line = pattern.sub(placeholder, line)
    line = re.sub(r"(?<=\S)(\s{2,}|\t)", "  ", line)
    return re.sub(r"-{3,}", "---", line).rstrip()
