"""Faults on purpose, in real Pods with networks of their own: each does what it says, is told, and is undone."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from tests.e2e.house import House, role, until

MANIFESTS = Path(__file__).parent / "manifests"
HOST_ADDRESS = "localset.dev/host-address"
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 80), 0.7).close()"


def _apply(house: House, manifest: str) -> None:
    house.up()
    text = (MANIFESTS / manifest).read_text()
    house.run("apply", "-f", "-", "--wait", "--timeout", "60", stdin=text)


def _told(house: House, reason: str) -> list[str]:
    return [event["message"] for event in house.json("events")["items"] if event["reason"] == reason]


def _reaches(house: House, source: str, target: str) -> bool:
    address = house.pod(target)["status"]["podIP"]
    return house.run("exec", source, "--", "python3", "-c", ASK, address, check=False).returncode == 0


def test_pods_are_cut_frozen_killed_and_filled_and_healed(make_house: Callable[..., House]) -> None:
    house = make_house(isolation="namespaces")
    _apply(house, "faults.yaml")

    elsewhere = house.run("-n", "elsewhere", "fault", "freeze", "frail-0", check=False)
    assert (elsewhere.returncode, "not found" in elsewhere.stderr) == (1, True), (
        "there is no such Pod in that namespace"
    )
    house.run("fault", "cut", "frail-0", "--from", "frail-1")
    assert not _reaches(house, "frail-0", "frail-1")
    assert not _reaches(house, "frail-1", "frail-0")
    assert "cut from frail-1" in house.run("fault", "list").stdout
    house.run("fault", "heal", "frail-0.cut")
    assert _reaches(house, "frail-0", "frail-1")
    assert _reaches(house, "frail-1", "frail-0")
    done = house.run("fault", "loss", "frail-0", "10", check=False)
    assert done.returncode == 0 or "sch_netem" in done.stderr

    leader = psutil.Process(house.leader(house.pod("frail-1")))
    house.run("fault", "freeze", "frail/1")
    assert leader.status() == psutil.STATUS_STOPPED
    until(lambda: not _is_ready(house, "frail-1"), 10, "a frozen Pod is not ready")
    house.run("fault", "heal", "frail/1")
    assert leader.status() != psutil.STATUS_STOPPED
    until(lambda: _is_ready(house, "frail-1"), 10, "ready again")

    house.run("fault", "kill", "frail/1")
    until(lambda: house.pod("frail-1")["status"]["containerStatuses"][0]["restartCount"] == 1, 10)
    uid = house.pod("frail-0")["metadata"]["uid"]
    house.run("fault", "fill", "frail/0")
    assert any("exceeds the limit" in text for text in _told(house, "Evicted"))
    until(lambda: (house.pod("frail-0") or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, 15, "a new Pod")
    assert {"cut from frail-1", "freeze", "kill"} <= set(_told(house, "FaultInjected"))
    assert {"cut from frail-1: healed", "freeze: healed"} <= set(_told(house, "FaultHealed"))


def _is_ready(house: House, name: str) -> bool:
    pod = house.pod(name)
    return bool(pod) and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


class Split:
    """The ensemble, reached from the host, whose way to a Pod no cut closes."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.addresses = {
            pod["metadata"]["name"]: pod["metadata"]["annotations"][HOST_ADDRESS]
            for pod in house.json("pods", "-l", "app=split")["items"]
        }

    def roles(self, *but: str) -> dict[str, str]:
        return {name: role(address) for name, address in self.addresses.items() if name not in but}

    def leader(self, *but: str) -> str:
        return next((name for name, found in self.roles(*but).items() if found == "leader"), "")

    def is_whole(self) -> bool:
        return sorted(self.roles().values()) == ["follower", "follower", "leader"]

    def write(self, name: str, path: str, value: bytes) -> None:
        client = KazooClient(hosts=f"{self.addresses[name]}:2181", timeout=4)
        try:
            client.start(timeout=4)
            client.create(path, value)
        finally:
            client.stop()
            client.close()

    def read(self, name: str, path: str) -> bytes:
        client = KazooClient(hosts=f"{self.addresses[name]}:2181", timeout=4)
        try:
            client.start(timeout=10)
            client.sync(path)
            return client.get(path)[0]
        finally:
            client.stop()
            client.close()


@pytest.mark.slow
def test_a_cut_leader_refuses_writes_another_takes_over_and_after_healing_the_data_agree(
    make_house: Callable[..., House],
) -> None:
    house = make_house(isolation="namespaces")
    _apply(house, "partition.yaml")
    split = Split(house)
    until(split.is_whole, 30, "one leader, two followers")
    old = split.leader()
    split.write(old, "/before", b"1")

    others = [name for name in split.addresses if name != old]
    house.run("fault", "cut", old, "--from", ",".join(others))
    new = until(lambda: split.leader(old), 30, "a new leader on the majority's side")
    assert new != old
    until(lambda: split.roles()[old] == "", 30, "the minority serves nobody")
    with pytest.raises((KazooException, KazooTimeoutError)):
        split.write(old, "/lost", b"never")
    split.write(new, "/during", b"2")

    house.run("fault", "heal", old)
    until(split.is_whole, 40, "three members again")
    assert split.roles()[old] == "follower"
    for name in split.addresses:
        assert split.read(name, "/before") == b"1"
        assert split.read(name, "/during") == b"2"
