"""start, stop, restart, open, reset, status and watch: a set's life as a person drives it, with its data kept."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, host_address, surroundings, until
from tests.e2e.terminal import at_terminal

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: busybox
        command: [sh, -c, "date +%s.%N >> $DATA/runs; exec sleep inf"]
        env: [{name: DATA, value: /data}]
        ports: [{name: http, containerPort: 8080}]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""


@pytest.fixture(scope="module")
def web() -> Iterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    house = House(directory / "data")
    try:
        house.run("apply", "-f", "-", "--wait", stdin=MANIFEST)
        yield house
    finally:
        house.down()


def runs(house: House, ordinal: int) -> int:
    """Return how many runs have written to an ordinal's volume."""
    (volume,) = (house.data / "volumes" / "default").glob(f"data-web-{ordinal}-*")
    return len((volume / "runs").read_text().splitlines())


def span(house: House) -> tuple[int, int]:
    spec = house.json("sts", "web")["spec"]
    return (spec.get("ordinals") or {}).get("start", 0), spec["replicas"]


def environment(house: House) -> dict[str, str]:
    _, path = surroundings(None)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path, "LOCALSET_DATA_DIR": str(house.data), "TERM": "xterm"}


def argv(*words: str) -> list[str]:
    return [surroundings(None)[0], "-m", "localset", *words]


def test_a_set_is_stopped_and_started_with_its_data(web: House) -> None:
    before = [runs(web, n) for n in range(3)]
    done = web.run("stop", "web")
    assert done.stdout.splitlines() == [
        "statefulset.apps/web stopped; `localset start web` runs 3 replicas again",
        *(f"pod/web-{n} has ended" for n in (2, 1, 0)),
    ]
    assert web.json("pods", "-l", "app=web")["items"] == []
    assert "stopped (`localset start web` runs 3)" in web.run("status").stdout
    assert web.run("stop", "web").stdout == "statefulset.apps/web is already stopped\n"
    assert "is stopped" in web.run("restart", "web", check=False).stderr
    assert web.run("start", "web").stdout.startswith("statefulset.apps/web started with 3 replicas\n")
    assert web.json("sts", "web")["status"]["readyReplicas"] == 3
    until(lambda: [runs(web, n) for n in range(3)] == [n + 1 for n in before])
    assert "localset.dev/replicas-when-started" not in web.json("sts", "web")["metadata"].get("annotations", {})


def test_only_the_ends_of_a_set_can_be_stopped_alone(web: House) -> None:
    middle = web.run("stop", "web/1", check=False)
    assert middle.returncode == 1
    assert "every ordinal between its first (0) and its last (2)" in middle.stderr
    assert web.run("stop", "web-2").stdout.endswith("pod/web-2 has ended\n")
    assert web.run("stop", "web/0").stdout.startswith("statefulset.apps/web begins with ordinal 1: web-0 was the first")
    assert span(web) == (1, 1)
    assert "1/1 ready, partly stopped" in web.run("status").stdout
    assert "is already stopped" in web.run("stop", "web/0").stdout
    web.run("start", "web/0")
    assert span(web) == (0, 2)
    assert "is none of the 3 replicas" in web.run("start", "web/7", check=False).stderr
    web.run("start", "sts/web")
    assert span(web) == (0, 3)
    assert web.run("start", "web").stdout == "statefulset.apps/web is already started\n"


def test_what_would_delete_data_is_not_stopped(web: House) -> None:
    policy = "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}"
    manifest = MANIFEST.replace("serviceName: web", f"serviceName: web\n  {policy}")
    web.run("apply", "-f", "-", stdin=manifest)
    refused = web.run("stop", "web", check=False)
    assert (refused.returncode, "would delete data" in refused.stderr) == (1, True)
    web.run("apply", "-f", "-", stdin=manifest.replace("whenScaled: Delete", "whenScaled: Retain"))
    assert span(web) == (0, 3)


def test_restart_is_one_new_pod_or_a_roll_of_all(web: House) -> None:
    uids = {n: web.pod(f"web-{n}")["metadata"]["uid"] for n in range(3)}  # type: ignore[index]
    done = web.run("restart", "web/1")
    assert done.stdout.splitlines()[0] == 'pod "web-1" deleted; statefulset.apps/web makes it again'
    assert done.stdout.splitlines()[1].startswith("pod/web-1 is ready, ")
    changed = {n for n in range(3) if web.pod(f"web-{n}")["metadata"]["uid"] != uids[n]}  # type: ignore[index]
    assert changed == {1}
    done = web.run("restart", "web")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["pod/web-2", "pod/web-1", "pod/web-0"]


def test_reset_asks_and_gives_one_ordinal_fresh_volumes(web: House) -> None:
    before = runs(web, 1)
    refused = web.run("reset", "web/2", check=False)
    assert refused.stderr.splitlines()[-1] == "hint: --yes says that you mean it"
    code, shown = at_terminal(argv("reset", "web/2"), environment(web), [("[y/N] ", "n\n")])
    assert (code, "nothing was changed" in shown) == (1, True)
    assert "which ordinal of web?" in web.run("reset", "web", check=False).stderr
    code, shown = at_terminal(argv("reset", "web/2"), environment(web), [("[y/N] ", "y\n")])
    assert (code, "pod/web-2 is ready" in shown) == (0, True)
    until(lambda: runs(web, 2) == 1, why="the old volume has gone")
    assert runs(web, 1) == before


def test_open_shows_what_to_type(web: House) -> None:
    shown = web.run("open", "web").stdout
    pod = web.pod("web-0")
    assert pod is not None
    address = host_address(pod)
    assert f"web-0   {address}" in shown
    assert "web-0.web.default.svc.cluster.local" in shown
    assert "localset port-forward web-0 8080" in shown
    assert "web-1" not in web.run("open", "web/2").stdout
    assert web.run("open", "nope", check=False).returncode == 1


def test_status_is_a_picture_of_every_ordinal(web: House) -> None:
    lines = web.run("status").stdout.splitlines()
    at = lines.index("default/web  3/3 ready")
    assert lines[at + 1].split() == ["POD", "READY", "ADDRESS", "REVISION", "RESTARTS", "AGE", "WHY"]
    assert [line.split()[:3] for line in lines[at + 2 :]] == [["●", f"web-{n}", "1/1"] for n in range(3)]


def test_watch_draws_again_when_something_happens_and_ends_with_ctrl_c(web: House) -> None:
    words = argv("watch")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, environment(web))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
    shown = b""

    def read_until(text: str, start: int = 0) -> int:
        nonlocal shown
        deadline = time.monotonic() + 20
        while (at := shown.find(text.encode(), start)) < 0:
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 0.5)[0]:
                shown += os.read(terminal, 65536)
        return at

    at = read_until("default/web  3/3 ready")
    web.run("stop", "web/2", "--no-wait")
    at = read_until("default/web  2/2 ready, partly stopped", at)
    web.run("start", "web", "--no-wait")
    at = read_until("default/web  3/3 ready", at)
    os.write(terminal, b"\x03")
    read_until("\x1b[?1049l", at)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert shown.count(b"\x1b[?1049h") == 1


def test_watch_into_a_pipe_is_a_line_for_each_change(web: House) -> None:
    with subprocess.Popen(argv("watch"), env=environment(web), text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = sorted(process.stdout.readline().split()[0] for _ in range(3))
        assert first == [f"default/web-{n}" for n in range(3)]
        web.run("restart", "web/0", "--no-wait", check=False)
        while "default/web-0  ready" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
