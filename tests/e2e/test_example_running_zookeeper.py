"""The operations of Kubernetes' tutorial "Running ZooKeeper", on examples/zookeeper/start-zookeeper.yaml."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.example import needs_image
from tests.e2e.hands import Hands, ids
from tests.e2e.house import EXAMPLES, House, until

ZK = (EXAMPLES / "zookeeper" / "start-zookeeper.yaml").read_text()
APP = "app=zk"
DOMAIN = "zk-hs.default.svc.cluster.local"

pytestmark = pytest.mark.slow


@pytest.fixture(params=["localset", "kubectl"])
def hands(request: pytest.FixtureRequest, make_house: Callable[..., House], tmp_path: Path) -> Hands:
    needs_image("registry.k8s.io/kubernetes-zookeeper")
    house = make_house()
    house.up()
    hands = Hands(house, request.param, tmp_path)
    hands.run("apply", "-f", "-", stdin=ZK)
    hands.wait_until_ready("zk", 3)
    return hands


def client(hands: Hands, pod: str, *words: str) -> str:
    """Return what zkCli.sh prints inside a Pod; the quorum may be a moment away."""
    answers: list[str] = []

    def is_answered() -> bool:
        try:
            answers.append(hands.run("exec", pod, "--", "zkCli.sh", *words))
        except AssertionError:
            return False
        return True

    until(is_answered, 60, f"zkCli.sh {words} in {pod}")
    return answers[-1]


def test_members_take_their_identity_from_their_names(hands: Hands) -> None:
    for n in range(3):
        assert hands.run("exec", f"zk-{n}", "--", "hostname").strip() == f"zk-{n}"
        assert hands.run("exec", f"zk-{n}", "--", "cat", "/var/lib/zookeeper/data/myid").strip() == str(n + 1)
        assert hands.run("exec", f"zk-{n}", "--", "hostname", "-f").strip() == f"zk-{n}.{DOMAIN}"
    settings = hands.run("exec", "zk-0", "--", "cat", "/opt/zookeeper/conf/zoo.cfg").splitlines()
    assert {
        "clientPort=2181",
        "dataDir=/var/lib/zookeeper/data",
        "dataLogDir=/var/lib/zookeeper/data/log",
        "tickTime=2000",
        "initLimit=10",
        "syncLimit=5",
        "maxClientCnxns=60",
        "minSessionTimeout=4000",
        "maxSessionTimeout=40000",
        "autopurge.snapRetainCount=3",
        "autopurge.purgeInterval=12",
        *(f"server.{n + 1}=zk-{n}.{DOMAIN}:2888:3888" for n in range(3)),
    } <= set(settings)
    assert "log4j.rootLogger=INFO" in hands.run("exec", "zk-0", "--", "cat", "/usr/etc/zookeeper/log4j.properties")
    assert hands.run("logs", "zk-0", "--tail", "20").count("\n") == 20


def test_what_was_written_outlives_the_set_and_a_killed_process(hands: Hands) -> None:
    client(hands, "zk-0", "create", "/hello", "world")
    assert "world" in client(hands, "zk-1", "get", "/hello")
    hands.run("delete", "statefulset", "zk")
    until(lambda: not hands.pods(APP), 90, "no Pod is left")
    hands.run("apply", "-f", "-", stdin=ZK)
    hands.wait_until_ready("zk", 3)
    assert "world" in client(hands, "zk-2", "get", "/hello")

    before = hands.pods(APP)["zk-0"]
    os.kill(hands.house.leader(before), signal.SIGKILL)

    def is_back() -> bool:
        status = hands.pods(APP)["zk-0"]["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and status["ready"]

    until(is_back, 90, "zk-0 is restarted in place")
    assert ids(hands.pods(APP))["zk-0"] == before["metadata"]["uid"]
    assert "world" in client(hands, "zk-0", "get", "/hello")


def test_a_roll_out_has_a_history_and_is_undone(hands: Hands) -> None:
    cpu = "/spec/template/spec/containers/0/resources/requests/cpu"
    hands.patch("zk", [{"op": "replace", "path": cpu, "value": "0.3"}])
    hands.run("rollout", "status", "sts/zk", "--timeout=120s")
    hands.wait_until_ready("zk", 3)
    template = "{{(index .spec.containers 0).resources.requests.cpu}}"
    shown = hands.run("get", "pod", "zk-0", *([] if hands.who == "localset" else ["--template", template]))
    assert hands.who == "localset" or shown == "300m"
    history = hands.run("rollout", "history", "sts/zk")
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]
    hands.run("rollout", "undo", "sts/zk")
    hands.run("rollout", "status", "sts/zk", "--timeout=120s")
    hands.wait_until_ready("zk", 3)
    found = hands.pods(APP)["zk-0"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    assert found == "500m"
