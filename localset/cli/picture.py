"""The picture of every set: a line for the set, a line for each ordinal. Pure; `status` prints it, `watch` redraws it.

A line is its text and its colour, so that a screen can cut it to its width. Revisions are shown as the few letters at
their end; an arrow marks a Pod that is not yet of the set's newest one.
"""

from typing import Any

from localset.apis.pods import is_ready
from localset.apis.statefulsets import replicas_of
from localset.apis.views import host_address_of
from localset.cli.ages import age_of
from localset.cli.output import clean
from localset.cli.reasons import ordinals, reason_of

REPLICAS_WHEN_STARTED = "localset.dev/replicas-when-started"
_HEADER = ["", "POD", "READY", "ADDRESS", "REVISION", "RESTARTS", "AGE", "WHY"]
_GREEN, _YELLOW, _RED = "32", "33", "31"
Line = tuple[str, str]
_Object = dict[str, Any]


def picture(sets: list[_Object], pods: list[_Object], events: list[_Object]) -> list[Line]:
    """Return the lines for all sets, then for the Pods of none."""
    lines: list[Line] = []
    shown: set[str] = set()
    for statefulset in sets:
        own = [pod for pod in pods if pod["metadata"]["namespace"] == statefulset["metadata"]["namespace"]]
        rows = ordinals(statefulset, own, events)
        shown |= {pod["metadata"]["uid"] for _, pod, _ in rows if pod is not None}
        lines += [*([("", "")] if lines else []), _title(statefulset), *_table(statefulset, rows)]
    others = [pod for pod in pods if pod["metadata"]["uid"] not in shown]
    if others:
        lines += [*([("", "")] if lines else []), ("Pods of no set", "")]
        lines += _table({}, [(_place(pod), pod, _why_alone(pod, events)) for pod in sorted(others, key=_place)])
    return lines or [("no set yet: `localset apply -f FILE` makes one", "")]


def _place(pod: _Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _why_alone(pod: _Object, events: list[_Object]) -> str:
    phase = (pod.get("status") or {}).get("phase")
    return str(phase) if phase in {"Succeeded", "Failed"} else reason_of(pod, events)


def _title(statefulset: _Object) -> Line:
    metadata, status = statefulset["metadata"], statefulset.get("status") or {}
    ready, wanted = status.get("readyReplicas", 0), replicas_of(statefulset)
    text = f"{metadata['namespace']}/{metadata['name']}  {ready}/{wanted} ready"
    before = (metadata.get("annotations") or {}).get(REPLICAS_WHEN_STARTED, "")
    if before.isdecimal() and wanted < int(before):
        text += f", {'stopped' if not wanted else 'partly stopped'} (`localset start {metadata['name']}` runs {before})"
    new, updated = status.get("updateRevision"), status.get("updatedReplicas", 0)
    if new and new != status.get("currentRevision") and wanted:
        strategy = statefulset["spec"].get("updateStrategy") or {}
        how = ", Pods change when they are deleted" if strategy.get("type") == "OnDelete" else ""
        partition = (strategy.get("rollingUpdate") or {}).get("partition")
        how += f", from ordinal {partition} on" if partition else ""
        text += f", {updated}/{wanted} of the newest revision{how}"
    return clean(text), _GREEN if ready == wanted else _YELLOW


def _table(statefulset: _Object, rows: list[tuple[str, _Object | None, str]]) -> list[Line]:
    newest = (statefulset.get("status") or {}).get("updateRevision", "")
    table = [_HEADER, *(_row(name, pod, reason, newest) for name, pod, reason in rows)]
    widths = [max(len(row[n]) for row in table) for n in range(len(_HEADER) - 1)]
    lines = []
    for number, row in enumerate(table):
        text = "".join(cell.ljust(width + 2) for cell, width in zip(row, widths, strict=False)) + row[-1]
        lines.append((f"  {text}".rstrip(), "" if not number else _colour(*rows[number - 1][1:])))
    return lines


def _colour(pod: _Object | None, reason: str) -> str:
    if pod is None or not reason:
        return ""
    waiting = [s.get("state", {}).get("waiting", {}).get("reason", "") for s in _statuses(pod)]
    is_failing = any(why.endswith(("BackOff", "Error", "ErrImagePull")) for why in waiting)
    return _RED if is_failing or (pod.get("status") or {}).get("phase") == "Failed" else _YELLOW


def _statuses(pod: _Object) -> list[_Object]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def _row(name: str, pod: _Object | None, reason: str, newest: str) -> list[str]:
    name, reason = clean(name), clean(reason).replace("\n", " ")
    if pod is None:
        return ["○", name, "-", "-", "-", "-", "-", reason]
    metadata = pod["metadata"]
    revision = (metadata.get("labels") or {}).get("controller-revision-hash", "")
    is_old = bool(newest and revision and revision != newest)
    statuses = _statuses(pod)
    ready = f"{sum(bool(s.get('ready')) for s in statuses)}/{len(pod['spec']['containers'])}"
    return [
        "●" if is_ready(pod) else "◐",
        name,
        ready,
        clean(host_address_of(pod) or "-"),
        (clean(revision.rpartition("-")[2])[-6:] or "-") + (" ↑" if is_old else ""),
        str(sum(s.get("restartCount", 0) for s in statuses)),
        age_of(metadata.get("creationTimestamp", "")),
        reason,
    ]
