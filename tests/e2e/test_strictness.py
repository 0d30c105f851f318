"""`up --scheduling=strict` and `--probe-timing=strict`: Kubernetes' own answers for those who want them."""

from datetime import datetime

from tests.e2e.house import House, until

MANIFEST = """\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: big
spec:
  serviceName: big
  selector: {matchLabels: {app: big}}
  template:
    metadata: {labels: {app: big}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: host
        command: [sleep, inf]
        resources: {requests: {cpu: CPUS}}
        readinessProbe: {exec: {command: ["true"]}, initialDelaySeconds: 2, periodSeconds: 1}
"""


def test_strict_scheduling_leaves_pending_what_a_cluster_could_not_place(house: House) -> None:
    house.run("up", "--scheduling=strict")
    house.run("apply", "-f", "-", stdin=MANIFEST.replace("CPUS", "'4000'"))
    pod = until(lambda: house.pod("big-0"), why="the Pod is made")
    why = until(lambda: _condition(house, "PodScheduled"), why="the scheduler has looked at it")
    assert (why["status"], why["reason"]) == ("False", "Unschedulable")
    assert "Insufficient cpu" in why["message"]
    assert pod["status"]["phase"] == "Pending"
    assert "FailedScheduling" in house.run("events").stdout


def test_without_it_the_pod_runs_and_an_event_says_what_a_cluster_would_need(house: House) -> None:
    house.run("apply", "-f", "-", "--wait", stdin=MANIFEST.replace("CPUS", "'4000'"))
    assert "BeyondThisMachine" in house.run("events").stdout


def test_strict_probe_timing_believes_no_probe_before_its_initial_delay(house: House) -> None:
    house.run("up", "--probe-timing=strict")
    house.run("apply", "-f", "-", "--wait", stdin=MANIFEST.replace("CPUS", "10m"))
    pod = house.pod("big-0")
    assert pod is not None
    started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    ready = _condition(house, "Ready")
    assert ready is not None
    waited = datetime.fromisoformat(ready["lastTransitionTime"]) - datetime.fromisoformat(started)
    assert waited.total_seconds() >= 2, (started, ready)


def _condition(house: House, kind: str) -> dict[str, str] | None:
    pod = house.pod("big-0") or {}
    return next((c for c in pod.get("status", {}).get("conditions", []) if c["type"] == kind), None)
