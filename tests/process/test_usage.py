"""What a container's processes use, measured on real ones."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from localset.base.clock import SystemClock
from localset.kubelet.usage import UsageMeter, _owners

BUSY = "import os\nif not os.fork():\n    while True: pass\nprint(flush=True)\nos.wait()"


@pytest.fixture
def busy():
    """A process whose child never rests."""
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    yield child
    subprocess.run(["pkill", "-KILL", "-s", str(child.pid)], check=False)
    child.kill()
    child.wait()
    child.stdout.close()


async def test_a_busy_child_counts_for_its_container_and_an_unknown_pod_for_nothing(busy):
    report = SimpleNamespace(pid=busy.pid)
    record = SimpleNamespace(is_running=True, report=report, run_id="r")
    waiting = SimpleNamespace(is_running=False, report=None, run_id="")
    workers = {"u": SimpleNamespace(records={"c": record, "init": waiting})}
    meter = UsageMeter(SystemClock(), workers.get)
    pods = [{"metadata": {"uid": "u"}}, {"metadata": {"uid": "other"}}]
    measured = await meter.measure(pods)
    assert list(measured.pods) == ["u"]
    assert list(measured.pods["u"]) == ["c"]
    assert 0 < measured.pods["u"]["c"].cpu_cores <= 1.5
    assert measured.pods["u"]["c"].memory_bytes > 2**20
    assert measured.machine.cpu_cores > 0
    assert measured.machine.memory_bytes > 2**20


def test_processes_belong_to_the_nearest_container_above_them():
    parents = {1: 0, 10: 1, 20: 10, 21: 20, 22: 21, 30: 10, 31: 30, 40: 1}
    assert _owners(parents, {"a": 20, "b": 30}) == {20: "a", 21: "a", 22: "a", 30: "b", 31: "b"}
    assert _owners(parents, {"gone": 99}) == {}
