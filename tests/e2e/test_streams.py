"""The real kubectl's exec, attach, cp, port-forward, run, debug and logs, and the Python clients', with real Pods.

Each version of kubectl in reach speaks what it speaks: SPDY up to 1.28, WebSockets from 1.30 and 1.31 on, either when
told to.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.house import House, until
from tests.e2e.kubectls import find_kubectl, newest_kubectl
from tests.e2e.terminal import PROMPT, at_terminal

MANIFEST = Path(__file__).parent / "manifests" / "streams.yaml"
SPOKEN = [
    ("1.20", ""),
    ("1.29", "true"),
    ("1.33", "true"),
    ("1.33", "false"),
    *(pytest.param(more, marks=pytest.mark.slow) for more in (("1.27", ""), ("1.30", ""), ("1.31", ""), ("1.32", ""))),
]
"""(minor, KUBECTL_…_WEBSOCKETS)."""


class Kubectl:
    """One kubectl against the house of this file."""

    def __init__(self, program: Path, home: Path, config: Path, websockets: str = "") -> None:
        self.program = program
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], "KUBECONFIG": str(config), "TERM": "dumb"}
        if websockets:
            self.environment["KUBECTL_REMOTE_COMMAND_WEBSOCKETS"] = websockets
            self.environment["KUBECTL_PORT_FORWARD_WEBSOCKETS"] = websockets

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words],
            env=self.environment, input=stdin, text=True, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def out(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.program, *words],
            env=self.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Iterator[House]:
    """One house for all of this file, with its Pods running."""
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    house = House(directory / "data")
    try:
        house.up()
        kubectl = Kubectl(newest_kubectl(), directory, house.data / "kubeconfig")
        kubectl.out("apply", "--validate=false", "-f", str(MANIFEST))
        kubectl.out("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        yield house
    finally:
        house.down()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def kubectl(shared: House, tmp_path: Path) -> Kubectl:
    return Kubectl(newest_kubectl(), tmp_path, shared.data / "kubeconfig")


@pytest.fixture(params=SPOKEN, ids=lambda p: "-".join(filter(None, p)))
def each(shared: House, tmp_path: Path, request: pytest.FixtureRequest) -> Kubectl:
    minor, websockets = request.param
    return Kubectl(find_kubectl(minor), tmp_path, shared.data / "kubeconfig", websockets)


@contextmanager
def forwarded(kubectl: Kubectl, target: str, port: int) -> Iterator[str]:
    """Run port-forward; yield the URL of its local end."""
    process = kubectl.begin("port-forward", target, f":{port}")
    try:
        line = process.stdout.readline()
        assert line.startswith("Forwarding from 127.0.0.1:"), line + process.stderr.read()
        yield f"http://127.0.0.1:{line.split(':')[1].split()[0]}/"
    finally:
        process.kill()
        process.communicate()


def fetch(url: str) -> int:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return len(answer.read())


def held_by(house: House) -> int:
    """Return how many descriptors the daemon holds."""
    return len(list(Path(f"/proc/{house.status()['daemon']['pid']}/fd").iterdir()))


def test_commands_files_terminals_and_ports_in_each_version(each: Kubectl, tmp_path: Path) -> None:
    done = each.run("exec", "-i", "web", "--", "sh", "-c", "cat; echo err >&2; exit 3", stdin="input\n")
    assert (done.returncode, done.stdout) == (3, "input\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    code, shown = at_terminal([each.program, "exec", "-it", "web", "--", "sh"], each.environment,
                              [(PROMPT, "stty size\n"), ("33 111", "exit 5\n")])  # fmt: skip
    assert (code, "33 111" in shown) == (5, True)
    source = tmp_path / "tree"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(700_000))
    (source / "small").write_text("x")
    place = f"/tmp/{tmp_path.name}"
    each.out("cp", str(source), f"web:{place}")
    each.out("cp", f"web:{place}", str(tmp_path / "back"))
    each.out("exec", "web", "--", "rm", "-r", place)
    assert (tmp_path / "back" / "large").read_bytes() == (source / "large").read_bytes()
    with forwarded(each, "svc/web", 80) as url, ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(fetch, [url] * 16))
    assert len(sizes) == 1


def test_refusals_read_as_those_of_a_cluster(kubectl: Kubectl) -> None:
    for words, text in (
        (("exec", "web", "-c", "zz", "--", "true"), "container zz is not valid for pod web"),
        (("exec", "nope", "--", "true"), 'pods "nope" not found'),
        (("logs", "two", "-c", "a", "-p"), 'previous terminated container "a" in pod "two" not found'),
    ):
        done = kubectl.run(*words)
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
    raw = "/api/v1/namespaces/default/pods/two/log"
    assert "choose one of: [a b] or one of the init containers: [first]" in kubectl.run("get", "--raw", raw).stderr
    process = kubectl.begin("port-forward", "web", ":81")
    port = process.stdout.readline().split(":")[1].split()[0]
    with pytest.raises(OSError):  # noqa: PT011 - whichever way the connection ends
        fetch(f"http://127.0.0.1:{port}/")
    process.kill()
    assert "connection refused" in process.communicate()[1]


def test_logs_in_all_forms(kubectl: Kubectl) -> None:
    until(lambda: kubectl.run("logs", "two", "-c", "b", "-p").returncode == 0, why="the second run of b")
    assert kubectl.out("logs", "two", "-c", "a", "--tail=2") == "a2\na3\n"
    assert kubectl.out("logs", "two", "-c", "a", "--limit-bytes=4") == "a1\na"
    assert kubectl.out("logs", "two", "-c", "a", "--since=1h") == "a1\na2\na3\n"
    assert kubectl.out("logs", "two", "-c", "first") == "prepared\n"
    assert kubectl.out("logs", "two", "-c", "b", "-p") == "run\n"
    stamps = kubectl.out("logs", "two", "-c", "a", "--timestamps").splitlines()
    assert [line.split(" ")[1] for line in stamps] == ["a1", "a2", "a3"]
    after = stamps[1].split(" ")[0]
    assert kubectl.out("logs", "two", "-c", "a", f"--since-time={after}").splitlines()[-1] == "a3"
    assert sorted(kubectl.out("logs", "two", "--all-containers").split()) == ["a1", "a2", "a3", "prepared", "run"]
    assert kubectl.run("logs", "-l", "app=web", "--prefix").returncode == 0
    kubectl.out("run", "ends", "--image=host", "--restart=Never", "--", "sh", "-c", "echo one; sleep 0.5; echo two")
    until(lambda: kubectl.run("logs", "ends").returncode == 0)
    assert kubectl.out("logs", "-f", "ends") == "one\ntwo\n"
    kubectl.out("delete", "pod", "ends", "--now", "--wait=false")


@pytest.mark.parametrize("minor", ["1.20", "1.33"])
def test_run_at_a_terminal_as_in_the_tutorials(shared: House, tmp_path: Path, minor: str) -> None:
    kubectl = Kubectl(find_kubectl(minor), tmp_path, shared.data / "kubeconfig")
    words = ["run", "-i", "--tty", "--image", "busybox", f"dns-{minor[-2:]}", "--restart=Never", "--rm", "/bin/sh"]
    dialogue = [(PROMPT, "stty size\n"), ("33 111", "echo ans$((40 + 2))\n"), ("ans42", "exit 4\n")]
    code, shown = at_terminal([kubectl.program, *words], kubectl.environment, dialogue)
    assert code == 4, shown
    assert "deleted" in shown


def test_run_with_a_pipe_ends_with_it(kubectl: Kubectl) -> None:
    words = ("run", "-i", "--rm", "--restart=Never", "--image=host", "pipe", "--", "sh", "-c", "cat; exit 6")
    text = "".join(f"line {n}\n" for n in range(20_000))
    done = kubectl.run(*words, stdin=text)
    assert done.returncode == 6, done.stderr
    assert done.stdout.startswith(text)


def test_debug_joins_the_pod_and_copies_it(kubectl: Kubectl) -> None:
    words = [kubectl.program, "debug", "-it", "web", "--image=host", "--target=main", "-c", "debugger", "--", "sh"]
    code, shown = at_terminal(words, kubectl.environment, [(PROMPT, "hostname; echo $((40 + 2))\n"), ("42", "exit\n")])
    assert (code, "web" in shown) == (0, True), shown
    state = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}"
    until(lambda: kubectl.out("get", "pod", "web", "-o", state) == "0", why="the debugger's end in the status")
    kubectl.out(
        "debug", "two", "--image=host", "--copy-to=copy", "-c", "extra", "--attach=false", "--", "sleep", "1000"
    )
    kubectl.out("wait", "--for=condition=Ready", "pod/copy", "--timeout=20s")
    assert kubectl.out("exec", "copy", "-c", "extra", "--", "echo", "in") == "in\n"
    kubectl.out("delete", "pod", "copy", "--now", "--wait=false")


def test_an_open_shell_does_not_delay_the_end_of_its_pod(kubectl: Kubectl) -> None:
    kubectl.out("run", "stay", "--image=host", "--", "sleep", "1000")
    kubectl.out("wait", "--for=condition=Ready", "pod/stay", "--timeout=20s")
    shell = kubectl.begin(
        "exec", "-i", "stay", "--", "sh", "-c", "trap '' TERM HUP; echo ready; sleep 1000; sleep 1000"
    )
    assert shell.stdout.readline() == "ready\n"
    begun = time.monotonic()
    kubectl.out("delete", "pod", "stay")
    assert time.monotonic() - begun < 10
    shell.communicate(timeout=10)
    assert shell.returncode == 137


def test_nothing_is_left_of_clients_that_were_killed(shared: House, kubectl: Kubectl) -> None:
    fetch_once = kubectl.out("exec", "web", "--", "echo", "warm")
    assert fetch_once == "warm\n"
    before = until_steady(shared)
    clients = [kubectl.begin("exec", "-i", "web", "--", "sh", "-c", "echo in; sleep 987654") for _ in range(3)]
    clients += [kubectl.begin("attach", "web"), kubectl.begin("logs", "-f", "web")]
    for client in clients[:3]:
        assert client.stdout.readline() == "in\n"
    with forwarded(kubectl, "web", 8080) as url:
        fetch(url)
        for client in clients:
            client.kill()
            client.communicate()
    until(lambda: held_by(shared) <= before, why="the daemon's descriptors")
    until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if "987654" in (p.info["cmdline"] or ())])


def until_steady(house: House) -> int:
    counts = [held_by(house)]

    def is_steady() -> bool:
        time.sleep(0.2)
        counts.append(held_by(house))
        return counts[-1] == counts[-2]

    until(is_steady)
    return counts[-1]


CLIENTS = """
import json, urllib.request
import kr8s
from kubernetes import client, config
from kubernetes.stream import portforward, stream
config.load_kube_config()
core = client.CoreV1Api()
told = {}
words = ["sh", "-c", "read x; echo got $x; echo err >&2; exit 4"]
call = core.connect_get_namespaced_pod_exec
run = stream(call, "web", "default", command=words, stdin=True, stdout=True, stderr=True, _preload_content=False)
run.write_stdin("abc\\n")
run.run_forever(timeout=10)
told["exec"] = [run.read_stdout(), run.read_stderr(), run.returncode]
ports = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="8080,81")
socket = ports.socket(8080)
socket.setblocking(True)
socket.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
told["forwarded"] = socket.recv(15).decode()
while socket.recv(4096):
    pass
told["refused"] = ports.error(81)
(pod,) = kr8s.get("pods", "web", namespace="default")
told["kr8s"] = [pod.exec(["echo", "hi"]).stdout.decode(), 0]
with pod.portforward(8080) as port:
    told["kr8s"][1] = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status
print(json.dumps(told))
"""


def test_the_python_clients_run_commands_and_forward_ports(shared: House, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(shared.data / "kubeconfig"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CLIENTS], env=environment, text=True,
                          capture_output=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["exec"] == ["got abc\n", "err\n", 4]
    assert told["forwarded"].startswith("HTTP/1.0 200")
    assert "connection refused" in told["refused"]
    assert told["kr8s"] == ["hi\n", 200]
