"""Why a Pod is not Ready, in one line; computed from what the API says, for `status`, `apply --wait` and `describe`."""

from typing import Any

from localset.apis.pods import is_running_and_ready, phase_of
from localset.apis.statefulsets import parent_and_ordinal, pod_name, replicas_of, start_ordinal
from localset.machinery.metadata import is_being_deleted


def probe_failures(pod: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """Return `zkOk.sh exited 1, 3 times`-like text of the Pod's newest Unhealthy readiness event, or nothing."""
    uid = pod["metadata"].get("uid")
    found = [
        e
        for e in events
        if e.get("reason") == "Unhealthy"
        and e["involvedObject"].get("uid") == uid
        and str(e.get("message", "")).startswith("Readiness")
    ]
    if not found:
        return ""
    newest = max(found, key=lambda e: e.get("lastTimestamp") or "")
    text = str(newest["message"]).partition(":")[2].strip().splitlines()
    count = newest.get("count") or 1
    times = "once" if count == 1 else f"{count} times"
    detail = text[0][:120] if text and text[0] else "failed"
    return f"{_probe_command(pod)} {detail}, {times}".strip()


def _probe_command(pod: dict[str, Any]) -> str:
    for container in pod["spec"]["containers"]:
        command = ((container.get("readinessProbe") or {}).get("exec") or {}).get("command")
        if command:
            return str(command[0] if command[0] not in {"sh", "bash", "/bin/sh", "/bin/bash"} else " ".join(command))[
                :60
            ]
    return "readiness probe"


def reason_of(pod: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """Return why `pod` is not Ready; empty when it is."""
    if is_being_deleted(pod):
        return "terminating"
    if is_running_and_ready(pod):
        return ""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or []
    statuses = [*statuses, *((pod.get("status") or {}).get("containerStatuses") or [])]
    for status in statuses:
        waiting = (status.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in {"ContainerCreating", "PodInitializing", None}:
            message = waiting.get("message", "")
            return f"{waiting['reason']}: {message}" if message else str(waiting["reason"])
        terminated = (status.get("state") or {}).get("terminated")
        if terminated and terminated.get("exitCode") != 0:
            return f"{status['name']} exited {terminated.get('exitCode')}: {terminated.get('reason', '')}"
    if phase_of(pod) == "Running":
        failures = probe_failures(pod, events)
        return f"not ready, {failures}" if failures else "not ready yet"
    warnings = [
        e
        for e in events
        if e.get("type") == "Warning"
        and e["involvedObject"].get("uid") == pod["metadata"].get("uid")
        and e.get("reason") in {"FailedMount", "FailedScheduling", "Failed", "PortConflict", "FailedCreate"}
    ]
    if warnings:
        return str(warnings[-1].get("message", ""))[:200]
    return "starting"


def ordinals(
    statefulset: dict[str, Any], pods: list[dict[str, Any]], events: list[dict[str, Any]]
) -> list[tuple[str, dict[str, Any] | None, str]]:
    """Return (Pod name, Pod or None, why it is not Ready) for each wanted ordinal, then for those on their way out."""
    name = statefulset["metadata"]["name"]
    by_name = {p["metadata"]["name"]: p for p in pods}
    rows: list[tuple[str, dict[str, Any] | None, str]] = []
    first_waiting = ""
    is_parallel = statefulset["spec"].get("podManagementPolicy") == "Parallel"
    start = start_ordinal(statefulset)
    for ordinal in range(start, start + replicas_of(statefulset)):
        wanted = pod_name(name, ordinal)
        pod = by_name.pop(wanted, None)
        reason = reason_of(pod, events) if pod else ""
        if pod is None:
            reason = (
                f"waits for {first_waiting}" if first_waiting and not is_parallel else _not_created(statefulset, events)
            )
        if reason and not first_waiting:
            first_waiting = f"{wanted}: {reason}"
        rows.append((wanted, pod, reason))
    extra = [p for n, p in by_name.items() if parent_and_ordinal(n)[0] == name]
    rows += [
        (p["metadata"]["name"], p, "not wanted any more" if not is_being_deleted(p) else "terminating")
        for p in sorted(extra, key=lambda p: parent_and_ordinal(p["metadata"]["name"])[1])
    ]
    return rows


def _not_created(statefulset: dict[str, Any], events: list[dict[str, Any]]) -> str:
    uid = statefulset["metadata"].get("uid")
    failed = [e for e in events if e.get("reason") == "FailedCreate" and e["involvedObject"].get("uid") == uid]
    return str(failed[-1].get("message", "")) if failed else "being created"
