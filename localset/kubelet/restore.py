"""Records of a Pod's containers after a daemon restart, from the runtime's reports and the stored status. Pure.

What lives is reattached, readiness does not flip, an exit that happened meanwhile keeps its true code, and what
neither side can account for is ContainerStatusUnknown (137), never 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from localset.kubelet.records import (
    BACKOFF_INITIAL_SECONDS,
    BACKOFF_MAXIMUM_SECONDS,
    LABEL_ATTEMPT,
    LABEL_CONTAINER,
    LABEL_NAMESPACE,
    LABEL_POD,
    LABEL_POD_UID,
    LABEL_SPEC_HASH,
    ContainerKind,
    ContainerRecord,
    containers_of,
    run_id_of,
)
from localset.kubelet.runtime import ProcessReport, ProcessState
from localset.machinery.metadata import Object, uid_of


@dataclass(slots=True)
class Restored:
    """A Pod's records and the run ids of earlier attempts that may be forgotten."""

    records: dict[str, ContainerRecord] = field(default_factory=dict)
    superseded: list[str] = field(default_factory=list)

    @property
    def has_living(self) -> bool:
        """Tell whether a process of the Pod may live."""
        return any(record.is_running for record in self.records.values())


def fresh_records(pod: Object) -> dict[str, ContainerRecord]:
    """Return the records of a Pod that never ran."""
    return {c["name"]: ContainerRecord(c["name"], kind, image=c.get("image") or "") for c, kind in containers_of(pod)}


def restore_records(pod: Object, reports: Iterable[ProcessReport], now: float) -> Restored:
    """Return the records of `pod`; `reports` are the runtime's for this Pod's uid, `now` is monotonic."""
    result = Restored(fresh_records(pod))
    stored = _stored_statuses(pod)
    by_container: dict[str, list[ProcessReport]] = {}
    for report in reports:
        by_container.setdefault(report.labels.get(LABEL_CONTAINER, ""), []).append(report)
    for name, record in result.records.items():
        status = stored.get(name, {})
        found = sorted(by_container.pop(name, []), key=_attempt_of)
        latest = found[-1] if found else None
        stored_attempt = int(status.get("restartCount") or 0)
        record.last_termination = (status.get("lastState") or {}).get("terminated")
        if latest is not None and _attempt_of(latest) >= stored_attempt:
            _take_report(record, latest, status, now)
            result.superseded += [report.run_id for report in found[:-1]]
        else:
            _take_status(record, status, uid_of(pod), now)
            result.superseded += [report.run_id for report in found]
        _set_backoff(record, now)
    for strangers in by_container.values():
        result.superseded += [report.run_id for report in strangers if report.state.is_over]
    return result


def ghost_pod(reports: Iterable[ProcessReport]) -> Object:
    """Return a Pod object, good enough to stop and clean up by, for processes whose Pod is no longer there."""
    listed = list(reports)
    labels = listed[0].labels
    names = {report.labels.get(LABEL_CONTAINER, "") for report in listed}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": labels.get(LABEL_POD, ""),
            "namespace": labels.get(LABEL_NAMESPACE, ""),
            "uid": labels.get(LABEL_POD_UID, ""),
        },
        "spec": {"containers": [{"name": name} for name in sorted(names)]},
    }


def _attempt_of(report: ProcessReport) -> int:
    text = report.labels.get(LABEL_ATTEMPT, "0")
    return int(text) if text.isdigit() else 0


def _stored_statuses(pod: Object) -> dict[str, Object]:
    status = pod.get("status") or {}
    fields = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    listed = [entry for field in fields for entry in status.get(field) or []]
    return {entry.get("name", ""): entry for entry in listed}


def _take_report(record: ContainerRecord, report: ProcessReport, status: Object, now: float) -> None:
    record.attempt = _attempt_of(report)
    record.run_id = report.run_id
    record.report = report
    record.spec_hash = report.labels.get(LABEL_SPEC_HASH, "")
    if report.state.is_over:
        record.over_at = now
    elif status.get("containerID") == f"localset://{report.run_id}" and record.kind is not ContainerKind.INIT:
        record.is_ready = bool(status.get("ready"))
        record.is_started = bool(status.get("started"))
    record.stop_asked = report.state is ProcessState.STOPPING


def _take_status(record: ContainerRecord, status: Object, pod_uid: str, now: float) -> None:
    """Rebuild a record that the runtime knows nothing of: an end that was told stays, a running one is unknown."""
    if not status.get("containerID"):
        return
    state = status.get("state") or {}
    record.attempt = int(status.get("restartCount") or 0)
    record.run_id = run_id_of(pod_uid, record.name, record.attempt)
    record.over_at = now
    ended = state.get("terminated") or (
        (status.get("lastState") or {}).get("terminated") if "waiting" in state else None
    )
    code = ended.get("exitCode") if ended else None
    is_known = code is not None and (ended or {}).get("reason") != "ContainerStatusUnknown"
    record.report = ProcessReport(
        record.run_id, ProcessState.EXITED if is_known else ProcessState.UNKNOWN, exit_code=code if is_known else None
    )


def _set_backoff(record: ContainerRecord, now: float) -> None:
    """Go on with the back-off that the restart count implies."""
    if record.attempt > 0:
        record.backoff.delay = min(
            BACKOFF_INITIAL_SECONDS * 2.0 ** min(record.attempt - 1, 10), BACKOFF_MAXIMUM_SECONDS
        )
        record.backoff.updated_at = now
