"""The kubelet's brain: what to start, stop or wait for next, given what is known of a Pod. Pure.

`plan_pod` looks at a Pod's records and answers named steps; `worker` performs them and calls again. It follows
kubernetes `pkg/kubelet/kuberuntime` computePodActions, with sidecars as restartable init containers.
"""

from collections.abc import Mapping

from localset.base.frozen import frozen
from localset.kubelet.records import ContainerKind, ContainerRecord


@frozen
class Start:
    """Start the container's next process."""

    name: str


@frozen
class Stop:
    """End the container's process set; `message` is the Killing event."""

    name: str
    message: str


@frozen
class WaitUntil:
    """Look again at this monotonic time; `name` sits in back-off until then."""

    name: str
    due: float


@frozen
class Finish:
    """Everything has ended and the Pod is to go: remove the object."""


Step = Start | Stop | WaitUntil | Finish


@frozen
class PodView:
    """The snapshot that a plan is made from; `records` is in start order."""

    records: Mapping[str, ContainerRecord]
    restart_policy: str
    wanted_hashes: Mapping[str, str]
    is_terminating: bool
    is_finished: bool
    may_start: bool
    now: float


def plan_pod(view: PodView) -> list[Step]:
    """Return the next steps, in order; an empty list means that nothing is to be done until something changes."""
    if view.is_terminating:
        return _plan_end(view)
    if view.is_finished:
        return [Stop(r.name, f"Stopping container {r.name}") for r in view.records.values() if _can_stop(r)]
    steps: list[Step] = _plan_replacements(view)
    if not view.may_start:
        return steps
    is_blocked = _plan_init(view, steps)
    if not is_blocked:
        _plan_mains(view, steps)
    added = [r for r in view.records.values() if r.kind is ContainerKind.EPHEMERAL]
    steps += [Start(r.name) for r in added if r.report is None and r.attempt == 0]
    return steps


def is_complete(view: PodView) -> bool:
    """Tell whether every main container has ended for good (restartPolicy decides), or an init container failed so."""
    mains = [r for r in view.records.values() if r.kind is ContainerKind.MAIN]
    if any(r.is_running or (not r.is_over) for r in mains):
        return any(
            r.kind is ContainerKind.INIT and r.is_over and not r.has_succeeded and view.restart_policy == "Never"
            for r in view.records.values()
        )
    return bool(mains) and not any(may_restart(r, view.restart_policy) for r in mains)


def may_restart(record: ContainerRecord, restart_policy: str) -> bool:
    """Tell whether a container that has ended is to run again under the Pod's policy."""
    if record.kind is ContainerKind.SIDECAR:
        return True
    if record.kind is ContainerKind.INIT:
        return not record.has_succeeded and restart_policy != "Never"
    if restart_policy == "Never" or record.kind is ContainerKind.EPHEMERAL:
        return False
    return restart_policy == "Always" or not record.has_succeeded


def _can_stop(record: ContainerRecord) -> bool:
    return record.is_running and not record.stop_asked


def _plan_end(view: PodView) -> list[Step]:
    """Stop mains and classic init containers together, then sidecars one by one in reverse (semantics 3.5)."""
    records = list(view.records.values())
    others = [r for r in records if r.kind is not ContainerKind.SIDECAR]
    steps: list[Step] = [Stop(r.name, f"Stopping container {r.name}") for r in others if _can_stop(r)]
    if any(r.is_running for r in others):
        return steps
    for record in reversed([r for r in records if r.kind is ContainerKind.SIDECAR]):
        if record.is_running:
            return [] if record.stop_asked else [Stop(record.name, f"Stopping container {record.name}")]
    return [Finish()]


def _plan_replacements(view: PodView) -> list[Step]:
    steps: list[Step] = []
    for record in view.records.values():
        if not _can_stop(record):
            continue
        if record.restart_reason:
            steps.append(Stop(record.name, record.restart_reason))
        elif record.spec_hash and record.spec_hash != view.wanted_hashes.get(record.name, record.spec_hash):
            steps.append(Stop(record.name, f"Container {record.name} definition changed, will be restarted"))
    return steps


def _start_or_wait(view: PodView, record: ContainerRecord, steps: list[Step]) -> None:
    due = record.backoff.due_after(record.over_at) if record.is_over else view.now
    is_changed = bool(record.spec_hash) and record.spec_hash != view.wanted_hashes.get(record.name, record.spec_hash)
    if due <= view.now or is_changed:
        steps.append(Start(record.name))
    else:
        steps.append(WaitUntil(record.name, due))


def _plan_init(view: PodView, steps: list[Step]) -> bool:
    """Plan the init containers; return True while main containers must wait for them."""
    have_mains_begun = any(
        r.kind is ContainerKind.MAIN and (r.report is not None or r.attempt > 0) for r in view.records.values()
    )
    for record in view.records.values():
        if record.kind in {ContainerKind.MAIN, ContainerKind.EPHEMERAL}:
            continue
        if record.kind is ContainerKind.INIT and (record.has_succeeded or have_mains_begun):
            continue
        if record.is_running:
            if record.kind is ContainerKind.SIDECAR and (record.is_started or have_mains_begun):
                continue
            return True
        if record.is_over and not may_restart(record, view.restart_policy):
            return True
        _start_or_wait(view, record, steps)
        if not have_mains_begun:
            return True
    return False


def _plan_mains(view: PodView, steps: list[Step]) -> None:
    """Start main containers in spec order; the next one waits until the one before has been through its postStart."""
    for record in view.records.values():
        if record.kind is not ContainerKind.MAIN:
            continue
        if record.is_running:
            if not record.has_post_started:
                return
            continue
        if record.is_over and not may_restart(record, view.restart_policy):
            continue
        _start_or_wait(view, record, steps)
        if not record.is_over:
            return
