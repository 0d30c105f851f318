"""Events: one stored object, two groups' words for it (`v1` and `events.k8s.io/v1`). Pure.

Stored in the words of core v1. `apis.scheme` converts at the door; field selectors of the newer group are read through
`OLD_WORDS` as well.
"""

from typing import Any

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, raise_if, required
from localset.machinery.metadata import Object, namespace_of
from localset.machinery.names import qualified_name

OLD_WORDS = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""events.k8s.io's name of a field → core's."""
_NEW_WORDS = {old: new for new, old in OLD_WORDS.items()}
_NOT_WRITTEN_EMPTY = ("reportingController", "reportingInstance")
_MAX_NOTE_BYTES = 1024
_MAX_NAME_BYTES = 128


def default_event(event: Object) -> None:
    """Fill in the fields that are always serialized, and leave out a count of nothing, which never is."""
    event.setdefault("source", {})
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(field, None)
    for field in ("reportingComponent", "reportingInstance"):
        event.setdefault(field, "")
    if not event.get("count", 1):
        del event["count"]


def to_core(event: Object) -> None:
    """Rename the fields of an events.k8s.io Event in place, and refuse what that group does not allow (422)."""
    for new, old in OLD_WORDS.items():
        if new in event:
            event[old] = event.pop(new)
    default_event(event)
    causes = [] if event.get("eventTime") else [required("eventTime")]
    if event.get("type") not in {"Normal", "Warning"}:
        kind = event.get("type") or ""
        causes.append(bad_value("type", kind, f"has invalid value: {kind}"))
    if causes:
        causes = [*_causes(event), *causes]
    raise_if("Event", "", str(event["metadata"].get("name") or ""), causes)


def from_core(event: Object) -> Object:
    """Return a copy of the stored `event` in the words of events.k8s.io; parts are shared."""
    shown: Object = {_NEW_WORDS.get(field, field): value for field, value in event.items()}
    for field in _NOT_WRITTEN_EMPTY:
        if not shown.get(field):
            shown.pop(field, None)
    return shown


class EventStrategy(Strategy):
    """Events: they lie in the namespace of what they speak of; those of cluster-scoped objects in `default`."""

    creates_on_update = True

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the namespace, and what an Event with an eventTime needs. Source: legacyValidateEvent."""
        return _causes(obj)


def _causes(event: Object) -> list[Cause]:
    about, namespace = str((event.get("involvedObject") or {}).get("namespace") or ""), namespace_of(event)
    if not event.get("eventTime"):
        fits = namespace == (about or "default")
        return [] if fits else [bad_value("involvedObject.namespace", about, "does not match event.namespace")]
    causes: list[Cause] = []
    if about not in {"", namespace} or (not about and namespace not in {"default", "kube-system"}):
        causes.append(bad_value("involvedObject.namespace", about, "does not match event.namespace"))
    controller = str(event.get("reportingComponent") or "")
    causes += _text_causes(controller, "reportingController", 0)
    if controller:
        causes += [bad_value("reportingController", controller, why) for why in qualified_name(controller)]
    causes += _text_causes(event.get("reportingInstance"), "reportingInstance", _MAX_NAME_BYTES)
    causes += _text_causes(event.get("action"), "action", _MAX_NAME_BYTES)
    causes += _text_causes(event.get("reason"), "reason", _MAX_NAME_BYTES)
    if len(str(event.get("message") or "").encode()) > _MAX_NOTE_BYTES:
        causes.append(bad_value("message", "", f"can have at most {_MAX_NOTE_BYTES} characters"))
    return causes


def _text_causes(value: Any, path: str, limit: int) -> list[Cause]:
    text = str(value or "")
    if not text:
        return [required(path)]
    if limit and len(text.encode()) > limit:
        return [bad_value(path, "", f"can have at most {limit} characters")]
    return []
