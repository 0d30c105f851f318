"""The operations of Kubernetes' tutorial "StatefulSet Basics", on examples/nginx, by localset and by kubectl itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.example import needs_image
from tests.e2e.hands import Hands, ids, images, order_of
from tests.e2e.house import EXAMPLES, House, until

WEB = (EXAMPLES / "nginx" / "web.yaml").read_text()
APP = "app=nginx"
IMAGE = "/spec/template/spec/containers/0/image"

pytestmark = pytest.mark.slow


@pytest.fixture(params=["localset", "kubectl"])
def hands(request: pytest.FixtureRequest, make_house: Callable[..., House], tmp_path: Path) -> Hands:
    needs_image("registry.k8s.io/nginx-slim")
    house = make_house()
    house.up()
    return Hands(house, request.param, tmp_path)


def start(hands: Hands) -> None:
    hands.run("create", "-f", "-", stdin=WEB)
    hands.wait_until_ready("web", 2)


def write_pages(hands: Hands, count: int) -> None:
    for n in range(count):
        hands.run("exec", f"web-{n}", "--", "sh", "-c", 'echo "$(hostname)" > /usr/share/nginx/html/index.html')


def serves_pages(hands: Hands, count: int) -> None:
    """Ask each web server inside its Pod; on its own address, for localhost is the host's at this level."""
    for n in range(count):
        page = hands.run("exec", f"web-{n}", "--", "sh", "-c", 'curl -sf "http://$POD_IP/"')
        assert page.strip() == f"web-{n}"


def use(hands: Hands, tag: str) -> None:
    hands.patch("web", [{"op": "replace", "path": IMAGE, "value": f"registry.k8s.io/nginx-slim:{tag}"}])


def partition(hands: Hands, ordinal: int) -> None:
    rule = {"type": "RollingUpdate", "rollingUpdate": {"partition": ordinal}}
    hands.patch("web", {"spec": {"updateStrategy": rule}})


def delete_pod(hands: Hands, name: str, count: int) -> None:
    """Delete a Pod and wait until another of its name is Ready."""
    before = ids(hands.pods(APP))[name]
    hands.run("delete", "pod", name)
    until(lambda: ids(hands.pods(APP)).get(name, before) != before, 60, f"a new {name}")
    hands.wait_until_ready("web", count)


def test_pods_come_in_order_with_names_that_stay(hands: Hands, tmp_path: Path) -> None:
    log = tmp_path / "watched"
    with hands.watching(APP, log):
        start(hands)
        ready, second = order_of(log, r"^web-0\s+1/1", r"^web-1\s")
    assert ready < second
    for n in range(2):
        assert hands.run("exec", f"web-{n}", "--", "hostname").strip() == f"web-{n}"
    assert hands.run("exec", "web-0", "--", "getent", "hosts", "web-1.nginx").split()[0]

    before = hands.pods(APP)
    write_pages(hands, 2)
    serves_pages(hands, 2)
    hands.run("delete", "pods", "-l", APP)
    until(lambda: set(ids(hands.pods(APP)).values()).isdisjoint(ids(before).values()), 60, "all are new")
    hands.wait_until_ready("web", 2)
    assert sorted(hands.pods(APP)) == ["web-0", "web-1"]
    serves_pages(hands, 2)
    claims = hands.run("get", "pvc", "-l", APP)
    assert claims.count("Bound") == 2


def test_scaling_keeps_the_claims_of_the_pods_that_go(hands: Hands) -> None:
    start(hands)
    hands.run("scale", "sts", "web", "--replicas=5")
    hands.wait_until_ready("web", 5)
    hands.patch("web", {"spec": {"replicas": 3}})
    hands.wait_until_ready("web", 3)
    assert sorted(hands.pods(APP)) == ["web-0", "web-1", "web-2"]
    assert hands.run("get", "pvc", "-l", APP).count("Bound") == 5


def test_an_update_rolls_stages_and_goes_ahead_by_a_canary(hands: Hands, tmp_path: Path) -> None:
    start(hands)
    hands.run("scale", "sts", "web", "--replicas=3")
    hands.wait_until_ready("web", 3)
    log = tmp_path / "watched"
    with hands.watching(APP, log):
        use(hands, "0.21")
        hands.run("rollout", "status", "sts/web", "--timeout=60s")
        hands.wait_until_ready("web", 3)
        last, first = order_of(log, r"^web-2\s.*Terminating", r"^web-0\s.*Terminating")
    assert last < first
    assert set(images(hands.pods(APP)).values()) == {"0.21"}

    partition(hands, 3)
    use(hands, "0.24")
    delete_pod(hands, "web-2", 3)
    assert images(hands.pods(APP))["web-2"] == "0.21", "a staged update changes nobody"

    partition(hands, 2)
    until(lambda: images(hands.pods(APP)).get("web-2") == "0.24", 60, "the canary")
    hands.wait_until_ready("web", 3)
    delete_pod(hands, "web-1", 3)
    assert images(hands.pods(APP)) == {"web-0": "0.21", "web-1": "0.21", "web-2": "0.24"}

    partition(hands, 0)
    until(lambda: set(images(hands.pods(APP)).values()) == {"0.24"}, 60, "the phased roll-out ends")
    hands.wait_until_ready("web", 3)


def test_orphans_are_adopted_and_pages_outlive_a_cascading_delete(hands: Hands) -> None:
    start(hands)
    hands.run("scale", "sts", "web", "--replicas=3")
    hands.wait_until_ready("web", 3)
    write_pages(hands, 3)
    before = ids(hands.pods(APP))
    hands.run("delete", "statefulset", "web", "--cascade=orphan")
    assert ids(hands.pods(APP)) == before
    hands.run("delete", "pod", "web-0")
    until(lambda: "web-0" not in hands.pods(APP), 30, "nobody brings web-0 back")

    hands.run("apply", "-f", "-", stdin=WEB)
    hands.wait_until_ready("web", 2)
    after = ids(hands.pods(APP))
    assert sorted(after) == ["web-0", "web-1"]
    assert after["web-1"] == before["web-1"], "adopted, not made anew"
    assert after["web-0"] != before["web-0"]
    serves_pages(hands, 2)

    hands.run("delete", "statefulset", "web")
    until(lambda: not hands.pods(APP), 60, "the Pods go with their set")
    hands.run("delete", "service", "nginx")
    start(hands)
    serves_pages(hands, 2)


def test_a_parallel_set_waits_for_nobody(hands: Hands, tmp_path: Path) -> None:
    log = tmp_path / "watched"
    with hands.watching(APP, log):
        parallel = WEB.replace("  replicas: 2\n", "  replicas: 2\n  podManagementPolicy: Parallel\n")
        hands.run("apply", "-f", "-", stdin=parallel)
        hands.wait_until_ready("web", 2)
        ready, second = order_of(log, r"^web-\d\s+1/1", r"^web-1\s")
    assert second < ready
    hands.run("scale", "statefulset/web", "--replicas=4")
    hands.wait_until_ready("web", 4)
    hands.run("delete", "sts", "web")
    until(lambda: not hands.pods(APP), 60)
    hands.run("delete", "svc", "nginx")
    hands.run("delete", "pvc", "-l", APP)
    assert hands.house.json("pvc")["items"] == []
