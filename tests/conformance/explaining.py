"""Which differences are on purpose: explained.toml, each entry standing on a row of docs/parity.md.

An entry has `records` (patterns of record ids), `differences` (patterns of difference lines, all by default), `row`
(the first cell of a row of docs/parity.md) and `why`. `*` matches anything, every other character itself. With
`skip` the records are not sent: newer servers accept what was refused, and later records would meet another object.
With `only_if` it covers a record only if one of its differences matches that pattern.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

TABLE = Path(__file__).with_name("explained.toml")
PARITY = Path(__file__).resolve().parents[2] / "docs" / "parity.md"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")) + r"\Z", re.DOTALL)


@dataclass
class Explanation:
    """One entry; `uses` counts what it has explained in this run."""

    records: list[re.Pattern[str]]
    differences: list[re.Pattern[str]]
    row: str
    why: str
    source: str
    skip: bool
    only_if: re.Pattern[str] | None
    uses: int = field(default=0, compare=False)

    def covers(self, record_id: str, difference: str) -> bool:
        """Tell whether it explains that difference of that record."""
        return any(p.match(record_id) for p in self.records) and any(p.match(difference) for p in self.differences)


def read_explanations() -> list[Explanation]:
    """Return the table."""
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8")).get("explained", [])
    return [
        Explanation(
            [_pattern(p) for p in entry["records"]],
            [_pattern(p) for p in entry.get("differences", ["*"])],
            entry["row"],
            entry["why"],
            ", ".join(entry["records"]),
            entry.get("skip", False),
            _pattern(entry["only_if"]) if "only_if" in entry else None,
        )
        for entry in entries
    ]


def rows_of_parity() -> set[str]:
    """Return the first cell of every row of docs/parity.md."""
    lines = PARITY.read_text(encoding="utf-8").splitlines()
    return {line.split("|")[1].strip() for line in lines if line.startswith("|") and line.count("|") > 2}


def unexplained(record_id: str, differences: list[str], explanations: list[Explanation]) -> list[str]:
    """Return the differences that no entry covers; counts the uses of the entries."""
    left = []
    explanations = [e for e in explanations if e.only_if is None or any(e.only_if.match(d) for d in differences)]
    for difference in differences:
        covering = [e for e in explanations if e.covers(record_id, difference)]
        for explanation in covering:
            explanation.uses += 1
        if not covering:
            left.append(difference)
    return left


def applies_to(explanation: Explanation, record_ids: list[str]) -> bool:
    """Tell whether the entry could have been used on any of these records."""
    return any(p.match(record_id) for p in explanation.records for record_id in record_ids)


def is_skipped(record_id: str, explanations: list[Explanation]) -> bool:
    """Tell whether an entry says not to send that record."""
    for explanation in explanations:
        if explanation.skip and any(p.match(record_id) for p in explanation.records):
            explanation.uses += 1
            return True
    return False
