"""Kinds that are served without a controller behind them, and what is measured when asked, over HTTP."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio
from apiserver_house import House, open_house, open_registry

PODS = "/api/v1/namespaces/default/pods"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        yield opened


async def test_metrics_are_measured_for_the_pods_that_are_asked_for(house: House) -> None:
    for name in ("a", "b"):
        spec = {"containers": [{"name": "c", "image": "host", "command": ["true"]}]}
        pod = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        assert (await house.call("POST", PODS, pod))[0] == 201
    base = "/apis/metrics.k8s.io/v1beta1"
    _, listed = await house.call("GET", f"{base}/pods?labelSelector=app%3Da")
    assert (listed["kind"], listed["apiVersion"]) == ("PodMetricsList", "metrics.k8s.io/v1beta1")
    (item,) = listed["items"]
    assert (item["metadata"]["name"], item["metadata"]["labels"]) == ("a", {"app": "a"})
    assert item["containers"] == [{"name": "c", "usage": {"cpu": "250000000n", "memory": "1024Ki"}}]
    assert item["window"] == "0.500s"
    _, one = await house.call("GET", f"{base.replace('beta1', '')}/namespaces/default/pods/b")
    assert (one["kind"], one["apiVersion"]) == ("PodMetrics", "metrics.k8s.io/v1")
    assert (await house.call("GET", f"{base}/namespaces/default/pods/x"))[0] == 404
    assert (await house.call("POST", f"{base}/namespaces/default/pods", {}))[0] == 405
    _, nodes = await house.call("GET", f"{base}/nodes")
    assert [n["usage"] for n in nodes["items"]] == [{"cpu": "1500000000n", "memory": "1048576Ki"}] * len(nodes["items"])


async def test_a_workload_that_is_not_run_here_is_readable_and_empty_and_each_write_says_what_to_use(
    house: House,
) -> None:
    base = "/apis/apps/v1/namespaces/default/deployments"
    status, listed = await house.call("GET", base)
    assert (status, listed["kind"], listed["items"]) == (200, "DeploymentList", [])
    for method, path in (("POST", base), ("PUT", f"{base}/d"), ("PATCH", f"{base}/d")):
        headers = MERGE if method == "PATCH" else {}
        status, refused = await house.call(method, path, {"metadata": {"name": "d"}}, headers=headers)
        assert (status, refused["reason"]) == (422, "Invalid")
        assert "write it as a StatefulSet" in refused["message"]
    assert (await house.call("GET", f"{base}/d"))[0] == 404
    assert (await house.call("GET", f"{base}/d/scale"))[1]["message"] == 'deployments.apps "d" not found'


async def test_what_has_no_effect_is_said_when_it_is_made_and_when_its_content_changes(house: House) -> None:
    base = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    policy = {"metadata": {"name": "p"}, "spec": {"podSelector": {}}}
    for method, path, body, is_said in (
        ("POST", base, policy, True),
        ("PATCH", f"{base}/p", {"metadata": {"labels": {"a": "b"}}}, False),
        ("PATCH", f"{base}/p", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, True),
    ):
        async with house.session.request(method, path, json=body, headers=MERGE if method == "PATCH" else {}) as answer:
            assert answer.status in {200, 201}
            assert ("no effect here" in answer.headers.get("Warning", "")) is is_said
            generation = (await answer.json())["metadata"]["generation"]
    assert generation == 2


async def test_events_read_the_same_in_both_groups(house: House) -> None:
    old, new = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "message": "m", "type": "Normal"}
    assert (await house.call("POST", old, event))[0] == 201
    _, shown = await house.call("GET", f"{new}/e")
    assert (shown["apiVersion"], shown["regarding"], shown["note"]) == ("events.k8s.io/v1", about, "m")
    assert "involvedObject" not in shown
    status, refused = await house.call("POST", new, {"metadata": {"name": "f"}, "regarding": about})
    assert (status, refused["details"]["causes"][0]["field"]) == (422, "eventTime")
    newer = {
        "metadata": {"name": "f"}, "regarding": about, "note": "n", "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "x.io/c", "reportingInstance": "c-1", "action": "Do", "reason": "R", "type": "Warning",
    }  # fmt: skip
    assert (await house.call("POST", new, newer))[0] == 201
    assert (await house.call("GET", f"{old}/f"))[1]["message"] == "n"
    _, listed = await house.call("GET", f"{new}?fieldSelector=regarding.name%3Dp,type%3DWarning")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["f"]
    assert (await house.call("GET", f"{new}?fieldSelector=involvedObject.name%3Dp"))[0] == 400
    assert (await house.call("DELETE", f"{new}/f"))[1]["details"]["group"] == "events.k8s.io"
    assert (await house.call("GET", f"{old}/f"))[0] == 404
