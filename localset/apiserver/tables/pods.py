"""The Pod row: what STATUS, READY and RESTARTS say.

After printPod of printers/internalversion/printers.go in its newer form: RESTARTS is text with the time of the last
restart, restartable init containers count in READY, a finished Pod that is being deleted keeps its status.
"""

from datetime import datetime
from typing import Any

from localset.apiserver.tables.columns import AGE, NAME, NONE, Column, Printer, age, items, name, part, since, wide
from localset.machinery.metadata import Object

COLUMNS = (
    NAME,
    Column("Ready", description="Containers that are ready, of all that the Pod has."),
    Column("Status", description="The Pod's phase, or why it is not what it should be."),
    Column("Restarts", description="How often containers were restarted, and when last."),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
)


def _terminated_reason(state: dict[str, Any]) -> str:
    if state.get("reason"):
        return str(state["reason"])
    if state.get("signal"):
        return f"Signal:{state['signal']}"
    return f"ExitCode:{state.get('exitCode', 0)}"


def _last_finished(status: dict[str, Any]) -> str:
    return str(part(part(status, "lastState"), "terminated").get("finishedAt") or "")


class _Summary:
    """Counts over the containers of one Pod."""

    def __init__(self, pod: Object) -> None:
        self.spec, self.status = part(pod, "spec"), part(pod, "status")
        init_specs = {c.get("name"): c for c in items(self.spec, "initContainers")}
        self.restartable = {n for n, c in init_specs.items() if c.get("restartPolicy") == "Always"}
        self.total = len(items(self.spec, "containers")) + len(self.restartable)
        self.ready = 0
        self.restarts = 0
        self.last_restart = ""
        self.reason = str(self.status.get("reason") or self.status.get("phase") or "")
        if self.condition("PodScheduled").get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"

    def condition(self, wanted: str) -> dict[str, Any]:
        return next((c for c in items(self.status, "conditions") if c.get("type") == wanted), {})

    def count(self, status: dict[str, Any]) -> None:
        self.restarts += int(status.get("restartCount") or 0)
        self.last_restart = max(self.last_restart, _last_finished(status))

    def init_reason(self) -> str | None:
        """Return the status that an unfinished init container gives, None when all are done."""
        total = len(items(self.spec, "initContainers"))
        for index, status in enumerate(items(self.status, "initContainerStatuses")):
            self.count(status)
            state = part(status, "state")
            terminated, waiting = state.get("terminated"), part(state, "waiting")
            if terminated is not None and not terminated.get("exitCode") and not terminated.get("signal"):
                continue
            if status.get("name") in self.restartable and status.get("started"):
                self.ready += bool(status.get("ready"))
                continue
            if terminated is not None:
                return f"Init:{_terminated_reason(terminated)}"
            if waiting.get("reason") and waiting["reason"] != "PodInitializing":
                return f"Init:{waiting['reason']}"
            return f"Init:{index}/{total}"
        return None

    def main_containers(self) -> None:
        """Take the main containers' word, last to first, so that the first one wins."""
        self.restarts, self.last_restart = 0, ""
        for status in items(self.status, "initContainerStatuses"):
            if status.get("name") in self.restartable:
                self.count(status)
        has_running = False
        for status in reversed(items(self.status, "containerStatuses")):
            self.count(status)
            state = part(status, "state")
            if part(state, "waiting").get("reason"):
                self.reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                self.reason = _terminated_reason(state["terminated"])
            elif status.get("ready") and state.get("running") is not None:
                has_running = True
                self.ready += 1
        if self.reason == "Completed" and has_running:
            self.reason = "Running" if self.condition("Ready").get("status") == "True" else "NotReady"


def _summarize(pod: Object) -> _Summary:
    summary = _Summary(pod)
    pending = summary.init_reason()
    if pending is not None:
        summary.reason = pending
    if pending is None or summary.condition("Initialized").get("status") == "True":
        summary.main_containers()
    if part(pod, "metadata").get("deletionTimestamp"):
        if summary.status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif summary.status.get("phase") not in {"Succeeded", "Failed"}:
            summary.reason = "Terminating"
    return summary


def status_text(pod: Object) -> str:
    """Return what the STATUS column says: `Running`, `CrashLoopBackOff`, `Init:0/1`, `Terminating` …"""
    return _summarize(pod).reason


def _cells(pod: Object, now: datetime) -> list[Any]:
    summary = _summarize(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({since(summary.last_restart, now)} ago)"
    spec, status = summary.spec, summary.status
    gates = items(spec, "readinessGates")
    met = sum(summary.condition(gate.get("conditionType", "")).get("status") == "True" for gate in gates)
    addresses = items(status, "podIPs")
    return [
        name(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(pod, now),
        (addresses[0].get("ip") if addresses else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{met}/{len(gates)}" if gates else NONE,
    ]


def _conditions(pod: Object) -> list[dict[str, str]]:
    phase = part(pod, "status").get("phase")
    texts = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    if phase not in texts:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": texts[phase]}]


PRINTERS = {"pods": Printer(COLUMNS, _cells, _conditions)}
