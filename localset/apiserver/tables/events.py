"""Rows of Event: when it was last seen, and what it is about."""

from datetime import datetime
from typing import Any

from localset.apis.events import OLD_WORDS
from localset.apiserver.tables.columns import Column, Printer, name, part, since, wide
from localset.machinery.metadata import Object


def _target(involved: dict[str, Any]) -> str:
    kind = str(involved.get("kind", "")).lower()
    return f"{kind}/{involved['name']}" if involved.get("name") else kind


def _source(obj: Object) -> str:
    source = part(obj, "source")
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or ""
    return f"{component}, {host}" if host else component


def _event(obj: Object, now: datetime) -> list[Any]:
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj.get("lastTimestamp"), now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series:
        last = since(series.get("lastObservedTime"), now)
        count = (series.get("count") or 0) + 1  # a series counts repetitions of the first one
    involved = part(obj, "involvedObject")
    return [
        last,
        obj.get("type") or "",
        obj.get("reason") or "",
        _target(involved),
        involved.get("fieldPath") or "",
        _source(obj),
        str(obj.get("message") or "").strip(),
        first,
        count,
        name(obj),
    ]


def _newer_event(obj: Object, now: datetime) -> list[Any]:
    """Read an events.k8s.io Event, which says the same in other words."""
    return _event({OLD_WORDS.get(field, field): value for field, value in obj.items()}, now)


_COLUMNS = (
    Column("Last Seen", description="Time since it happened last."),
    Column("Type"),
    Column("Reason"),
    Column("Object", description="What it is about."),
    wide("Subobject"),
    wide("Source"),
    Column("Message"),
    wide("First Seen"),
    wide("Count"),
    Column("Name", format="name", priority=1),
)
PRINTERS = {
    "events": Printer(_COLUMNS, _event),
    "events.events.k8s.io": Printer(_COLUMNS, _newer_event),
}
