"""What endpoints, scheduler and volumeclaim decide, as tables."""

from datetime import UTC, datetime

import pytest

from localset.base.clock import rfc3339
from localset.controllers.endpoints.plan import subsets_of
from localset.controllers.scheduler.plan import Mode, place
from localset.controllers.volumeclaim.plan import find_volume

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_pod(name, *, ready=True, dying=False, owner="u", **spec):
    metadata = {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "x"}}
    if owner:
        kind = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "uid": owner, "controller": True}
        metadata["ownerReferences"] = [kind]
    if dying:
        metadata["deletionTimestamp"] = rfc3339(NOW)
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": "127.0.0.9", "conditions": conditions}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [], **spec}, "status": status}


@pytest.mark.parametrize(
    ("publishes", "ready", "dying", "where"),
    [
        (False, True, False, "addresses"),
        (False, False, False, "notReadyAddresses"),
        (False, True, True, None),
        (True, False, False, "addresses"),
        (True, False, True, "addresses"),
    ],
)
def test_readiness_termination_and_publishing_decide_where_an_address_stands(publishes, ready, dying, where):
    spec = {"clusterIP": "None", "publishNotReadyAddresses": publishes}
    service = {"metadata": {"name": "s", "namespace": "ns"}, "spec": spec}
    subsets = subsets_of(service, [a_pod("p", ready=ready, dying=dying)])
    assert [key for subset in subsets for key in subset] == ([where] if where else [])


NODE = {
    "metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "n"}},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}, "conditions": [{"type": "Ready", "status": "True"}]},
}
ANTI = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
AFFINITY = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ANTI]}}
BIG = [{"name": "c", "resources": {"requests": {"cpu": "3", "memory": "2Gi"}}}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"containers": BIG}, "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
        ({"affinity": AFFINITY}, "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."),
        (
            {"nodeSelector": {"disk": "ssd"}},
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        ({}, ""),
    ],
)
def test_strict_refuses_in_kubernetes_words_what_relaxed_starts(spec, message):
    there = a_pod("x-0", nodeName="n")
    assert place(a_pod("x-1", **spec), [NODE], [there], Mode.STRICT).message == message
    relaxed = place(a_pod("x-1", **spec), [NODE], [there], Mode.RELAXED)
    assert relaxed.node == "n"
    assert bool(relaxed.ignored) == ("match" in message)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_cordoned_node_takes_nothing(mode):
    cordoned = {**NODE, "spec": {"unschedulable": True}}
    decision = place(a_pod("x"), [cordoned], [], mode)
    assert decision.message == "0/1 nodes are available: 1 node(s) were unschedulable."


@pytest.mark.parametrize("mode", list(Mode))
def test_a_node_that_somebody_made_by_hand_takes_nothing_for_nobody_serves_it(mode):
    by_hand = {"metadata": {"name": "a"}}
    decision = place(a_pod("x"), [by_hand], [], mode)
    taint = "{node.kubernetes.io/not-ready: }"
    assert decision.message == f"0/1 nodes are available: 1 node(s) had untolerated taint {taint}."
    assert place(a_pod("x"), [by_hand, NODE], [], mode).node == "n"


def test_a_volume_that_names_the_claim_comes_before_a_smaller_one():
    def volume(name, size, **spec):
        wanted = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], **spec}
        return {"metadata": {"name": name}, "spec": wanted}

    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "c", "namespace": "ns", "uid": "u"}, "spec": spec}
    reserved = volume("reserved", "9Gi", claimRef={"namespace": "ns", "name": "c"})
    taken = volume("taken", "1Gi", claimRef={"namespace": "ns", "name": "c", "uid": "other"})
    assert find_volume(claim, [volume("small", "1Mi"), volume("fits", "2Gi"), taken, reserved]) is reserved
    assert find_volume(claim, [volume("small", "1Mi"), volume("fits", "2Gi"), taken])["metadata"]["name"] == "fits"
