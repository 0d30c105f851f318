"""`localset doctor`: what it says is what the keeper finds, and what is forbidden here by hand it finds forbidden."""

import json
import os
import subprocess
import sys

import pytest

from localset.base.clock import SystemClock
from localset.kubelet.isolation import probe_isolation
from localset.kubelet.keeper_runtime import KeeperRuntime

COMMAND = [sys.executable, "-m", "localset", "--data-dir"]


def _doctor(data, *before: str):
    done = subprocess.run(
        [*before, *COMMAND, str(data), "doctor", "-o", "json"], capture_output=True, text=True, check=False
    )
    assert not done.stderr
    found = json.loads(done.stdout)
    return done.returncode, found, {check["check"]: check for check in found["checks"]}


async def test_the_doctor_and_the_keeper_find_the_same_level_and_leave_nothing(tmp_path):
    data = tmp_path / "data"
    code, found, checks = _doctor(data)
    assert code == 0
    assert found["canRun"]
    assert not list(tmp_path.iterdir())
    assert {"kernel", "netem", "low-ports", "way-out", "subuids", "resolver", "overlay-data", "cgroup"} <= checks.keys()
    runtime = KeeperRuntime(data, SystemClock())
    await runtime.start()
    check = await probe_isolation(runtime)
    await runtime.shutdown_keeper()
    await runtime.aclose()
    assert found["level"] == check.level


def test_where_user_namespaces_are_forbidden_the_doctor_names_the_one_command_that_allows_them(tmp_path):
    limit = "echo 0 > /proc/sys/user/max_user_namespaces"
    drop = "exec setpriv --bounding-set -all --inh-caps -all"
    forbidden = ["unshare", "-Ur", "sh", "-c", f'{limit} && {drop} "$@"', "sh"]
    if os.system("unshare -Ur setpriv --bounding-set -all true 2>/dev/null"):
        pytest.skip("this machine lets nobody make a user namespace")
    code, found, checks = _doctor(tmp_path / "data", *forbidden)
    assert code == 0
    assert found["level"] == "plain"
    assert checks["user-namespaces"]["allowed"] is False
    assert [c["check"] for c in checks.values() if "max_user_namespaces" in c["cure"]] == ["user-namespaces"]
    assert checks["level-loopback"]["found"]
    assert not checks["level-loopback"]["cure"]
