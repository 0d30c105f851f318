"""One command line, twice: kubectl's and localset's, compared byte for byte on the same house.

Reads go to the same objects; writes go to twins in two namespaces (`kube` and `ours`), so that what both leave behind
can be compared too. Ages are one word, and our hints, which kubectl has not got, are left out.
"""

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from localset.cli import quick
from localset.cli.main import run
from tests.e2e.house import House
from tests.e2e.kubectls import Kubectl, newest_kubectl

AGE = re.compile(r"(?<![\w.:-])(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?<=[dhms])(?![\w.:/-])")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000")
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Outcome(NamedTuple):
    """What a command line leaves for a person."""

    code: int
    out: str
    err: str


class SideBySide:
    """A house, its kubectl, and our command line in this very process."""

    def __init__(self, house: House, home: Path) -> None:
        self.house = house
        self.kubectl = Kubectl(newest_kubectl(), home, house.data / "kubeconfig")

    def both(self, *words: str, stdin: str | None = None, twins: bool = False) -> tuple[Outcome, Outcome]:
        """Return what kubectl and localset make of `words`; with `twins` each in a namespace of its own."""
        theirs = (*words, "-n", "kube") if twins else words
        ours = (*words, "-n", "ours") if twins else words
        done = self.kubectl.run(*theirs, stdin=stdin)
        first = Outcome(done.returncode, done.stdout, done.stderr)
        second = self.ours(*ours, stdin=stdin)
        return _normal(first), _normal(second)

    def ours(self, *words: str, stdin: str | None = None) -> Outcome:
        """Run `localset WORDS` here; where there is a quick way too, both must say the same."""
        outcome = self._ours(*words, stdin=stdin)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = quick.get(["--data-dir", str(self.house.data), *words])
        if code is not None:
            assert (code, AGE.sub("AGE", out.getvalue())) == (outcome.code, AGE.sub("AGE", outcome.out)), words
        return outcome

    def _ours(self, *words: str, stdin: str | None) -> Outcome:
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        before = sys.stdin
        sys.stdin = io.TextIOWrapper(io.BytesIO((stdin or "").encode()))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(["--data-dir", str(self.house.data), *words])
        finally:
            sys.stdin = before
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return Outcome(code, *texts)

    def twin(self, kind: str, name: str, namespace: str) -> str:
        """Return an object, as JSON, without what differs between twins."""
        text = self.kubectl.out("get", kind, name, "-n", namespace, "-o", "json", "--show-managed-fields")
        found = json.loads(text)
        found.pop("status", None)  # revisions are hashes of templates that say when they were restarted
        # Their order is that of the seconds in which they happened.
        found["metadata"]["managedFields"].sort(key=lambda entry: json.dumps({**entry, "time": ""}, sort_keys=True))
        return _plain(json.dumps(found, indent=4)).replace(newest_kubectl().name, "kubectl")


def _plain(text: str) -> str:
    text = MOMENT.sub("MOMENT", UID.sub("UID", text))
    text = re.sub(r'("?(?:resourceVersion|clusterIP)"?): "[\d.]+"', r"\1: N", text)
    text = re.sub(r'("?clusterIPs"?: \[?)\s*"[\d.]+"', r"\1N", text)
    return re.sub(r"\b(kube|ours)\b", "TWIN", text)


def _normal(outcome: Outcome) -> Outcome:
    program = newest_kubectl().name
    errors = [line for line in outcome.err.split("\n") if not line.startswith("hint: ")]
    error = "\n".join(errors).replace(program, "kubectl").replace("localset ", "kubectl ")
    out = _plain(outcome.out)
    if AGE.search(out):
        out = re.sub(" +", " ", AGE.sub("AGE", out))
    return Outcome(outcome.code, out, _plain(AGE.sub("AGE", error)))
