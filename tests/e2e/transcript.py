"""Commands with what they print, read out of a document and typed again: by the tests of the tutorials.

A command stands behind `$ `; what follows, up to the next command, is its output. Lines behind `# ` in it are typed at
the prompt of the shell that the command has opened.
"""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from localset.base.directories import api_socket
from localset.cli.transport import Api
from tests.e2e.house import CHECKOUT, House, surroundings, until
from tests.e2e.terminal import at_terminal

PROMPT = "# "


def needs_port(port: int) -> None:
    """Skip where the person who runs the tests may not bind `port`: the examples' pages say what to do about it."""
    setting = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    least = int(setting.read_text()) if setting.exists() else 0
    if os.getuid() != 0 and port < least:
        pytest.skip(f"port {port} is for root on this machine: sysctl net.ipv4.ip_unprivileged_port_start={port}")


@dataclass
class Step:
    """One command, the lines that it prints, and those that are typed inside it."""

    command: str
    output: list[str] = field(default_factory=list)

    @property
    def typed(self) -> list[str]:
        """Return what is typed at the inner prompt."""
        return [line.removeprefix(PROMPT) for line in self.output if line.startswith(PROMPT)]


@dataclass
class Done:
    """How a command ended."""

    code: int
    output: str
    errors: str = ""

    @property
    def lines(self) -> list[str]:
        """Return the lines of the output."""
        return self.output.splitlines()


class Walker:
    """Types commands on a house, from a directory."""

    def __init__(self, house: House, directory: Path = CHECKOUT) -> None:
        self.house, self.directory = house, directory

    def run(self, step: Step) -> Done:
        """Type one command as it stands; `kubectl` is `localset`."""
        program, *words = shlex.split(step.command)
        assert program in {"kubectl", "localset"}, step.command
        python, path = surroundings(None)
        argv = [python, "-m", "localset", *words]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "LOCALSET_DATA_DIR": str(self.house.data)}
        environment |= {"TERM": "dumb", "HOME": os.environ.get("HOME", "/")}
        if step.typed:
            lines = step.typed if step.typed[-1] == "exit" else [*step.typed, "exit"]
            code, shown = at_terminal(argv, environment, [(PROMPT, f"{line}\n") for line in lines])
            return Done(code, shown.replace("\r\n", "\n"))
        done = subprocess.run(
            argv, env=environment, cwd=self.directory, text=True, capture_output=True, timeout=120, check=False
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def settle(self) -> None:
        """Wait, as a person does, until every set is as its spec says and no other Pod is on its way out."""
        until(self._is_settled, 90, "every set is Ready")

    def _items(self, path: str) -> list[Any]:
        """Return the items of a list; in this process, for a wait asks often."""
        api = Api(api_socket(self.house.data))
        try:
            return list(api.request("GET", path).body["items"])
        finally:
            api.close()

    def _is_settled(self) -> bool:
        wanted = 0
        for found in self._items("/apis/apps/v1/statefulsets"):
            spec, status = found["spec"], found["status"]
            wanted += spec["replicas"]
            is_by_hand = spec["updateStrategy"]["type"] == "OnDelete"
            is_new = is_by_hand or status.get("updatedReplicas", 0) == spec["replicas"]
            is_ready = status.get("readyReplicas", 0) == status.get("replicas") == spec["replicas"]
            if status.get("observedGeneration") != found["metadata"]["generation"] or not (is_ready and is_new):
                return False
        return len(self._items("/api/v1/pods")) == wanted


_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps_of(text: str) -> list[Step]:
    """Return the commands of all blocks marked `console`."""
    steps: list[Step] = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line.removeprefix("$ ")))
            else:
                steps[-1].output.append(line)
    return steps


def rewritten(text: str, outputs: list[str]) -> str:
    """Return the document with each command's output replaced, in order."""
    left = iter(outputs)

    def block(match: re.Match[str]) -> str:
        commands = [line for line in match.group(1).splitlines() if line.startswith("$ ")]
        shown = [f"{command}\n{next(left).rstrip()}".rstrip() for command in commands]
        body = "\n".join("\n".join(line.rstrip() for line in text.splitlines()) for text in shown)
        return f"```console\n{body}\n```"

    return _BLOCK.sub(block, text)


_VARYING = (
    (re.compile(r"\b127(\.\d+){3}\b"), "ADDRESS"),
    (re.compile(r"\bpvc-[0-9a-f-]{36}\b"), "VOLUME"),
    (re.compile(r"\b\d+[smhd](\d+[smhd])?\b"), "AGE"),
    (re.compile(r"\b\d+\.\ds\b"), "SECONDS"),
)


def masked(text: str) -> list[list[str]]:
    """Return the words of each line, with what differs from run to run made equal."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return [line.split() for line in text.splitlines() if line.strip()]
