"""How many disruptions a budget allows (semantics 5): pure.

`status_of` is called by the disruption controller with a budget, the Pods it selects and how many replicas their
controllers want. Follows Kubernetes' pkg/controller/disruption/disruption.go of today.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from localset.machinery.metadata import Object, condition_of, controller_of, is_being_deleted, name_of

DELETION_TIMEOUT = timedelta(minutes=2)
CONDITION = "DisruptionAllowed"


@dataclass(frozen=True)
class Answer:
    """What to write and to tell.

    `status` lacks conditions; `not_deleted` names Pods whose eviction was never followed by a deletion; `unmanaged`
    those without a controller; `error` is set when expectations cannot be known; `again_in_seconds` when time alone
    will change the answer.
    """

    status: dict[str, Any]
    not_deleted: list[str] = field(default_factory=list)
    unmanaged: list[str] = field(default_factory=list)
    error: str = ""
    again_in_seconds: float | None = None


def status_of(budget: Object, pods: list[Object], scales: Mapping[str, int], now: datetime) -> Answer:
    """Return the status of `budget` over the selected `pods`; `scales` has spec.replicas per controller uid."""
    disrupted, not_deleted, again = _disrupted(budget, pods, now)
    healthy = sum(_is_ready(pod) and not is_being_deleted(pod) and name_of(pod) not in disrupted for pod in pods)
    unmanaged = [name_of(pod) for pod in pods if controller_of(pod) is None]
    expected, desired, error = _expectations(budget["spec"], pods, scales)
    allowed = 0 if error or expected <= 0 else max(0, healthy - desired)
    status: dict[str, Any] = {
        "observedGeneration": int(budget["metadata"].get("generation") or 0),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    }
    if error:
        old = budget.get("status") or {}
        status.update({key: old.get(key) or 0 for key in ("currentHealthy", "desiredHealthy", "expectedPods")})
    if disrupted:
        status["disruptedPods"] = disrupted
    return Answer(status, not_deleted, unmanaged, error, again)


def condition(budget: Object, answer: Answer, now: str) -> Object:
    """Return the DisruptionAllowed condition; its transition time moves only when its status flips."""
    if answer.error:
        value, reason = "False", "SyncFailed"
    elif answer.status["disruptionsAllowed"] > 0:
        value, reason = "True", "SufficientPods"
    else:
        value, reason = "False", "InsufficientPods"
    old = condition_of(budget, CONDITION)
    since = now if old is None or old.get("status") != value else old.get("lastTransitionTime") or now
    return {
        "type": CONDITION,
        "status": value,
        "reason": reason,
        "message": answer.error,
        "lastTransitionTime": since,
        "observedGeneration": answer.status["observedGeneration"],
    }


def with_status(budget: Object, answer: Answer, now: str) -> Object | None:
    """Return `budget` with its new status; None when that says nothing new."""
    old = budget.get("status") or {}
    fresh = condition(budget, answer, now)
    others = [c for c in old.get("conditions") or [] if c.get("type") != CONDITION]
    status = {**answer.status, "conditions": [*others, fresh]}
    old_condition = condition_of(budget, CONDITION)
    is_same_condition = old_condition is not None and all(
        (old_condition.get(key) or "") == fresh[key] for key in ("status", "reason", "message")
    )
    counters_are_same = all(
        (old.get(key) or None) == (status.get(key) or None)
        for key in (*_COUNTERS, "observedGeneration", "disruptedPods")
    )
    return None if is_same_condition and counters_are_same else {**budget, "status": status}


_COUNTERS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def _is_ready(pod: Object) -> bool:
    return (condition_of(pod, "Ready") or {}).get("status") == "True"


def _expectations(spec: Object, pods: list[Object], scales: Mapping[str, int]) -> tuple[int, int, str]:
    """Return (expected Pods, desired healthy, error)."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if isinstance(least, int):
        return len(pods), least, ""
    if least is None and most is None:
        return len(pods), 0, ""
    owners: dict[str, Object] = {}
    for pod in pods:
        owner = controller_of(pod)
        if owner is not None:
            owners[str(owner.get("uid"))] = owner
    unknown = [f"{o.get('kind')} {o.get('name')}" for uid, o in owners.items() if uid not in scales]
    if unknown:
        return 0, 0, f"found no controllers for pods: {', '.join(sorted(unknown))}"
    expected = sum(scales[uid] for uid in owners)
    if least is not None:
        return expected, _scaled(least, expected), ""
    return expected, max(0, expected - _scaled(most, expected)), ""


def _scaled(value: int | str | None, total: int) -> int:
    """Return an int-or-percent of `total`; percentages are rounded up."""
    if isinstance(value, str) and value.endswith("%"):
        return -(-int(value[:-1]) * total // 100)
    return int(value or 0)


def _disrupted(budget: Object, pods: list[Object], now: datetime) -> tuple[dict[str, str], list[str], float | None]:
    """Return the evictions that still count, the Pods that were never deleted, and seconds until one expires."""
    present = {name_of(pod): pod for pod in pods}
    kept: dict[str, str] = {}
    not_deleted: list[str] = []
    again: float | None = None
    for name, since in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = present.get(name)
        if pod is None or is_being_deleted(pod):
            continue
        left = (datetime.fromisoformat(since) + DELETION_TIMEOUT - now).total_seconds()
        if left <= 0:
            not_deleted.append(name)
            continue
        kept[name] = since
        again = left if again is None else min(again, left)
    return kept, not_deleted, again
