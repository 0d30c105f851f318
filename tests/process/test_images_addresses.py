"""What the built-in images' scripts make of a manifest's words: addresses above all. The program itself is a recorder
that prints its arguments; the real ones are run by tests/e2e/test_example_*.py."""

import os
import subprocess
from pathlib import Path

import pytest

from localset.images.catalogue import BUILTIN_DIRECTORY

IP = "127.71.0.40"
RECORDER = """#!/bin/sh
case "$*" in
--version) echo "Redis server v=7.0.15 sha=0" ;;
*) printf '%s\\n' "$@"; env | grep -E '^ETCD' | sort ;;
esac
"""


class Recorded:
    """A container's surroundings at level loopback, with a recorder for the host's program."""

    def __init__(self, directory: Path, image: str) -> None:
        self.directory = directory
        self.bin = BUILTIN_DIRECTORY / image / "files" / "bin"
        self.host = directory / "host"
        self.host.mkdir()
        shell = directory / "root" / "opt" / "localset" / "shell"
        shell.parent.mkdir(parents=True)
        shell.symlink_to(BUILTIN_DIRECTORY / "_shell")
        self.root = directory / "root"

    def program(self, name: str) -> None:
        path = self.host / name
        path.write_text(RECORDER)
        path.chmod(0o755)

    def run(self, *command: str, isolation: str = "loopback", **variables: str) -> list[str]:
        environment = {
            "PATH": f"{self.bin}:{self.host}:/usr/bin:/bin",
            "LOCALSET_ROOT": str(self.root),
            "LOCALSET_ISOLATION": isolation,
            "POD_IP": IP,
            "TMPDIR": str(self.directory),
            **variables,
        }
        done = subprocess.run(
            command, env=environment, cwd=self.root, capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (
            [],
            {},
            [
                f"--listen-client-urls=http://{IP}:2379",
                f"--listen-peer-urls=http://{IP}:2380",
                f"--advertise-client-urls=http://{IP}:2379",
            ],
        ),
        (
            [
                "--listen-client-urls",
                "https://0.0.0.0:4001,http://localhost:4002",
                "--listen-peer-urls=http://[::]:7001",
            ],
            {"ETCD_ADVERTISE_CLIENT_URLS": "http://me:4001"},
            [
                "--listen-client-urls",
                f"https://{IP}:4001,http://{IP}:4002",
                f"--listen-peer-urls=http://{IP}:7001",
                "ETCD_ADVERTISE_CLIENT_URLS=http://me:4001",
            ],
        ),
        (
            ["-listen-client-urls=http://127.9.9.9:2379", "--advertise-client-urls=http://0.0.0.0:1"],
            {"ETCD_LISTEN_PEER_URLS": "http://127.0.0.1:2380"},
            [
                "-listen-client-urls=http://127.9.9.9:2379",
                "--advertise-client-urls=http://0.0.0.0:1",
                f"ETCD_LISTEN_PEER_URLS=http://{IP}:2380",
            ],
        ),
    ],
)
def test_etcd_listens_on_the_pods_address(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], expected: list[str]
) -> None:
    box = Recorded(tmp_path, "etcd")
    box.program("etcd")
    assert box.run("etcd", *arguments, **variables) == expected


def test_etcd_in_a_network_of_its_own_is_left_alone(tmp_path: Path) -> None:
    box = Recorded(tmp_path, "etcd")
    box.program("etcd")
    words = ["--listen-client-urls=http://0.0.0.0:2379", "--name", "a b"]
    assert box.run("etcd", *words, isolation="namespaces") == words


def test_etcd_reads_a_copy_of_its_configuration(tmp_path: Path) -> None:
    box = Recorded(tmp_path, "etcd")
    box.program("etcd")
    configuration = box.root / "etcd.yml"
    configuration.write_text(
        "name: x\nlisten-client-urls: http://0.0.0.0:2379,http://127.0.0.1:1\nadvertise-client-urls: y\n"
    )
    flag, copy = box.run("etcd", "--config-file", "/etcd.yml")
    assert flag == "--config-file"
    assert Path(copy).read_text().split("\n\n") == [
        f"name: x\nlisten-client-urls: http://{IP}:2379,http://{IP}:1\nadvertise-client-urls: y\n".rstrip("\n"),
        f"listen-peer-urls: http://{IP}:2380\n",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["get", "a"], ["get", "a", f"ETCDCTL_ENDPOINTS={IP}:2379"]),
        (["--endpoints", "127.0.0.1:2379,other:1", "get"], ["--endpoints", f"{IP}:2379,other:1", "get"]),
        (["--endpoints=http://localhost:2379", "get"], [f"--endpoints=http://{IP}:2379", "get"]),
    ],
)
def test_etcdctl_finds_the_pods_own_member(tmp_path: Path, arguments: list[str], expected: list[str]) -> None:
    box = Recorded(tmp_path, "etcd")
    box.program("etcdctl")
    assert box.run("etcdctl", *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "configuration", "expected"),
    [
        ([], "", ["--bind-source-addr", IP, "--bind", IP, "--protected-mode", "no"]),
        (
            ["--bind", "127.0.0.1", "::1", "--port", "7"],
            "",
            ["--port", "7", "--bind-source-addr", IP, "--bind", IP, "--protected-mode", "no"],
        ),
        (["--bind", "127.9.9.9"], "", ["--bind", "127.9.9.9", "--protected-mode", "no"]),
        (["conf"], "bind * -::*\nprotected-mode yes\n", ["conf", "--bind-source-addr", IP, "--bind", IP]),
        (["conf"], "bind 127.9.9.9\n", ["conf", "--bind", "127.9.9.9", "--protected-mode", "no"]),
    ],
)
def test_redis_listens_on_the_pods_address(
    tmp_path: Path, arguments: list[str], configuration: str, expected: list[str]
) -> None:
    box = Recorded(tmp_path, "redis")
    box.program("redis-server")
    (box.root / "conf").write_text(configuration)
    assert box.run("redis-server", *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ping"], ["-h", IP, "ping"]),
        (["-p", "7", "-h", "localhost", "set", "-h", "x"], ["-p", "7", "-h", IP, "set", "-h", "x"]),
        (["-h", "redis-1.redis", "ping"], ["-h", "redis-1.redis", "ping"]),
        (["-a", "-h", "ping"], ["-h", IP, "-a", "-h", "ping"]),
    ],
)
def test_redis_cli_finds_the_pods_own_server(tmp_path: Path, arguments: list[str], expected: list[str]) -> None:
    box = Recorded(tmp_path, "redis")
    box.program("redis-cli")
    assert box.run("redis-cli", *arguments) == expected


def test_nats_reads_a_copy_of_its_configuration(tmp_path: Path) -> None:
    box = Recorded(tmp_path, "nats")
    box.program("nats-server")
    (box.root / "opt/localset/nats/run").mkdir(parents=True)
    (box.root / "etc").mkdir()
    (box.root / "etc/n.conf").write_text(
        'http: 0.0.0.0:8222\n# cluster { 0.0.0.0\ncluster {\n  listen: 6222\n  routes: ["nats://a:1"]\n}\n'
        "leafnodes { port: 7422 }\naccounts { cluster { x: 1 } }\ninclude ./more.conf\n"
        'jetstream { store_dir: "/data" }\n'
    )
    words = box.run("nats-server", "-c", "/etc/n.conf", "--cluster", "nats://0.0.0.0:6222")
    copy = box.root / "opt/localset/nats/run/n.conf"
    assert words == ["-c", str(copy), "--cluster", f"nats://{IP}:6222", "--addr", IP]
    text = copy.read_text()
    assert f'http: {IP}:8222\n# cluster {{ 0.0.0.0\ncluster {{\n  host: "{IP}"\n\n  listen: {IP}:6222\n' in text
    assert f'leafnodes {{\n  host: "{IP}"\n port: 7422 }}\naccounts {{ cluster {{ x: 1 }} }}\n' in text
    assert f"include {box.root}/etc/./more.conf" in text
    assert f'store_dir: "{box.root}/data"' in text


@pytest.mark.parametrize(
    ("arguments", "change", "complaint"),
    [
        (["--servers=3", "--frobnicate=1"], {}, "--frobnicate=1 is not a flag"),
        (["--servers", "3"], {}, "--servers is not a flag of this program, or has no =value"),
        (["--servers=2"], {"LOCALSET_POD_NAME": "zk-2"}, "'zk-2' is number 3"),
    ],
)
def test_start_zookeeper_says_what_is_wrong(
    tmp_path: Path, arguments: list[str], change: dict[str, str], complaint: str
) -> None:
    program = BUILTIN_DIRECTORY / "k8szk/files/bin/start-zookeeper"
    environment = {"PATH": os.environ["PATH"], "LOCALSET_ROOT": str(tmp_path), "LOCALSET_POD_NAME": "zk-0", **change}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_start_zookeeper_configures_from_flags_and_name(tmp_path: Path) -> None:
    java = tmp_path / "java/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text(RECORDER)
    java.chmod(0o755)
    jar = tmp_path / "zk/zookeeper-3.8.0.jar"
    jar.parent.mkdir()
    jar.touch()
    program = BUILTIN_DIRECTORY / "k8szk/files/bin/start-zookeeper"
    environment = {
        "PATH": os.environ["PATH"],
        "LOCALSET_ROOT": str(tmp_path),
        "LOCALSET_ISOLATION": "loopback",
        "POD_IP": IP,
        "LOCALSET_POD_NAME": "zk-1",
        "LOCALSET_POD_DOMAIN": "zk-hs.default.svc.cluster.local",
        "JAVA_HOME": str(tmp_path / "java"),
        "ZOOKEEPER_HOME": str(tmp_path / "zk"),
    }
    flags = [
        "--servers=3",
        "--data_dir=/d",
        "--data_log_dir=/d/log",
        "--conf_dir=/c",
        "--client_port=12181",
        "--heap=99M",
    ]
    done = subprocess.run([program, *flags], env=environment, capture_output=True, text=True, check=True)
    assert "-Xmx99M" in done.stdout
    settings = (tmp_path / "c/zoo.cfg").read_text().splitlines()
    assert {
        f"dataDir={tmp_path}/d",
        "clientPort=12181",
        f"clientPortAddress={IP}",
        "server.3=zk-2.zk-hs.default.svc.cluster.local:2888:3888",
        "syncLimit=5",
    } <= set(settings)
    assert (tmp_path / "d/myid").read_text() == "2\n"


def test_apache_reads_a_copy_of_its_configuration(tmp_path: Path) -> None:
    box = Recorded(tmp_path, "httpd")
    box.program("apache2")
    (box.root / "opt/localset/httpd/run").mkdir(parents=True)
    conf = box.root / "usr/local/apache2/conf"
    conf.mkdir(parents=True)
    (conf / "httpd.conf").write_text(
        "Listen 80\nlisten 0.0.0.0:81\nListen 127.9.9.9:82\nLoadModule no_module modules/mod_no.so\n"
        "CustomLog /proc/self/fd/1 common\nErrorLog /proc/self/fd/2\n"
    )
    words = box.run("httpd-foreground", LOCALSET_POD_NAME="web-0")
    text = Path(words[1]).read_text()
    assert text.startswith(
        f'Listen {IP}:80\nListen {IP}:81\nListen 127.9.9.9:82\nCustomLog "|/bin/cat" common\nErrorLog "|/bin/cat"\n'
    )
    assert "ServerName web-0" in text


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    box = Recorded(tmp_path, "nats")
    environment = {"PATH": f"{box.bin}:/bin", "LOCALSET_ROOT": str(box.root), "LOCALSET_ISOLATION": "loopback"}
    script = '. "$LOCALSET_ROOT/opt/localset/shell/pod.sh"; pod_program no-such-program its-package'
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the host has no no-such-program: install the package its-package" in done.stderr
