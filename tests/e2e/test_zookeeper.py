"""The main job: three real ZooKeepers with an identity of their own, through everything that happens to them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from kazoo.client import KazooClient

from tests.e2e.house import EXAMPLES, SEED, House, host_address, role, until

NEW = EXAMPLES / "zookeeper" / "zookeeper.yaml"
OLD = EXAMPLES / "zookeeper" / "zookeeper-v1beta1.yaml"
FIVE = Path(__file__).parent / "manifests" / "five.yaml"


class Ensemble:
    """A set of ZooKeepers in a house."""

    def __init__(
        self, house: House, name: str, replicas: int = 3, namespace: str = "default", port: int = 2181
    ) -> None:
        self.house, self.name, self.replicas, self.namespace, self.port = house, name, replicas, namespace, port

    def addresses(self) -> dict[str, str]:
        items = self.house.json("pods", "-n", self.namespace)["items"]
        return {p["metadata"]["name"]: host_address(p) for p in items if host_address(p)}

    def roles(self) -> dict[str, str]:
        return {name: role(address, self.port) for name, address in self.addresses().items()}

    def has_quorum(self) -> bool:
        found = sorted(self.roles().values())
        return found == ["follower"] * (self.replicas - 1) + ["leader"]

    def is_ready(self) -> bool:
        status = self.house.json("sts", self.name, "-n", self.namespace)["status"]
        return status.get("readyReplicas") == self.replicas

    def client(self, ordinal: int) -> KazooClient:
        client = KazooClient(hosts=f"{self.addresses()[f'{self.name}-{ordinal}']}:{self.port}", timeout=10)
        client.start(timeout=20)
        return client

    def write(self, ordinal: int, path: str, value: bytes) -> None:
        client = self.client(ordinal)
        try:
            client.create(path, value)
        finally:
            client.stop()
            client.close()

    def read(self, ordinal: int, path: str) -> bytes:
        client = self.client(ordinal)
        try:
            client.sync(path)
            return client.get(path)[0]
        finally:
            client.stop()
            client.close()

    def leaders(self) -> dict[str, int]:
        """Return Pod → pid of its container's first process; probes come and go beside it."""
        pods = self.house.json("pods", "-n", self.namespace)["items"]
        return {pod["metadata"]["name"]: self.house.leader(pod) for pod in pods}

    def leader_pid(self) -> tuple[str, int]:
        """Return (Pod, pid of its JVM) of the present leader."""
        name = next(n for n, r in self.roles().items() if r == "leader")
        uid = self.house.pod(name, self.namespace)["metadata"]["uid"]
        for key, pid in self.house.pids().items():
            if key.startswith(uid) and Path(f"/proc/{pid}/comm").read_text().strip() == "java":
                return name, pid
        raise AssertionError(f"no JVM of {name}")


def _apply(house: House, manifest: Path) -> None:
    house.up()
    house.run("apply", "-f", "-", "--wait", "--timeout", "60", stdin=manifest.read_text())


def _life(house: House, manifest: Path, ensemble: Ensemble) -> None:
    """The proof that issue 4 asks for, on one ensemble."""
    _apply(house, manifest)
    assert ensemble.is_ready()
    until(ensemble.has_quorum, 20, "one leader, all others followers")
    last = ensemble.replicas - 1
    ensemble.write(0, "/proof", b"written through 0")
    assert ensemble.read(last, "/proof") == b"written through 0"
    addresses = ensemble.addresses()

    name, pid = ensemble.leader_pid()
    os.kill(pid, signal.SIGKILL)
    until(
        lambda: role(addresses[name], ensemble.port) in {"leader", "follower"} and ensemble.has_quorum(),
        30,
        "a new leader",
    )
    until(ensemble.is_ready, 30, "the killed member is Ready again")
    assert ensemble.addresses() == addresses
    assert ensemble.read(int(name.rpartition("-")[2]), "/proof") == b"written through 0"

    before = ensemble.leaders()
    os.kill(house.status()["daemon"]["pid"], signal.SIGKILL)
    until(lambda: house.run("status", check=False).returncode == 0, 20, "the keeper starts the daemon again")
    until(ensemble.is_ready, 20, "Ready after the daemon's restart")
    assert ensemble.leaders() == before
    assert all(map(psutil.pid_exists, before.values()))


@pytest.mark.parametrize("isolation", ["namespaces", "plain"])
def test_the_example_lives_through_a_killed_leader_and_a_killed_daemon(
    make_house: Callable[..., House], isolation: str
) -> None:
    house = make_house(isolation=isolation)
    ensemble = Ensemble(house, "zk")
    _life(house, NEW, ensemble)


def test_the_old_dialect_lives_as_well(house: House) -> None:
    _life(house, OLD, Ensemble(house, "zoo"))
    assert house.json("sts", "zoo")["spec"]["updateStrategy"]["type"] == "OnDelete"


@pytest.mark.skipif(not SEED.is_dir(), reason="the seed's files are not beside the checkout")
def test_the_users_own_file_runs_byte_for_byte(house: House) -> None:
    _life(house, SEED / "zookeeper.yaml", Ensemble(house, "zk"))


@pytest.mark.parametrize(
    "isolation",
    ["namespaces", pytest.param("loopback", marks=pytest.mark.slow), pytest.param("plain", marks=pytest.mark.slow)],
)
def test_an_ordinary_user_has_the_same_ensemble(
    make_house: Callable[..., House], ordinary_user: str, isolation: str
) -> None:
    house = make_house(user=ordinary_user, isolation=isolation)
    _life(house, NEW, Ensemble(house, "zk"))


def test_scaling_to_nothing_and_back_keeps_the_data(house: House) -> None:
    ensemble = Ensemble(house, "zk")
    _apply(house, NEW)
    until(ensemble.has_quorum, 20)
    ensemble.write(0, "/kept", b"still here")
    addresses = ensemble.addresses()
    house.run("scale", "sts", "zk", "--replicas=0")
    until(lambda: not house.json("pods")["items"], 30, "no Pod is left")
    house.run("scale", "sts", "zk", "--replicas=3")
    until(lambda: ensemble.is_ready() and ensemble.has_quorum(), 40, "three again")
    assert ensemble.addresses() == addresses
    assert ensemble.read(2, "/kept") == b"still here"


def test_down_and_up_bring_the_same_ensemble_back(house: House) -> None:
    ensemble = Ensemble(house, "zk")
    _apply(house, NEW)
    until(ensemble.has_quorum, 20)
    ensemble.write(1, "/kept", b"over down")
    addresses = ensemble.addresses()
    house.down()
    house.up()
    until(lambda: ensemble.is_ready() and ensemble.has_quorum(), 40, "three again")
    assert ensemble.addresses() == addresses
    assert ensemble.read(0, "/kept") == b"over down"


@pytest.mark.slow
def test_five_members_of_other_names_in_another_namespace(house: House) -> None:
    house.up()
    house.run("apply", "-f", str(FIVE), "--wait", "--timeout", "90")
    sets = house.json("sts", "-A")["items"]
    assert len(sets) == 1
    metadata, spec = sets[0]["metadata"], sets[0]["spec"]
    ports = {p["name"]: p["containerPort"] for p in spec["template"]["spec"]["containers"][0]["ports"]}
    port = ports.get("client") or min(ports.values())
    ensemble = Ensemble(house, metadata["name"], 5, metadata["namespace"], port)
    until(ensemble.has_quorum, 30)
    ensemble.write(0, "/proof", b"five")
    assert ensemble.read(4, "/proof") == b"five"
