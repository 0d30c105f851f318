"""Tab: commands, flags, kinds and names of live objects, asked by a real bash (and zsh and fish where they are)."""

import os
import pty
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localset.cli.completing import main
from localset.cli.context import Context
from localset.cli.main import _COMMANDS
from tests.e2e.house import House, surroundings

MANIFEST = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: host, command: [sleep, inf]}
      - {name: side, image: host, command: [sleep, inf]}
"""


@pytest.fixture(scope="module")
def web() -> Iterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    house = House(directory / "data")
    try:
        house.run("apply", "-f", "-", "--wait", stdin=MANIFEST)
        program = directory / "localset"
        python, path = surroundings(None)
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH="{path}" LOCALSET_DATA_DIR="{house.data}" exec "{python}" -m localset "$@"\n'
        )
        program.chmod(0o755)
        yield house
    finally:
        house.down()


def environment(house: House) -> dict[str, str]:
    return {"PATH": f"{house.data.parent}:{os.environ['PATH']}", "HOME": str(house.data.parent), "TERM": "dumb"}


SCRIPT = """
source <(localset completion bash)
ask() { COMP_LINE="$1"; COMP_POINT=${#1}; COMP_WORDS=(localset); COMP_CWORD=1
        compopt() { :; }; _localset; echo "${COMPREPLY[*]}"; }
while IFS= read -r line; do ask "$line"; done
"""
ASKED = {
    "localset rest": "restart",
    "localset get stat": "statefulsets",
    "localset get pods web": "web-0 web-1",
    "localset get sts/w": "sts/web",
    "localset delete pod web-0 ": "web-1",
    "localset get pods --all-": "--all-namespaces",
    "localset get pods -n kube-p": "kube-public",
    "localset get pods --namespace=def": "default",
    "localset get pods -n kube-public ": "",
    "localset get pods -o ya": "yaml",
    "localset logs web-0 -c s": "side",
    "localset logs web": "web-0 web-1 web",
    "localset exec -it we": "web-0 web-1",
    "localset stop web/": "web/0 web/1",
    "localset open w": "web",
    "localset top p": "pod",
    "localset top pod web-1": "web-1",
    "localset drain --ignore": "--ignore-daemonsets",
    "localset run x --restart=N": "Never",
    "localset -n kube-public get pods ": "",
    "localset describe customres": "customresourcedefinitions",
}


@pytest.mark.parametrize("line", ASKED)
def test_commands_flags_kinds_and_names_are_known(web: House, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    context = Context(str(web.data))
    main(_COMMANDS, context, ["--line", line])
    context.close()
    found = [candidate.partition("\t")[0].rpartition("=")[2] for candidate in capsys.readouterr().out.splitlines()]
    assert " ".join(found) == ASKED[line]


def test_bash_asks_and_gets_what_it_wants(web: House) -> None:
    asked = ["localset rest", "localset get pods --namespace=def", "localset get sts/w", "localset logs web-0 -c s"]
    lines = "".join(f"{line}\n" for line in asked)
    done = subprocess.run(
        ["bash", "-c", SCRIPT],
        input=lines,
        env=environment(web),
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [ASKED[line] for line in asked]
    assert done.stderr == ""


def test_a_tab_in_an_interactive_bash_writes_the_rest(web: House) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("bash", ["bash", "--norc", "-i"], environment(web))
    os.write(terminal, b"source <(localset completion bash); echo rea''dy\n")
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        deadline = time.monotonic() + 20
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 0.5)[0]:
                shown += os.read(terminal, 65536)

    read_until(b"\nready")
    os.write(terminal, b"localset get statefulset/w\t")
    read_until(b"localset get statefulset/web ")
    os.write(terminal, b"-o name\n")
    read_until(b"statefulset.apps/web\r\n")
    os.write(terminal, b"exit\n")
    os.waitpid(pid, 0)
    os.close(terminal)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(web: House, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = web.run("completion", shell).stdout
    subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, timeout=30, check=True)


def test_without_a_daemon_a_tab_gives_what_is_known_and_no_noise(tmp_path: Path) -> None:
    house = House(tmp_path)
    done = house.run("__complete", "--", "get", "po")
    assert (done.stdout, done.stderr) == ("pods\npoddisruptionbudgets\npodtemplates\n", "")
    done = house.run("__complete", "--", "get", "pods", "")
    assert (done.stdout, done.stderr) == ("", "")
