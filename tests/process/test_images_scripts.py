"""The built-in images' scripts, really run at plain level: an ensemble, a web server, busybox.

What the kubelet gives a container (private root, address, names) is set by hand; everything started is ended by pid.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localset.images.catalogue import BUILTIN_DIRECTORY, Catalogue

DOMAIN = "peers.elsewhere.svc.cluster.local"
CLIENT_PORT = 12181

SCRIPTS = sorted(
    path
    for path in BUILTIN_DIRECTORY.rglob("*")
    if path.is_file() and not path.is_symlink() and path.read_bytes()[:9] in {b"#!/bin/sh", b"# Sourced"}
)


def needs(image_name: str) -> None:
    catalogue = Catalogue(Path("/nonexistent"))
    image = next(image for image in catalogue.list() if image.name == image_name)
    missing = catalogue.missing(image)
    if missing:
        pytest.skip("; ".join(map(str, missing)))


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Container:
    """One container as the kubelet would surround it at plain level."""

    def __init__(self, image: str, directory: Path, address: str, more: dict[str, str]) -> None:
        self.root = directory / "root"
        self.log = directory / "log"
        self.root.mkdir(parents=True)
        bin_directory = BUILTIN_DIRECTORY / image / "files" / "bin"
        self.environment = {
            "PATH": f"{bin_directory}:/usr/local/bin:/usr/bin:/bin",
            "LOCALSET_ROOT": str(self.root),
            "LOCALSET_ISOLATION": "plain",
            "POD_IP": address,
            **{name: os.environ[name] for name in ("JAVA_HOME", "ZOOKEEPER_HOME") if name in os.environ},
            **more,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def end(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(BUILTIN_DIRECTORY)))
def test_a_script_is_plain_sh(script: Path) -> None:
    for shell in ("sh", "dash", "bash"):
        if shutil.which(shell):
            assert subprocess.run([shell, "-n", script], capture_output=True, check=False).stderr == b""
    if shutil.which("shellcheck"):
        checked = subprocess.run(
            ["shellcheck", "-s", "sh", "-e", "SC1091", script], capture_output=True, text=True, check=False
        )
        assert checked.stdout == ""


def member(directory: Path, ordinal: int, **more: str) -> Container:
    return Container(
        "k8szk",
        directory / f"state-{ordinal}",
        f"127.71.0.{10 + ordinal}",
        {
            "LOCALSET_POD_NAME": f"state-west-{ordinal}",
            "LOCALSET_POD_DOMAIN": DOMAIN,
            "ZK_HEAP_SIZE": "128M",
            "ZK_CLIENT_PORT": str(CLIENT_PORT),
            "ZK_SERVER_PORT": "12888",
            "ZK_ELECTION_PORT": "13888",
            "ZK_ENSEMBLE": "state-west-0; state-west-1;state-west-2",
            **more,
        },
    )


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[list[Container]]:
    needs("k8szk")
    hosts = tmp_path / "hosts"
    names = [f"127.71.0.{10 + n} state-west-{n}.{DOMAIN} state-west-{n}\n" for n in range(3)]
    hosts.write_text("127.0.0.1 localhost\n" + "".join(names))
    members = [member(tmp_path, n, LOCALSET_HOSTS_FILE=str(hosts)) for n in range(3)]
    yield members
    for one in members:
        if one.process is not None:
            one.process.kill()
            one.process.wait()


def role(one: Container) -> str:
    found = re.search(r"^Mode: (\w+)$", one.run("zkServer.sh", "status").stdout, re.MULTILINE)
    return found.group(1) if found else ""


def bring_up(members: list[Container]) -> None:
    for one in members:
        # bash replaces itself by the last command, so that the process to end is the JVM, as in a container.
        one.start("bash", "-c", "zkGenConfig.sh && exec zkServer.sh start-foreground")
        wait_until(lambda one=one: one.run("zkOk.sh").returncode == 0, 20, "imok")  # type: ignore[misc]
    wait_until(
        lambda: sorted(map(role, members)) == ["follower", "follower", "leader"], 15, "one leader, two followers"
    )


def test_three_members_form_a_quorum_keep_data_and_survive_the_leader(ensemble: list[Container]) -> None:
    bring_up(ensemble)
    assert ensemble[0].run("zkCli.sh", "create", "/hello", "world").returncode == 0
    assert "world" in ensemble[2].run("zkCli.sh", "get", "/hello").stdout
    assert "zk_server_state" in ensemble[1].run("zkMetrics.sh").stdout

    leader = next(one for one in ensemble if role(one) == "leader")
    leader.end(signal.SIGKILL)
    others = [one for one in ensemble if one is not leader]
    assert leader.run("zkOk.sh").returncode == 1
    wait_until(lambda: sorted(map(role, others)) == ["follower", "leader"], 15, "a new leader")

    assert [one.end() for one in others] == [143, 143]

    bring_up(ensemble)
    assert "world" in ensemble[0].run("zkCli.sh", "get", "/hello").stdout
    for one in ensemble:
        one.end()


def test_the_configuration_is_what_the_environment_says(tmp_path: Path) -> None:
    one = member(tmp_path, 2, ZK_SYNC_LIMIT="2000", ZK_TICK_TIME="1000")
    done = one.run("zkGenConfig.sh")
    assert done.returncode == 0, done.stderr
    lines = (one.root / "opt/zookeeper/conf/zoo.cfg").read_text().splitlines()
    assert f"dataDir={one.root}/var/lib/zookeeper/data" in lines
    assert "clientPortAddress=127.71.0.12" in lines
    assert "syncLimit=2000" in lines
    assert "minSessionTimeout=2000" in lines
    assert [line for line in lines if line.startswith("server.")] == [
        f"server.{n + 1}=state-west-{n}.{DOMAIN}:12888:13888" for n in range(3)
    ]
    assert (one.root / "var/lib/zookeeper/data/myid").read_text() == "3\n"


def test_replicas_name_the_ensemble_when_no_list_is_given(tmp_path: Path) -> None:
    one = member(tmp_path, 0, ZK_ENSEMBLE="", ZK_REPLICAS="2", LOCALSET_POD_DOMAIN="", LOCALSET_ISOLATION="namespaces")
    assert one.run("zkGenConfig.sh").returncode == 0
    text = (one.root / "opt/zookeeper/conf/zoo.cfg").read_text()
    assert "server.1=state-west-0:12888:13888\nserver.2=state-west-1:12888:13888\n" in text
    assert "clientPortAddress" not in text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"LOCALSET_POD_NAME": "plain"}, "does not end in -<ordinal>"),
        ({"ZK_ENSEMBLE": ""}, "set ZK_ENSEMBLE"),
        ({"ZK_ENSEMBLE": "", "ZK_REPLICAS": "x"}, "ZK_REPLICAS is 'x', not a number"),
        ({"LOCALSET_POD_NAME": "state-west-3"}, "'state-west-3' is number 4, but the ensemble"),
    ],
)
def test_a_member_that_cannot_be_one_is_told_why(tmp_path: Path, change: dict[str, str], complaint: str) -> None:
    done = member(tmp_path, 0, **change).run("zkGenConfig.sh")
    assert done.returncode == 1
    assert complaint in done.stderr


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("arguments", [["-g", "daemon off;"], ["-g", "daemon off; worker_processes 2;"]])
def test_nginx_serves_its_volume_on_the_pods_address(tmp_path: Path, arguments: list[str]) -> None:
    needs("nginx")
    address = "127.71.0.20"
    port = free_port(address)
    one = Container("nginx", tmp_path, address, {"LOCALSET_PORTS": f"{port},9"})
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "index.html").write_text("from the claim")
    (one.root / "usr/share/nginx").mkdir(parents=True)
    (one.root / "usr/share/nginx/html").symlink_to(volume)
    one.start("nginx", *arguments)

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/", timeout=2) as response:
                assert response.headers["Content-Type"] == "text/html"
                return str(response.read().decode())
        except urllib.error.URLError:
            return ""

    try:
        wait_until(lambda: answer() == "from the claim", 10, "a page")
    finally:
        code = one.end(signal.SIGQUIT)
    assert code == 0
    assert '"GET / HTTP/1.1" 200' in one.log.read_text()


def test_busybox_applets_stand_before_the_hosts_programs(tmp_path: Path) -> None:
    needs("busybox")
    one = Container("busybox", tmp_path, "127.71.0.30", {})
    done = one.run("sh", "-c", "echo a-b | sed s/a/A/; command -v ls; [ 1 = 1 ] && exit 7")
    assert done.stdout == f"A-b\n{BUILTIN_DIRECTORY}/busybox/files/bin/ls\n"
    assert done.returncode == 7
    assert "BusyBox" in one.run("ls", "--help").stderr + one.run("ls", "--help").stdout
