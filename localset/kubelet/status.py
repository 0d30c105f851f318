"""A Pod's status from its records (semantics 3.1–3.3). Pure.

`make_status` answers the whole status object; `worker` writes it when it differs. Times of conditions move only when a
condition's `status` flips, because minReadySeconds counts from there; conditions of other writers are kept.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from localset.base.clock import rfc3339
from localset.base.frozen import frozen
from localset.kubelet.records import ContainerKind, ContainerRecord
from localset.kubelet.runtime import ProcessReport, ProcessState
from localset.machinery.metadata import Object, condition_of

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})


@frozen
class StatusFacts:
    """What is known beside the records. `now` is RFC 3339; `pod_ip` empty until the address is stored."""

    now: str
    host_ip: str
    pod_ip: str
    is_complete: bool = False
    has_ended: bool = False
    is_prepared: bool = False
    backoff_messages: Mapping[str, str] = MappingProxyType({})


def make_status(pod: Object, records: Sequence[ContainerRecord], facts: StatusFacts) -> Object:
    """Return the status that `pod` should have; equal to the stored one when nothing changed."""
    old = pod.get("status") or {}
    images = {c["name"]: c.get("image") or "" for c in _all_containers(pod)}
    inits = [r for r in records if r.kind in {ContainerKind.INIT, ContainerKind.SIDECAR}]
    has_init = bool(inits)
    phase = phase_of(pod, records, facts)
    status: dict[str, Any] = dict(old)
    status["phase"] = phase
    status["hostIP"] = facts.host_ip
    status["hostIPs"] = [{"ip": facts.host_ip}]
    if facts.pod_ip:
        status["podIP"] = facts.pod_ip
        status["podIPs"] = [{"ip": facts.pod_ip}]
    status.setdefault("startTime", facts.now)
    mains = sorted((r for r in records if r.kind is ContainerKind.MAIN), key=lambda r: r.name)
    initialised = _is_initialised(records)
    context = _ContainerContext(images, facts, waits_for_init=has_init and not initialised, has_init=has_init)
    status["containerStatuses"] = [container_status(r, context) for r in mains]
    if inits:
        status["initContainerStatuses"] = [container_status(r, context) for r in inits]
    added = [r for r in records if r.kind is ContainerKind.EPHEMERAL]
    if added:
        status["ephemeralContainerStatuses"] = [ephemeral_status(r, context) for r in added]
    status["conditions"] = _conditions(pod, records, facts, phase)
    return status


@frozen
class _ContainerContext:
    images: Mapping[str, str]
    facts: StatusFacts
    waits_for_init: bool
    has_init: bool


def _all_containers(pod: Object) -> list[Object]:
    spec = pod.get("spec") or {}
    fields = ("initContainers", "containers", "ephemeralContainers")
    return [container for field in fields for container in spec.get(field) or []]


def phase_of(pod: Object, records: Sequence[ContainerRecord], facts: StatusFacts) -> str:
    """Return the phase; a terminal one never changes back."""
    stored = (pod.get("status") or {}).get("phase") or "Pending"
    if stored in TERMINAL_PHASES:
        return str(stored)
    mains = [r for r in records if r.kind is ContainerKind.MAIN]
    if facts.is_complete or facts.has_ended:
        relevant = [r for r in records if r.kind in {ContainerKind.INIT, ContainerKind.MAIN} and r.is_over]
        if facts.has_ended and not any(r.is_over for r in mains):
            return "Failed" if relevant else str(stored)
        return "Succeeded" if all(r.has_succeeded for r in relevant) else "Failed"
    if not _is_initialised(records):
        return "Pending"
    if any(r.report is None and r.last_termination is None for r in mains):
        return "Pending"
    return "Running"


def _is_initialised(records: Sequence[ContainerRecord]) -> bool:
    mains_begun = any(r.kind is ContainerKind.MAIN and r.report is not None for r in records)
    return mains_begun or not _incomplete(records)


def _incomplete(records: Sequence[ContainerRecord]) -> list[str]:
    return [
        r.name
        for r in records
        if (r.kind is ContainerKind.INIT and not r.has_succeeded)
        or (r.kind is ContainerKind.SIDECAR and not r.is_started)
    ]


def container_id(run_id: str) -> str:
    """Return `localset://<run id>`."""
    return f"localset://{run_id}" if run_id else ""


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(datetime.fromtimestamp(seconds, UTC))


def terminated_state(record: ContainerRecord) -> Object:
    """Return the `terminated` object of a container whose process set has ended."""
    report = record.report
    assert report is not None
    code = record.exit_code
    if report.state is ProcessState.FAILED:
        reason = "StartError"
    elif report.state is ProcessState.UNKNOWN or report.exit_code is None:
        reason = "ContainerStatusUnknown"
    else:
        reason = "Completed" if code == 0 else "Error"
    state: dict[str, Any] = {"exitCode": code, "reason": reason, "containerID": container_id(report.run_id)}
    if report.signal:
        state["signal"] = report.signal
    message = _termination_message(report, reason)
    if message:
        state["message"] = message
    started, finished = _time(report.started_at), _time(report.finished_at)
    state["startedAt"] = started or finished
    state["finishedAt"] = finished or started
    return {key: value for key, value in state.items() if value is not None}


def _termination_message(report: ProcessReport, reason: str) -> str:
    if report.error:
        return report.error
    if reason == "ContainerStatusUnknown":
        return "The container could not be located when the pod was looked after again; its exit code is unknown"
    return ""


def container_status(record: ContainerRecord, context: _ContainerContext) -> Object:
    """Return one containerStatuses entry."""
    image = context.images.get(record.name, record.image)
    status: dict[str, Any] = {"name": record.name, "image": image, "imageID": f"localset://{image}" if image else ""}
    status["restartCount"] = record.attempt
    status["containerID"] = container_id(record.run_id) if record.report is not None else ""
    status["state"] = _state_of(record, context)
    status["lastState"] = {"terminated": record.last_termination} if record.last_termination else {}
    is_waiting_again = "waiting" in status["state"] and record.report is not None and record.report.state.is_over
    if is_waiting_again:
        status["lastState"] = {"terminated": terminated_state(record)}
    status["ready"] = record.has_succeeded if record.kind is ContainerKind.INIT else is_container_ready(record)
    status["started"] = record.is_running and record.is_started
    if not status["containerID"]:
        del status["containerID"]
    return status


def ephemeral_status(record: ContainerRecord, context: _ContainerContext) -> Object:
    """Return one ephemeralContainerStatuses entry: it is never ready, and never counts as started."""
    status: Object = {**container_status(record, context), "ready": False}
    del status["started"]
    return status


def is_container_ready(record: ContainerRecord) -> bool:
    """Tell whether the container counts as ready."""
    return record.is_running and record.has_post_started and record.is_started and record.is_ready


def _state_of(record: ContainerRecord, context: _ContainerContext) -> Object:
    if record.is_running:
        assert record.report is not None
        if not record.has_post_started and not record.stop_asked:
            return {"waiting": {"reason": "ContainerCreating"}}
        return {"running": {"startedAt": _time(record.report.started_at) or context.facts.now}}
    if record.waiting_reason:
        waiting = {"reason": record.waiting_reason}
        if record.waiting_message:
            waiting["message"] = record.waiting_message
        return {"waiting": waiting}
    if record.report is not None:
        message = context.facts.backoff_messages.get(record.name)
        if message:
            return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        return {"terminated": terminated_state(record)}
    is_main_waiting = record.kind is ContainerKind.MAIN and context.has_init
    return {"waiting": {"reason": "PodInitializing" if is_main_waiting else "ContainerCreating"}}


def _conditions(pod: Object, records: Sequence[ContainerRecord], facts: StatusFacts, phase: str) -> list[Object]:
    wanted: dict[str, tuple[bool, str, str]] = {"PodScheduled": (True, "", "")}
    wanted["PodReadyToStartContainers"] = (facts.is_prepared and not facts.has_ended, "", "")
    incomplete = [] if any(r.kind is ContainerKind.MAIN and r.report for r in records) else _incomplete(records)
    if incomplete:
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        wanted["Initialized"] = (False, "ContainersNotInitialized", text)
    else:
        wanted["Initialized"] = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    counted = [r for r in records if r.kind in {ContainerKind.SIDECAR, ContainerKind.MAIN}]
    unready = [r.name for r in counted if not is_container_ready(r)]
    if phase == "Succeeded":
        wanted["ContainersReady"] = wanted["Ready"] = (False, "PodCompleted", "")
    elif phase == "Failed":
        wanted["ContainersReady"] = wanted["Ready"] = (False, "PodFailed", "")
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        wanted["ContainersReady"] = wanted["Ready"] = (False, "ContainersNotReady", text)
    else:
        wanted["ContainersReady"] = (True, "", "")
        wanted["Ready"] = _with_gates(pod)
    own = [_condition(pod, kind, *wanted[kind], facts.now) for kind in OWN_CONDITIONS]
    others = [c for c in (pod.get("status") or {}).get("conditions") or [] if c.get("type") not in OWN_CONDITIONS]
    return [*own, *others]


def _with_gates(pod: Object) -> tuple[bool, str, str]:
    missing = []
    for gate in (pod.get("spec") or {}).get("readinessGates") or []:
        condition = condition_of(pod, gate.get("conditionType", ""))
        if condition is None or condition.get("status") != "True":
            missing.append(gate.get("conditionType", ""))
    if not missing:
        return True, "", ""
    text = ", ".join(f'the status of pod readiness gate "{gate}" is not "True"' for gate in missing)
    return False, "ReadinessGatesNotReady", text


def _condition(pod: Object, kind: str, is_true: bool, reason: str, message: str, now: str) -> Object:
    stored = condition_of(pod, kind)
    value = "True" if is_true else "False"
    condition: dict[str, Any] = {"type": kind, "status": value}
    is_same = stored is not None and stored.get("status") == value and stored.get("lastTransitionTime")
    condition["lastTransitionTime"] = stored["lastTransitionTime"] if is_same and stored else now
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def go_duration(seconds: float) -> str:
    """Return `10s`, `2m40s`, `5m0s`, as Go prints durations."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
