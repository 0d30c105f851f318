"""The document that localset was made for, line by line: its own commands and outputs, `localset` for `kubectl`.

Columns and messages are compared with today's, not with 2016's: `today` and `Table` say what became of them.
"""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.e2e.example import needs_image
from tests.e2e.house import SEED, House, until
from tests.e2e.transcript import PROMPT, Done, Step, Walker, needs_port

DOCUMENT = SEED / "statefulset.md"
pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason="the seed document is not beside the checkout")

_COMMAND = re.compile(r"^(?:\$ )?(kubectl .*)")
_LABELS = {"statefulset": "statefulset.apps", "poddisruptionbudget": "poddisruptionbudget.policy"}
_COLUMNS = {"ACCESSMODES": "ACCESS MODES"}
_DIFFERS = {"AGE", "VOLUME"}


def text_of_document() -> list[str]:
    """Return the lines without Markdown's escapes."""
    plain = re.sub(r"\\([_\[\]#()])", r"\1", DOCUMENT.read_text())
    return [html.unescape(line) for line in plain.splitlines()]


def steps_of_document() -> list[Step]:
    """Return the commands; a remark behind `#` ends the output of the one before."""
    steps: list[Step] = []
    is_output = False
    for line in text_of_document():
        command = _COMMAND.match(line)
        if command:
            steps.append(Step(command.group(1)))
            is_output = True
        elif line.startswith("# ") or (line and ord(line[0]) > 127):
            is_output = False
        elif is_output and line.startswith("/ # "):
            steps[-1].output.append(PROMPT + line.removeprefix("/ # "))
        elif is_output and line and line != "zookeeper":
            steps[-1].output.append(line)
    return steps


def manifests_of_document() -> list[Any]:
    """Return the objects of the two manifests that the document shows."""
    lines, found, is_inside = text_of_document(), [], False
    for line in lines:
        if line == "---":
            found += [] if is_inside else [[]]
            is_inside = True
        elif _COMMAND.match(line) or line.startswith("$ "):
            is_inside = False
        if is_inside and line:
            found[-1].append(line)
    return [obj for body in found for obj in yaml.safe_load_all("\n".join(body)) if obj]


def today(line: str) -> str:
    """Return today's form of a message such as `service "nginx" created`."""
    match = re.fullmatch(r'(\w+) "(\S+)" created', line)
    assert match is not None, line
    return f"{_LABELS.get(match.group(1), match.group(1))}/{match.group(2)} created"


def table_of(lines: list[str]) -> list[dict[str, str]]:
    """Return the rows of a table by column, in today's columns."""
    names = re.split(r"\s{2,}", lines[0].strip())
    rows = []
    for line in lines[1:]:
        row = dict(zip(names, re.split(r"\s{2,}", line.strip()), strict=True))
        row = {_COLUMNS.get(name, name): value for name, value in row.items() if name not in _DIFFERS}
        if "DESIRED" in row:
            row["READY"] = f"{row.pop('CURRENT')}/{row.pop('DESIRED')}"
        rows.append(row)
    return rows


def has_rows(done: Done, wanted: list[dict[str, str]]) -> None:
    """Check that the table has the document's rows; columns of today that it did not know are more."""
    shown = table_of(done.lines)
    assert [{name: row[name] for name in want} for row, want in zip(shown, wanted, strict=True)] == wanted


def volumes(house: House) -> set[str]:
    return {"-".join(path.name.split("-")[:3]) for path in (house.data / "volumes" / "default").glob("www-web-*")}


class Walk:
    """What the document's reader sees after each kind of command."""

    def __init__(self, house: House) -> None:
        self.house, self.walker = house, Walker(house, SEED)

    def address(self, pod: str) -> str:
        found = self.house.pod(pod)
        assert found is not None
        return str(found["status"]["podIP"])

    def take(self, step: Step) -> None:
        done = self.walker.run(step)
        assert done.code == 0, (step.command, done)
        verb = step.command.split()[1]
        getattr(self, verb)(step, done)
        self.walker.settle()

    def create(self, step: Step, done: Done) -> None:
        if step.output:
            assert done.lines == [today(line) for line in step.output]
        else:
            assert [line.rsplit("/")[0] for line in done.lines][-1] == "statefulset.apps"
            assert all(line.endswith(" created") for line in done.lines)

    def get(self, step: Step, done: Done) -> None:
        has_rows(done, table_of(step.output))

    def run(self, step: Step, done: Done) -> None:
        names = [line.split()[1] for line in step.typed if line.startswith("nslookup ")]
        assert len(names) == 3
        answers = re.findall(r"Name: +(\S+)\nAddress 1: (\S+)", done.output)
        assert answers == [(name, self.address(name.partition(".")[0])) for name in names]
        assert done.lines[-1] == 'pod "dns-test" deleted'

    def scale(self, _: Step, done: Done) -> None:
        assert done.output == "statefulset.apps/web scaled\n"
        until(lambda: len(self.house.json("pods", "-l", "app=nginx")["items"]) == 5)

    def patch(self, step: Step, done: Done) -> None:
        assert done.output == "statefulset.apps/web patched\n"
        if "image" not in step.command:
            until(lambda: len(self.house.json("pods", "-l", "app=nginx")["items"]) == 3)
            return
        self.walker.settle()
        assert self.tags() == ["0.8"] * 3  # apps/v1beta1 is OnDelete: the new image comes with each Pod that is deleted
        assert "Pods change when they are deleted" in self.house.run("status").stdout
        self.house.run("restart", "web/2")
        assert self.tags() == ["0.8", "0.8", "0.7"]

    def tags(self) -> list[str]:
        found = self.house.json("pods", "-l", "app=nginx")["items"]
        return [pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in found]

    def delete(self, step: Step, done: Done) -> None:
        kind, *names = step.command.split()[2:]
        said = {"statefulset": "statefulset.apps", "pvc": "persistentvolumeclaim"}.get(kind, kind)
        assert [line.split(" from ")[0] for line in done.lines] == [f'{said} "{name}" deleted' for name in names]
        if kind == "pvc":
            until(lambda: volumes(self.house) == {f"www-web-{n}" for n in (2, 3, 4)}, why="their volumes have gone")
        else:
            assert volumes(self.house) == {f"www-web-{n}" for n in range(5)}


def test_the_documents_manifests_are_the_files_beside_it() -> None:
    shown = manifests_of_document()
    files = [obj for name in ("web.yaml", "zookeeper.yaml") for obj in yaml.safe_load_all((SEED / name).read_text())]
    assert [obj["kind"] for obj in shown] == [obj["kind"] for obj in files]
    assert shown == files


def test_every_command_of_the_document_does_what_the_document_says(make_house: Callable[..., House]) -> None:
    for image in ("gcr.io/google_containers/nginx-slim", "gcr.io/google_samples/k8szk", "busybox"):
        needs_image(image)
    needs_port(80)
    house = make_house()
    house.up()
    walk = Walk(house)
    steps = steps_of_document()
    assert [step.command.split()[1] for step in steps] == [
        "create", "get", "get", "get", "get", "run", "scale", "patch", "patch", "delete", "delete", "delete", "create",
    ]  # fmt: skip
    for step in steps:
        walk.take(step)
    assert house.json("sts", "zk")["status"]["readyReplicas"] == 3
