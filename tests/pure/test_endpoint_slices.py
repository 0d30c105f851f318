"""EndpointSlices: what stands in them, and that a change writes no more than it must."""

from typing import Any

from localset.controllers.endpoints.slicing import (
    FROM_ENDPOINTS,
    FROM_PODS,
    Create,
    Delete,
    Update,
    groups_from_endpoints,
    groups_from_pods,
    plan_slices,
)

SERVICE = {
    "metadata": {"name": "zk", "namespace": "default", "uid": "s1", "labels": {"app": "zk"}},
    "spec": {"clusterIP": "None", "selector": {"app": "zk"}, "ports": [{"name": "client", "port": 2181}]},
}


def pods(count: int, **status: Any) -> list[dict[str, Any]]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return [
        {
            "metadata": {"name": f"zk-{i:03}", "namespace": "default", "uid": f"p{i}"},
            "spec": {"hostname": f"zk-{i:03}", "subdomain": "zk", "nodeName": "here"},
            "status": {"podIP": f"127.1.{i // 250}.{i % 250 + 1}", "phase": "Running", **ready, **status},
        }
        for i in range(count)
    ]


def stored(steps: list[Any]) -> list[dict[str, Any]]:
    made = [step.slice for step in steps if isinstance(step, Create)]
    for i, one in enumerate(made):
        one["metadata"] = {**one["metadata"], "name": f"zk-{i}", "uid": f"u{i}"}
    return made


def test_endpoints_say_what_their_pods_are() -> None:
    leaving = pods(1)[0]
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    unready = pods(1, conditions=[])[0]
    for pod, conditions in (
        (pods(1)[0], {"ready": True, "serving": True, "terminating": False}),
        (unready, {"ready": False, "serving": False, "terminating": False}),
        (leaving, {"ready": False, "serving": True, "terminating": True}),
    ):
        ((ports, (endpoint,)),) = groups_from_pods(SERVICE, [pod]).items()
        assert ports == (("client", 2181, "TCP"),)
        assert endpoint == {
            "addresses": ["127.1.0.1"],
            "conditions": conditions,
            "hostname": "zk-000",
            "nodeName": "here",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "zk-000", "uid": "p0"},
        }
    assert groups_from_pods(SERVICE, pods(3, phase="Failed")) == {}


def test_slices_carry_the_labels_and_the_owner_that_clients_look_for() -> None:
    (step,) = plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, pods(2)), [])
    assert isinstance(step, Create)
    metadata = step.slice["metadata"]
    assert metadata["generateName"] == "zk-"
    assert metadata["labels"] == {
        "app": "zk",
        "kubernetes.io/service-name": "zk",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert metadata["ownerReferences"][0]["uid"] == "s1"


def test_a_hundred_and_one_pods_are_two_slices_and_one_change_writes_one_of_them() -> None:
    everyone = pods(101)
    slices = stored(plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, everyone), []))
    assert [len(s["endpoints"]) for s in slices] == [100, 1]
    assert plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, everyone), slices) == []
    everyone[7]["status"]["conditions"] = []
    (step,) = plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, everyone), slices)
    assert isinstance(step, Update)
    assert step.slice["metadata"]["name"] == "zk-0"
    assert [e["targetRef"]["uid"] for e in step.slice["endpoints"] if not e["conditions"]["ready"]] == ["p7"]


def test_new_pods_fill_the_slice_with_room_and_empty_slices_go() -> None:
    slices = stored(plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, pods(101)), []))
    (step,) = plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, pods(103)), slices)
    assert isinstance(step, Update)
    assert len(step.slice["endpoints"]) == 3
    (step,) = plan_slices(SERVICE, FROM_PODS, groups_from_pods(SERVICE, pods(100)), slices)
    assert isinstance(step, Delete)
    assert step.slice["metadata"]["name"] == "zk-1"


def test_a_service_without_pods_keeps_one_empty_slice() -> None:
    (step,) = plan_slices(SERVICE, FROM_PODS, {}, [])
    assert isinstance(step, Create)
    assert (step.slice["endpoints"], step.slice["ports"]) == ([], [])
    assert plan_slices(SERVICE, FROM_PODS, {}, stored([step])) == []


def test_a_users_endpoints_are_mirrored_and_vanish_with_them() -> None:
    subset = {"addresses": [{"ip": "127.0.0.9"}], "notReadyAddresses": [{"ip": "127.0.0.8"}], "ports": [{"port": 80}]}
    steps = plan_slices(SERVICE, FROM_ENDPOINTS, groups_from_endpoints({"subsets": [subset]}), [])
    ready = {tuple(e["addresses"]): e["conditions"]["ready"] for e in steps[0].slice["endpoints"]}
    assert ready == {("127.0.0.9",): True, ("127.0.0.8",): False}
    (step,) = plan_slices(SERVICE, FROM_ENDPOINTS, {}, stored(steps))
    assert isinstance(step, Delete)
