"""What one sync of a StatefulSet does (semantics 2.2-2.8, gates as of Kubernetes 1.37).

`plan` turns a snapshot into named steps and a status; the controller performs the steps in order. Pure: no I/O, no
clock, no randomness. Follows Kubernetes' pkg/controller/statefulset/stateful_set_control.go; where an OrderedReady pass
returns early there, `_Stop` is raised here, and neither scale-down nor rolling update happens in that sync.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from localset.base.frozen import frozen
from localset.controllers.statefulset import claims as ownership
from localset.controllers.statefulset import status as counting
from localset.controllers.statefulset.identity import (
    PodFacts,
    claim_name,
    claim_templates,
    new_claim,
    new_pod,
    pod_name,
    replicas_of,
    start_of,
    with_identity,
)
from localset.controllers.statefulset.revisions import template_of
from localset.machinery.metadata import Object, is_being_deleted, name_of

UPDATE_REASON = "update"
"""`reason` of a DeletePod by the rolling update: the only deletions that the status counts ahead."""


@frozen
class CreateClaim:
    """Create the claim of an ordinal. It comes before its Pod."""

    ordinal: int
    claim: Object


@frozen
class UpdateClaim:
    """Write a claim whose ownerReferences the retention policy changed."""

    claim: Object


@frozen
class CreatePod:
    """Create the Pod of an ordinal at a revision (its name)."""

    ordinal: int
    revision: str
    pod: Object


@frozen
class UpdatePod:
    """Repair the identity of a Pod: labels, claim volumes."""

    ordinal: int
    pod: Object


@frozen
class DeletePod:
    """Delete a Pod with its own grace."""

    ordinal: int
    pod: Object
    reason: str


@frozen
class Wait:
    """Nothing to do for `ordinal` until the world changes; `reason` is for people."""

    ordinal: int
    reason: str


@frozen
class Refuse:
    """The Pod of an ordinal cannot be created now: an error, with an event, tried again with back-off."""

    ordinal: int
    message: str


@frozen
class ReportConflict:
    """A claim has another controller: the retention policy does not apply to it."""

    claim: Object


Step = CreateClaim | UpdateClaim | CreatePod | UpdatePod | DeletePod | Wait | Refuse | ReportConflict


@frozen
class Snapshot:
    """All that deciding looks at. `pods` are the claimed ones, `claims` by name, `now` is the wall time in UTC.

    `resting` are the names that no Pod may be made for yet, with the seconds that they rest.
    """

    owner: Object
    pods: list[PodFacts]
    claims: dict[str, Object]
    current: Object
    update: Object
    now: datetime
    resting: Mapping[str, float] = MappingProxyType({})


@dataclass
class Plan:
    """Steps in order, the status to write afterwards, and when time alone will change the answer (seconds)."""

    steps: list[Step] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    again_in_seconds: float | None = None


class _Stop(Exception):  # noqa: N818 - not an error: an OrderedReady pass that ends the sync's work
    """OrderedReady: this sync does nothing more."""


def plan(snapshot: Snapshot) -> Plan:
    """Return what to do now. Two calls with the same snapshot give the same plan."""
    return _Planner(snapshot).run()


def revision_of_new_pod(owner: Object, ordinal: int) -> str:
    """Return "current" or "update": which revision a Pod that is created now gets (semantics 2.4)."""
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type") != "RollingUpdate":
        return "update"
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        # NB: without a rollingUpdate object the *stored* currentReplicas decides (2.4, consequence A).
        boundary = int((owner.get("status") or {}).get("currentReplicas") or 0)
    else:
        boundary = int(rolling.get("partition") or 0)
    return "current" if ordinal < start_of(owner) + boundary else "update"


def max_unavailable_of(owner: Object) -> int:
    """Return how many replicas a rolling update may make unavailable: rounded down, at least 1."""
    rolling = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    value = rolling.get("maxUnavailable")
    if value is None:
        return 1
    if isinstance(value, str):
        value = math.floor(int(value.rstrip("%")) * replicas_of(owner) / 100) if value.endswith("%") else int(value)
    return max(1, int(value))


class _Planner:
    """One run over one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.owner = snapshot.owner
        self.claims = snapshot.claims
        self.now = snapshot.now
        self.resting = snapshot.resting
        self.rests: list[float] = []
        self.current = name_of(snapshot.current)
        self.update = name_of(snapshot.update)
        self.templates = {"current": snapshot.current, "update": snapshot.update}
        self.set_name = name_of(self.owner)
        self.start = start_of(self.owner)
        self.count = replicas_of(self.owner)
        self.min_ready_seconds = int(self.owner["spec"].get("minReadySeconds") or 0)
        self.is_ordered = self.owner["spec"].get("podManagementPolicy") != "Parallel"
        self.retention = ownership.retention_of(self.owner)
        self.all_pods = snapshot.pods
        self.replicas: list[PodFacts | None] = [None] * self.count
        self.condemned: list[PodFacts] = []
        for facts in snapshot.pods:
            index = facts.ordinal - self.start
            if 0 <= index < self.count:
                self.replicas[index] = facts
            elif facts.ordinal >= 0:
                self.condemned.append(facts)
        self.condemned.sort(key=lambda facts: facts.ordinal)
        self.result = Plan()

    def run(self) -> Plan:
        status = counting.counted(self.owner, self.all_pods, self.current, self.update, self.is_available)
        self.result.status = status
        if not is_being_deleted(self.owner):
            try:
                self.replicas_pass()
                self.claims_of_condemned()
                self.condemned_pass()
                self.update_pass()
            except _Stop:
                pass
        counting.complete(self.owner, status)
        counting.clamp(status)
        self.result.again_in_seconds = min([*self.rests, *self.next_available_in_seconds()], default=None)
        return self.result

    # -- predicates ---------------------------------------------------------------------------------------------------

    def available_at(self, facts: PodFacts) -> datetime | None:
        if not facts.ready_since:
            return None
        since = datetime.fromisoformat(facts.ready_since)
        return since + timedelta(seconds=self.min_ready_seconds)

    def is_available(self, facts: PodFacts) -> bool:
        if not facts.is_ready or not self.min_ready_seconds:
            return facts.is_ready
        moment = self.available_at(facts)
        return moment is not None and moment < self.now

    def is_healthy(self, facts: PodFacts | None) -> bool:
        return facts is not None and self.is_available(facts) and not facts.is_terminating

    def first_unhealthy(self) -> PodFacts | str | None:
        """Return the Pod that scale-down may not wait for; the missing ones of the range are named by text."""
        for index, facts in enumerate(self.replicas):
            if not self.is_healthy(facts):
                return facts or pod_name(self.set_name, self.start + index)
        return next((facts for facts in self.condemned if not self.is_healthy(facts)), None)

    def next_available_in_seconds(self) -> list[float]:
        if not self.min_ready_seconds:
            return []
        waits = [
            (moment - self.now).total_seconds()
            for facts in self.all_pods
            if facts.is_ready and (moment := self.available_at(facts)) is not None and moment >= self.now
        ]
        # Kubernetes' times have whole seconds, and available means strictly later than the due moment.
        return [min(waits) + 0.01] if waits else []

    def step(self, step: Step) -> None:
        self.result.steps.append(step)

    def stop(self, ordinal: int = -1, reason: str = "") -> None:
        if reason:
            self.step(Wait(ordinal, reason))
        if self.is_ordered:
            raise _Stop

    # -- replicas, ascending ------------------------------------------------------------------------------------------

    def replicas_pass(self) -> None:
        for index, facts in enumerate(self.replicas):
            ordinal = self.start + index
            if facts is None:
                self.create(ordinal)
            else:
                self.tend(ordinal, facts)

    def create(self, ordinal: int) -> None:
        name = pod_name(self.set_name, ordinal)
        if name in self.resting:
            self.rests.append(self.resting[name])
            self.stop(ordinal, f"{name} was deleted only just now")
            return
        if self.retention.delete_on_scale and any(
            ownership.is_stale(claim, self.owner, ordinal, None) for claim in self.claims_at(ordinal)
        ):
            self.stop(ordinal, f"{name} waits until the claims of its predecessor are gone")
            return
        if self.ensure_claims(ordinal, None):
            which = revision_of_new_pod(self.owner, ordinal)
            revision = self.templates[which]
            pod = new_pod(self.owner, template_of(revision), name_of(revision), ordinal)
            self.step(CreatePod(ordinal, name_of(revision), pod))
        self.stop()

    def tend(self, ordinal: int, facts: PodFacts) -> None:
        if facts.is_terminal:
            if not facts.is_terminating:
                self.step(DeletePod(ordinal, facts.pod, "it has ended and is to be created anew"))
            self.stop(ordinal, f"{facts.name} is to be created anew when the ended one is gone")
            return
        if facts.is_pending and not facts.is_terminating and not self.ensure_claims(ordinal, facts.pod):
            self.stop()
            return
        if self.is_ordered:
            if facts.is_terminating:
                self.stop(ordinal, f"{facts.name} is terminating")
            if not facts.is_ready:
                self.stop(ordinal, f"{facts.name} is not ready")
            if not self.is_available(facts):
                self.stop(ordinal, f"{facts.name} is ready, but not yet for {self.min_ready_seconds} s")
        if facts.is_terminating:
            return
        if not facts.is_identity_right:
            self.ensure_claims(ordinal, facts.pod)
            self.step(UpdatePod(ordinal, with_identity(self.owner, facts.pod, ordinal)))
        else:
            self.own_claims(ordinal, facts.pod, is_condemned=False)

    def claims_at(self, ordinal: int) -> Iterable[Object]:
        for template in claim_templates(self.owner):
            claim = self.claims.get(claim_name(template, self.set_name, ordinal))
            if claim is not None:
                yield claim

    def ensure_claims(self, ordinal: int, pod: Object | None) -> bool:
        """Plan the claims of an ordinal; return False when one is being deleted, so that no Pod may be made."""
        for template in claim_templates(self.owner):
            name = claim_name(template, self.set_name, ordinal)
            claim = self.claims.get(name)
            if claim is None:
                fresh = new_claim(self.owner, template, ordinal)
                fresh = ownership.with_ownership(fresh, self.owner, ordinal, pod, is_condemned=False)
                self.step(CreateClaim(ordinal, fresh))
            elif is_being_deleted(claim):
                if pod is None:
                    self.step(Refuse(ordinal, f"pvc {name} is being deleted"))
                    return False
            else:
                self.own_claim(ordinal, claim, pod, is_condemned=False)
        return True

    def own_claims(self, ordinal: int, pod: Object, *, is_condemned: bool) -> None:
        for claim in self.claims_at(ordinal):
            self.own_claim(ordinal, claim, pod, is_condemned=is_condemned)

    def own_claim(self, ordinal: int, claim: Object, pod: Object | None, *, is_condemned: bool) -> None:
        wants_any = self.retention.delete_with_set or self.retention.delete_on_scale
        if wants_any and ownership.has_foreign_controller(claim, self.owner, pod):
            self.step(ReportConflict(claim))
        changed = ownership.with_ownership(claim, self.owner, ordinal, pod, is_condemned=is_condemned)
        if changed is not claim:
            self.step(UpdateClaim(changed))

    # -- scale down, descending ---------------------------------------------------------------------------------------

    def claims_of_condemned(self) -> None:
        if claim_templates(self.owner):
            for facts in self.condemned:
                self.own_claims(facts.ordinal, facts.pod, is_condemned=True)

    def condemned_pass(self) -> None:
        first = self.first_unhealthy() if self.condemned else None
        for facts in reversed(self.condemned):
            if facts.is_terminating:
                self.stop(facts.ordinal, f"{facts.name} is terminating")
                continue
            if self.is_ordered and not self.is_available(facts) and facts is not first:
                blocker = first.name if isinstance(first, PodFacts) else first
                self.stop(facts.ordinal, f"{facts.name} is not ready, nor is {blocker}: scaling down waits")
            self.step(DeletePod(facts.ordinal, facts.pod, "scale down"))
            self.stop()

    # -- rolling update -----------------------------------------------------------------------------------------------

    def update_pass(self) -> None:
        strategy = self.owner["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        budget = max_unavailable_of(self.owner) - sum(not self.is_healthy(facts) for facts in self.replicas)
        outdated = [
            facts
            for facts in reversed(self.replicas)
            if facts is not None and facts.revision != self.update and not facts.is_terminating
        ]
        in_reach = [facts for facts in outdated if facts.ordinal - self.start >= partition]
        if self.is_ordered:
            for facts in in_reach[: max(0, budget)]:
                self.replace(facts)
            return
        # NB: an unavailable Pod of an old revision costs nothing to replace; else a broken rollout never heals.
        for facts in in_reach:
            if not self.is_healthy(facts) and not facts.is_terminal:
                self.replace(facts)
        for facts in [facts for facts in in_reach if self.is_healthy(facts)][: max(0, budget)]:
            self.replace(facts)

    def replace(self, facts: PodFacts) -> None:
        self.step(DeletePod(facts.ordinal, facts.pod, UPDATE_REASON))
        # Whatever the Pod's revision was (2.8); clamped before it is written.
        self.result.status["currentReplicas"] -= 1
