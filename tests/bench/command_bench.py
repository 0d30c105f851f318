"""P9: `localset get pods` of 100 Pods beside `kubectl get pods` of the same daemon, taken in turns.

Run by `make bench`, or alone: `python tests/bench/command_bench.py`. The Pods are bound to a Node that is not there, so
that none runs while the commands do. The installed `localset` beside this Python is measured, as a person starts it.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from _pytest.outcomes import Skipped  # noqa: E402 - the checkout is on the path only now

from tests.e2e.house import House  # noqa: E402 - as above
from tests.e2e.kubectls import newest_kubectl  # noqa: E402 - as above

PODS = 100
TURNS = 21
_POD = """
apiVersion: v1
kind: Pod
metadata: {{name: p-{number}}}
spec: {{nodeName: nowhere, containers: [{{name: c, image: host}}]}}
"""


def taken(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its seconds and its CPU seconds."""
    begun = time.perf_counter()
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode != 0:
        raise subprocess.CalledProcessError(running.returncode, command)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


def main() -> int:
    """Print the medians of both and their ratios; 0 also where there is no kubectl, which is said."""
    localset = Path(sys.executable).with_name("localset")
    try:
        kubectl = newest_kubectl()
    except Skipped as missing:
        print(f"missing: {missing}")
        return 0
    root = Path(tempfile.mkdtemp(prefix="localset-bench-"))
    house = House(root / "data")
    dropped = ("LOCALSET", "XDG_", "PYTHON", "KUBE")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {"HOME": str(root)}
    commands = {
        "localset get pods": [str(localset), "--data-dir", str(house.data), "get", "pods"],
        f"{kubectl.name} get pods": [str(kubectl), f"--kubeconfig={house.data / 'kubeconfig'}", "get", "pods"],
    }
    try:
        house.up()
        house.run("apply", "-f", "-", stdin="---".join(_POD.format(number=number) for number in range(PODS)))
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(TURNS + 1):
            for name, command in commands.items():
                figures = taken(command, environment)
                if turn:  # the first is cold
                    seen[name].append(figures)
    finally:
        house.down()
        shutil.rmtree(root, ignore_errors=True)
    medians = [[statistics.median(column) * 1000 for column in zip(*rows, strict=True)] for rows in seen.values()]
    for name, (wall, cpu) in zip(commands, medians, strict=True):
        print(f"P9  {name:28} {TURNS:>2} times  {wall:7.1f} ms  {cpu:7.1f} ms CPU")
    ours, theirs = medians
    print(f"P9  ratio (goal 0.5)             {ours[0] / theirs[0]:10.2f}       {ours[1] / theirs[1]:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
