"""What a PodDisruptionBudget allows, as tables."""

from datetime import UTC, datetime

import pytest

from localset.controllers.disruption.plan import status_of, with_status

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def pod(index, *, is_ready=True, is_terminating=False, owner="set"):
    made = {
        "metadata": {"name": f"zk-{index}", "namespace": "default", "uid": f"pod-{index}"},
        "status": {"conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}]},
    }
    if owner:
        made["metadata"]["ownerReferences"] = [{"uid": owner, "kind": "StatefulSet", "name": "zk", "controller": True}]
    if is_terminating:
        made["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:30Z"
    return made


def budget(status=None, **spec):
    return {"metadata": {"name": "zk", "namespace": "default", "generation": 3}, "spec": spec, "status": status or {}}


@pytest.mark.parametrize(
    ("spec", "ready", "count", "scale", "expected"),
    [
        ({"maxUnavailable": 1}, 3, 3, 3, (1, 3, 2, 3)),
        ({"maxUnavailable": 1}, 2, 3, 3, (0, 2, 2, 3)),
        ({"maxUnavailable": "34%"}, 3, 3, 3, (2, 3, 1, 3)),
        ({"maxUnavailable": 5}, 3, 3, 3, (3, 3, 0, 3)),
        ({"minAvailable": 2}, 3, 3, 5, (1, 3, 2, 3)),
        ({"minAvailable": "50%"}, 5, 5, 5, (2, 5, 3, 5)),
        ({"minAvailable": "100%"}, 3, 3, 5, (0, 3, 5, 5)),
        ({"minAvailable": 0}, 0, 0, 0, (0, 0, 0, 0)),
    ],
)
def test_percentages_round_up_and_expectations_follow_the_scale(spec, ready, count, scale, expected):
    pods = [pod(i, is_ready=i < ready) for i in range(count)]
    status = status_of(budget(**spec), pods, {"set": scale}, NOW).status
    keys = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    assert tuple(status[key] for key in keys) == expected
    assert status["observedGeneration"] == 3


def test_a_terminating_pod_is_not_healthy():
    pods = [pod(0), pod(1), pod(2, is_terminating=True)]
    assert status_of(budget(maxUnavailable=1), pods, {"set": 3}, NOW).status["disruptionsAllowed"] == 0


def test_an_unmanaged_pod_counts_as_healthy_but_not_as_expected():
    answer = status_of(budget(maxUnavailable=1), [pod(0), pod(1, owner="")], {"set": 1}, NOW)
    assert answer.unmanaged == ["zk-1"]
    assert (answer.status["currentHealthy"], answer.status["expectedPods"]) == (2, 1)


def test_an_unknown_controller_allows_nothing_and_says_so():
    answer = status_of(budget(maxUnavailable=1), [pod(0)], {}, NOW)
    assert answer.status["disruptionsAllowed"] == 0
    assert "StatefulSet zk" in answer.error


def test_an_eviction_counts_until_the_pod_goes_or_two_minutes_have_passed():
    status = {
        "disruptedPods": {
            "zk-0": "2026-01-01T11:59:00Z",
            "zk-1": "2026-01-01T11:57:00Z",
            "zk-9": "2026-01-01T12:00:00Z",
        }
    }
    answer = status_of(budget(status, maxUnavailable=1), [pod(0), pod(1), pod(2)], {"set": 3}, NOW)
    assert answer.status["disruptedPods"] == {"zk-0": "2026-01-01T11:59:00Z"}
    assert answer.status["currentHealthy"] == 2
    assert answer.not_deleted == ["zk-1"]
    assert answer.again_in_seconds == 60


def test_an_unchanged_status_is_not_written_again():
    stored = budget(maxUnavailable=1)
    answer = status_of(stored, [pod(0)], {"set": 1}, NOW)
    written = with_status(stored, answer, "2026-01-01T12:00:00Z")
    assert written["status"]["conditions"][0]["reason"] == "SufficientPods"
    assert with_status(written, answer, "2026-01-01T12:00:09Z") is None
