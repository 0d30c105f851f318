"""`make fuzz`: hostile requests at a real daemon over TLS, as its administrator (reliability G12).

Half come from schemathesis on our own OpenAPI documents, half are valid manifests with hostile values in them. Ends
with 1 when an answer was a 5xx off the closed list, contradicted the schema, hung, or left a traceback in the log.
"""

import argparse
import collections
import json
import math
import re
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.e2e.house import House, until
from tests.fuzz.generated import operations_of, requests_of
from tests.fuzz.judging import Target, prepare, send_mutations
from tests.fuzz.mutations import Sent

MEMORY_GROWTH_MB = 64
CUSTOM_RESOURCES = "/apis/lib.example.com/v1/books"


def send_generated(target: Target, seed: int, count: int) -> None:
    """Send at least `count` requests that schemathesis makes, to all operations; fewer where a body is dear to make."""
    wait_for_custom_resource(target)
    paths = json.loads(target.send(Sent("GET", "/openapi/v3"))[2])["paths"]
    documents = {name: json.loads(target.send(Sent("GET", f"/openapi/v3/{name}"))[2]) for name in paths}
    operations = {name: operations_of(document) for name, document in documents.items()}
    share = count / (2 * sum(operation.weight for found in operations.values() for operation in found))
    for name, found in operations.items():
        before, problems, began = target.count, len(target.problems), time.monotonic()
        for operation in found:
            for sent in requests_of(operation, seed, math.ceil(share * operation.weight)):
                target.judge(sent, operation)
            prepare(target)
        seconds = time.monotonic() - began
        print(f"  {name}: {target.count - before} requests to {len(found)} operations, {seconds:.0f} s", flush=True)
        for problem in distinct(target.problems[problems:]):
            print(f"    {problem}", flush=True)


def wait_for_custom_resource(target: Target) -> None:
    """Wait until the manifests' CustomResourceDefinition is served, and so in the index of documents."""
    until(lambda: target.send(Sent("GET", CUSTOM_RESOURCES))[0] == 200, why="the manifests' own kind is served")


def distinct(problems: list[str]) -> list[str]:
    """Return one problem of each sort, with how many are like it."""
    sorts = collections.defaultdict(list)
    for problem in problems:
        sorts[re.sub(r"[0-9a-f-]{20,}|\d+", "N", problem.partition("\n")[0])[:120]].append(problem)
    return [f"{len(found)} × {found[0]}" for found in sorts.values()]


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="of each of the two sorts (10000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same requests (1)")
    parser.add_argument("--only", choices=("generated", "mutated"), help="one sort alone")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    directory = Path(tempfile.mkdtemp(prefix="localset-fuzz-"))
    house = House(directory / "data")
    try:
        house.up()
        target = Target(house)
        prepare(target)
        before = target.memory()
        if given.only != "generated":
            send_mutations(target, given.seed, given.requests)
            print(f"{target.count} mutated requests", flush=True)
        if given.only != "mutated":
            send_generated(target, given.seed, given.requests)
        target.close()
        growth = target.memory() - before
        alarms = target.alarms()
    finally:
        house.down()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{target.count} requests, answers: {dict(sorted(target.statuses.items()))}")
    print(f"the daemon grew by {growth:.1f} MB from {before:.1f}")
    print(*distinct(target.problems), *alarms[:20], sep="\n")
    is_good = not target.problems and not alarms and growth < MEMORY_GROWTH_MB
    print(f"{len(target.problems)} problems, {len(alarms)} alarms in the log: {'good' if is_good else 'BAD'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
