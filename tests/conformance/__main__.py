"""`python -m tests.conformance [-v ID] [-l] [FILE …]`: replay files and print how many records are equal.

Without -v each file gets one line; -l lists the ids that differ, -v shows the differences of the records whose id
begins with ID. Exit 1 when something differs without an explanation, 2 when there are no recordings.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conformance import clients, commands, streams
from tests.conformance.explaining import applies_to, read_explanations, rows_of_parity, unexplained
from tests.conformance.recording import fixtures_directory
from tests.conformance.replaying import Outcome, replay

FILES = (
    "crud", "names", "statefulset", "statefulset-versions", "select", "delete", "dryrun", "watch", "negotiation",
    "discovery", "patch", "ssa", "helpers", "tables", "clients", "streams",
)  # fmt: skip
REPLAYS = (
    dict.fromkeys(clients.NAMES, clients.replay_clients)
    | dict.fromkeys(streams.NAMES, streams.replay_streams)
    | dict.fromkeys(commands.NAMES, commands.replay_commands)
)


def is_only_about_managers(differences: list[str]) -> bool:
    """Tell whether only managedFields differ."""
    return all("managedFields" in difference.split(":")[0] for difference in differences)


def show(outcome: Outcome, differences: list[str]) -> None:
    """Print one record's exchange and differences."""
    request = outcome.record.request
    print(
        f"--- {outcome.record.id}  {request.method} {request.path}"
        + (f"  as {request.identity}" if request.identity else "")
    )
    if outcome.record.note:
        print(f"    note: {outcome.record.note}")
    if request.body is not None:
        print(f"    body: {json.dumps(request.body)[:600]}")
    for difference in differences:
        print(f"    {difference}")


async def main(arguments: argparse.Namespace) -> int:
    """Replay what was asked for."""
    explanations = read_explanations()
    unknown = sorted({e.row for e in explanations} - rows_of_parity())
    for row in unknown:
        print(f"explained.toml names a row that docs/parity.md does not have: {row}")
    failed, seen = bool(unknown), []
    print(
        f"{'file':<22}{'records':>8}{'equal':>8}{'explained':>11}{'different':>11}{'managers only':>15}{'seconds':>9}"
    )
    for name in arguments.files or FILES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lc") as directory:
            do = REPLAYS.get(name, replay)
            try:
                outcomes = await do(name, Path(directory), explanations)
            except pytest.skip.Exception as reason:
                print(f"{name:<22}is not replayed: {reason}")
                continue
        left = {o.record.id: unexplained(o.record.id, o.differences, explanations) for o in outcomes}
        seen += [o.record.id for o in outcomes]
        equal = sum(not o.differences for o in outcomes)
        explained = sum(bool(o.differences) and not left[o.record.id] for o in outcomes)
        different = [o for o in outcomes if left[o.record.id]]
        managers = sum(is_only_about_managers(left[o.record.id]) for o in different)
        seconds = time.monotonic() - began
        figures = (len(outcomes), equal, explained, len(different), managers, round(seconds, 1))
        print(f"{name:<22}" + "".join(f"{figure:>15}" for figure in figures))
        sys.stdout.flush()
        failed = failed or bool(different)
        for record, why in (commands.not_replayed(name) if arguments.list and name in commands.NAMES else {}).items():
            print(f"    {record}: not replayed: {why}")
        for outcome in different:
            if arguments.list:
                print(f"    {outcome.record.id}: {len(left[outcome.record.id])}")
            elif arguments.verbose is not None and outcome.record.id.startswith(arguments.verbose):
                show(outcome, left[outcome.record.id])
    for explanation in explanations:
        if not arguments.files and not explanation.uses and applies_to(explanation, seen):
            print(f"explains nothing any more: {explanation.source} ({explanation.why})")
            failed = True
    return int(failed)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="conformance", description="Replay the recorded exchanges.")
    parser.add_argument("files", nargs="*", help="files without .jsonl; all by default")
    parser.add_argument("-v", "--verbose", metavar="ID", help="show the differences of records that begin with ID")
    parser.add_argument("-l", "--list", action="store_true", help="list the records that differ")
    return parser.parse_args()


if __name__ == "__main__":
    if not fixtures_directory().is_dir():
        print(f"no recordings in {fixtures_directory()}; set LOCALSET_FIXTURES")
        sys.exit(2)
    sys.exit(asyncio.run(main(parse())))
