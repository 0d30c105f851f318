"""Docker's official ZooKeeper image, as manifests from the web use it: ZOO_MY_ID and ZOO_SERVERS."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.example import needs_image
from tests.e2e.house import House, host_address, role, until

MANIFEST = Path(__file__).parent / "manifests" / "docker-zookeeper.yaml"


@pytest.mark.slow
def test_three_official_zookeepers_form_an_ensemble_that_outlives_its_leader(house: House) -> None:
    needs_image("zookeeper:3.8")
    house.up()
    house.run("apply", "-f", "-", "--wait", "--timeout", "90", stdin=MANIFEST.read_text())

    def roles() -> dict[str, str]:
        found = {p["metadata"]["name"]: host_address(p) for p in house.json("pods")["items"]}
        return {name: role(address) for name, address in found.items()}

    def is_ensemble() -> bool:
        return sorted(roles().values()) == ["follower", "follower", "leader"]

    until(is_ensemble, 60, "one leader, two followers")
    house.run("exec", "zookeeper-0", "--", "zkCli.sh", "create", "/proof", "kept")
    leader = next(name for name, what in roles().items() if what == "leader")
    pod = house.pod(leader)
    assert pod is not None
    os.kill(house.leader(pod), signal.SIGKILL)
    until(lambda: roles()[leader] != "leader" and is_ensemble(), 60, "a new leader, and the old one follows")
    assert "kept" in house.run("exec", leader, "--", "zkCli.sh", "get", "/proof").stdout
