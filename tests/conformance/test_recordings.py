"""No recorded file holds an unexplained difference: the quick ones in `make test`, all in `make test-all`."""

from pathlib import Path

import pytest

from tests.conformance.clients import replay_clients
from tests.conformance.explaining import applies_to, read_explanations, rows_of_parity, unexplained
from tests.conformance.recording import fixtures_directory
from tests.conformance.replaying import replay
from tests.conformance.streams import replay_streams

REPLAYS = {"clients": replay_clients, "streams": replay_streams}
QUICK = ("names", "dryrun", "negotiation", "delete", "ssa", "statefulset-versions")
SLOW = ("clients", "streams", "crud", "select", "watch", "discovery", "patch", "helpers", "tables", "statefulset")

needs_recordings = pytest.mark.skipif(
    not fixtures_directory().is_dir(), reason=f"{fixtures_directory()} is not beside this checkout"
)


@needs_recordings
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
async def test_a_recorded_file_is_answered_as_recorded_or_as_parity_says(name: str, tmp_path: Path) -> None:
    explanations = read_explanations()
    outcomes = await REPLAYS.get(name, replay)(name, tmp_path, explanations)
    left = {o.record.id: unexplained(o.record.id, o.differences, explanations) for o in outcomes}
    assert {record: lines for record, lines in left.items() if lines} == {}
    assert len(outcomes) > 20


def test_every_explanation_stands_on_a_row_of_parity() -> None:
    explanations = read_explanations()
    assert {e.row for e in explanations} <= rows_of_parity()
    assert all(applies_to(e, [e.source.split(", ")[0].replace("*", "x")]) for e in explanations)
