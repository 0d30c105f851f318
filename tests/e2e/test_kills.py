"""Fifty kills of the daemon while sets are created, scaled and deleted: no process, exit code or log byte is lost."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.house import House, until

SETS = ("red", "green", "blue")

# Counts, so that a lost or doubled log byte shows as a gap; ends with 7 when told to.
COUNTER = """\
n=0
while :; do
  echo "n=$n"; n=$((n+1))
  if [ -e die ]; then rm die; echo "end"; exit 7; fi
  sleep 0.02
done
"""


def _manifest(name: str, replicas: int, policy: str = "Parallel") -> str:
    """Return a set of counters with a readiness probe."""
    labels = {"app": name}
    container = {
        "name": "counter",
        "image": "host",
        "command": ["sh", "-c", COUNTER],
        "readinessProbe": {"exec": {"command": ["sh", "-c", "true"]}, "periodSeconds": 1},
    }
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": name},
            "spec": {
                "serviceName": name,
                "replicas": replicas,
                "podManagementPolicy": policy,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
                },
            },
        }
    )


class _Connection(http.client.HTTPConnection):
    """HTTP over the daemon's socket: asking by a command takes longer than the daemon's restart."""

    def __init__(self, path: Path) -> None:
        super().__init__("localset", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def _daemon(house: House) -> int:
    """Return the pid of the daemon that answers, or 0."""
    path = house.data / "run" / "api.sock"
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(_Connection(path)) as asked:
        asked.request("GET", "/localset/v1/status")
        return int(json.loads(asked.getresponse().read())["daemon"]["pid"])
    return 0


def _alive(house: House) -> bool:
    return _daemon(house) != 0


def _pods(house: House) -> dict[str, dict[str, Any]]:
    return {pod["metadata"]["name"]: pod for pod in house.json("pods")["items"]}


def _leaders(house: House) -> dict[str, list[int]]:
    """Return Pod → pids of its counters' leaders; a fork of the shell looks the same until it executes `sleep`."""
    found: dict[str, list[int]] = {}
    own = set(house.pids().values())
    for pid in own:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            environment, line = process.environ(), process.cmdline()
            if COUNTER in line and process.ppid() not in own:
                found.setdefault(environment["HOSTNAME"], []).append(pid)
    return found


def _check_one_tree(house: House) -> dict[str, int]:
    leaders = _leaders(house)
    doubled = {name: pids for name, pids in leaders.items() if len(pids) > 1}
    assert not doubled, f"more than one process tree: {doubled}"
    return {name: pids[0] for name, pids in leaders.items()}


def _kill_daemon(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _check_logs(house: House) -> int:
    """Assert that every counter's lines are contiguous; return how many were seen."""
    seen = 0
    logs = (
        Path(top, name) for top, _, names in os.walk(house.data / "pods") for name in names if name.endswith(".log")
    )
    for path in logs:
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:  # its Pod goes this moment; os.walk bears that too
            continue
        numbers = [int(n) for n in re.findall(r" stdout F n=(\d+)\n", text)]
        assert numbers == list(range(len(numbers))), f"{path}: {numbers[:5]}… is not contiguous"
        seen += len(numbers)
    return seen


def _settled(house: House, wanted: dict[str, int]) -> bool:
    names = {f"{name}-{ordinal}" for name, replicas in wanted.items() for ordinal in range(replicas)}
    pods = _pods(house)
    if set(pods) != names:
        return False
    return all(
        any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])
        for pod in pods.values()
    )


def _act(house: House, dice: random.Random, wanted: dict[str, int], daemon: int) -> None:
    """Do one random thing to one set with a kill somewhere in it."""
    name = dice.choice(SETS)
    if name not in wanted:
        wanted[name] = dice.randint(1, 3)
        policy = dice.choice(("Parallel", "OrderedReady"))
        house.run("apply", "-f", "-", stdin=_manifest(name, wanted[name], policy))
    elif dice.random() < 0.3:
        del wanted[name]
        house.run("delete", "sts", name, "--wait=false")
    else:
        wanted[name] = dice.randint(0, 3)
        house.run("scale", "sts", name, f"--replicas={wanted[name]}")
    time.sleep(dice.random() * 0.3)
    _kill_daemon(daemon)


def _storm(house: House, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    house.up()
    house.run("apply", "-f", "-", "--wait", stdin=_manifest("still", 2))
    untouched = _check_one_tree(house)
    assert len(untouched) == 2
    wanted: dict[str, int] = {}
    for _ in range(kills):
        killed = _daemon(house)
        _act(house, dice, wanted, killed)
        until(lambda old=killed: _daemon(house) not in {0, old}, 15, "the keeper starts the daemon again")
        now = _check_one_tree(house)
        assert {name: now.get(name) for name in untouched} == untouched, f"seed {seed}: restarted by a daemon's kill"
    until(lambda: _settled(house, {"still": 2, **wanted}), 30, f"seed {seed}: converged to {wanted}")
    until(lambda: set(_check_one_tree(house)) == set(_pods(house)), 10, "one tree for each Pod")
    for pod in _pods(house).values():
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0, pod["metadata"]["name"]
    assert _check_logs(house) > 0


def test_kills_of_the_daemon_lose_nothing(house: House) -> None:
    _storm(house, 12, seed=4)


@pytest.mark.slow
def test_fifty_kills_of_the_daemon_lose_nothing(house: House) -> None:
    _storm(house, 50, seed=7)


def _two(house: House) -> dict[str, int]:
    house.up()
    house.run("apply", "-f", "-", "--wait", stdin=_manifest("still", 2))
    found = _check_one_tree(house)
    assert set(found) == {"still-0", "still-1"}
    return found


def _ready(house: House) -> bool:
    return _settled(house, {"still": 2})


def test_processes_outlive_their_killed_keeper(house: House) -> None:
    before = _two(house)
    keeper = house.status()["keeper"]["pid"]
    os.kill(keeper, signal.SIGKILL)
    until(lambda: _alive(house) and house.status()["keeper"]["pid"] not in {0, None, keeper}, 20, "a new keeper")
    until(lambda: _ready(house), 20, "both Ready")
    assert _check_one_tree(house) == before
    house.run("scale", "sts", "still", "--replicas=1")
    until(lambda: set(_check_one_tree(house)) == {"still-0"}, 20, "the new keeper ends a process it did not start")
    os.kill(house.status()["daemon"]["pid"], signal.SIGKILL)
    until(lambda: _alive(house), 15, "the new keeper watches over the daemon")
    _check_logs(house)


def test_processes_outlive_keeper_and_daemon_together(house: House) -> None:
    before = _two(house)
    status = house.status()
    for who in ("daemon", "keeper"):  # a daemon that sees its keeper die starts another, which starts a daemon again
        os.kill(status[who]["pid"], signal.SIGKILL)
    until(lambda: not _alive(house), 5, "nobody answers")
    assert _check_one_tree(house) == before
    house.up()
    until(lambda: _ready(house), 20, "both Ready")
    assert _check_one_tree(house) == before
    _check_logs(house)


def test_an_exit_while_the_daemon_is_down_keeps_its_code(house: House) -> None:
    before = _two(house)
    directory = psutil.Process(before["still-1"]).cwd()
    daemon = house.status()["daemon"]["pid"]
    os.kill(daemon, signal.SIGKILL)
    (Path(directory) / "die").touch()
    until(lambda: not psutil.pid_exists(before["still-1"]), 5, "the counter has ended")
    until(lambda: _alive(house), 15, "the keeper starts the daemon again")
    until(lambda: _counter_status(house)["restartCount"] == 1, 20, "restarted")
    assert _counter_status(house)["lastState"]["terminated"]["exitCode"] == 7
    assert _check_one_tree(house)["still-0"] == before["still-0"]
    _check_logs(house)
    assert any(" stdout F end\n" in path.read_text() for path in house.data.glob("pods/**/*.log")), "the last line"


def _counter_status(house: House) -> dict[str, Any]:
    status: dict[str, Any] = _pods(house)["still-1"]["status"]["containerStatuses"][0]
    return status


def test_up_waits_for_a_daemon_that_the_keeper_is_starting_again(house: House) -> None:
    house.up()
    for _ in range(3):
        os.kill(_daemon(house), signal.SIGKILL)
        house.up()
        assert _alive(house)
