"""examples/etcd: three real etcd members."""

import pytest

from tests.e2e.example import Example
from tests.e2e.house import House, until


@pytest.fixture
def etcd(house: House) -> Example:
    return Example(house, "etcd", "quay.io/coreos/etcd")


def put(etcd: Example, pod: str, key: str, value: str) -> None:
    until(lambda: "OK" in etcd.run(pod, "etcdctl", "put", key, value, check=False), 30, f"a write through {pod}")


def get(etcd: Example, pod: str, key: str) -> str:
    return etcd.run(pod, "etcdctl", "get", "--print-value-only", key).strip()


def leader_of(etcd: Example) -> str:
    """Return the Pod whose member leads."""
    lines = etcd.run("etcd-0", "etcdctl", "endpoint", "status", "--cluster", check=False).splitlines()
    leading = [line.split(", ")[0] for line in lines if line.split(", ")[4:5] == ["true"]]
    return leading[0].removeprefix("http://").partition(".")[0] if leading else ""


def test_etcd_answers_by_name_and_outlives_its_leader(etcd: Example) -> None:
    # The last members to go try to hand on their leadership, for seven seconds, to nobody.
    etcd.manifest = etcd.manifest.replace("terminationGracePeriodSeconds: 15", "terminationGracePeriodSeconds: 2")
    etcd.apply()
    etcd.resolves()
    members = etcd.run("etcd-1", "etcdctl", "member", "list")
    assert all(f"http://etcd-{n}.etcd:2379" in members for n in range(3))
    put(etcd, "etcd-0", "greeting", "hello")
    assert get(etcd, "etcd-2", "greeting") == "hello"
    leader = until(lambda: leader_of(etcd), 20, "a leader")
    etcd.kill(leader)
    assert get(etcd, leader, "greeting") == "hello"
    etcd.delete()


@pytest.mark.slow
def test_etcd_rolls_and_loses_a_member_for_a_while(etcd: Example) -> None:
    etcd.apply()
    put(etcd, "etcd-0", "kept", "yes")
    etcd.roll()
    assert get(etcd, "etcd-1", "kept") == "yes"
    etcd.scale(2)
    put(etcd, "etcd-0", "without", "one")
    etcd.scale(3)
    until(lambda: get(etcd, "etcd-2", "without") == "one", 30, "the third has caught up")
    etcd.delete()
    etcd.apply()
    assert get(etcd, "etcd-0", "kept") == "yes"
