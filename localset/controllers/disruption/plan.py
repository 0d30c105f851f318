"""The status of a PodDisruptionBudget: pure.

Called by the disruption controller with the Pods that the budget selects. Source: controller/disruption
(statefulset-semantics.md 5), in policy/v1's reading. `now` is UTC.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from localset.machinery.metadata import Object, condition_of, controller_of, is_being_deleted, name_of

DISRUPTION_SECONDS = 120.0
"""How long an eviction is believed in while its Pod still stands."""

ScaleOf = Callable[[Object], int | None]
"""The wanted replicas of a Pod's controller (given its ownerReference), None when it is gone."""


class UnknownControllerError(Exception):
    """A Pod's controller is of a kind that has no scale here; the message is the condition's."""


@dataclass(frozen=True)
class Outcome:
    """`status` to be written; `recheck_seconds` until the earliest disrupted Pod lapses; Pods to tell of."""

    status: Object
    recheck_seconds: float | None = None
    lapsed: list[Object] = field(default_factory=list)
    has_unmanaged: bool = False


def plan_status(budget: Object, pods: Iterable[Object], scale_of: ScaleOf, now: datetime) -> Outcome:
    """Return the new status; UnknownControllerError when the expected count cannot be known."""
    matched = list(pods)
    disrupted, recheck, lapsed = _disrupted(budget, matched, now)
    expected, desired, has_unmanaged = _expectation(budget, matched, scale_of)
    current = sum(
        not is_being_deleted(pod)
        and (condition_of(pod, "Ready") or {}).get("status") == "True"
        and name_of(pod) not in disrupted
        for pod in matched
    )
    allowed = max(0, current - desired) if expected > 0 else 0
    status: Object = {
        "observedGeneration": budget["metadata"].get("generation", 0),
        "disruptionsAllowed": allowed,
        "currentHealthy": current,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": [_condition(budget, "SufficientPods" if allowed else "InsufficientPods", "", now)],
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    return Outcome(status, recheck, lapsed, has_unmanaged)


def failed_status(budget: Object, message: str, now: datetime) -> Object:
    """Return the status when nothing can be computed: no disruption is allowed."""
    old = budget.get("status") or {}
    zeros = {"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    generation = budget["metadata"].get("generation", 0)
    conditions = [_condition(budget, "SyncFailed", message, now)]
    return {**zeros, **old, "observedGeneration": generation, "disruptionsAllowed": 0, "conditions": conditions}


def _condition(budget: Object, reason: str, message: str, now: datetime) -> Object:
    value = "True" if reason == "SufficientPods" else "False"
    old = condition_of(budget, "DisruptionAllowed")
    is_kept = old is not None and old.get("status") == value
    return {
        "type": "DisruptionAllowed",
        "status": value,
        "observedGeneration": budget["metadata"].get("generation", 0),
        "lastTransitionTime": old["lastTransitionTime"]
        if old is not None and is_kept
        else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": reason,
        "message": message,
    }


def _disrupted(budget: Object, pods: list[Object], now: datetime) -> tuple[dict[str, str], float | None, list[Object]]:
    """Return the evictions still believed in, seconds until the first lapses, and the Pods whose did."""
    by_name = {name_of(pod): pod for pod in pods}
    kept: dict[str, str] = {}
    recheck: float | None = None
    lapsed: list[Object] = []
    for name, since in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = by_name.get(name)
        if pod is None or is_being_deleted(pod):
            continue
        left = DISRUPTION_SECONDS - (now - datetime.fromisoformat(since)).total_seconds()
        if left <= 0:
            lapsed.append(pod)
            continue
        kept[name] = since
        recheck = left if recheck is None else min(recheck, left)
    return kept, recheck, lapsed


def _expectation(budget: Object, pods: list[Object], scale_of: ScaleOf) -> tuple[int, int, bool]:
    """Return (expected Pods, desired healthy ones, whether a Pod without a controller is among them)."""
    spec = budget.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is None and most is None:
        return 0, 0, False
    if isinstance(least, int) and most is None:
        return len(pods), least, False
    scales: dict[str, int] = {}
    has_unmanaged = False
    for pod in pods:
        reference = controller_of(pod)
        scale = scale_of(reference) if reference is not None else None
        if reference is None or scale is None:
            has_unmanaged = True
        else:
            scales[str(reference["uid"])] = scale
    expected = sum(scales.values())
    if most is not None:
        return expected, max(0, expected - _scaled(most, expected)), has_unmanaged
    return expected, _scaled(least, expected), has_unmanaged


def _scaled(value: int | str | None, total: int) -> int:
    """Return an integer as it is, a percentage of `total` rounded up."""
    if isinstance(value, int):
        return value
    return -(-int(str(value).rstrip("%")) * total // 100)
