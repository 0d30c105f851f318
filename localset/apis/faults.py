"""Faults that somebody puts on a Pod on purpose: annotations `fault.localset.dev/KIND`, and what their words mean.

Pure. Written by `localset fault` and by any client (`kubectl annotate pod zk-0 fault.localset.dev/freeze=for=30s`),
performed by `kubelet.faults`, which adds `since=`. A fault is part of its Pod: it goes when the Pod goes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from localset.machinery.durations import parse_duration

PREFIX = "fault.localset.dev/"
KILL, FREEZE, FILL, CUT, LOSS, DELAY = "kill", "freeze", "fill", "cut", "loss", "delay"
NETWORK = (CUT, LOSS, DELAY)
_WORDS = {
    KILL: {"container"},
    FREEZE: set(),
    FILL: {"volume"},
    CUT: {"from"},
    LOSS: {"percent"},
    DELAY: {"time", "jitter"},
}
_NEEDED = {LOSS: "percent", DELAY: "time"}
_OURS = {"for", "until", "since", "of"}


class FaultError(ValueError):
    """An annotation says nothing that can be done; the text says why."""


class Fault(NamedTuple):
    """One fault; `words` are its `key=value` parts, checked."""

    kind: str
    words: Mapping[str, str]

    @property
    def is_in_force(self) -> bool:
        """Tell whether the kubelet has done it."""
        return "since" in self.words

    @property
    def text(self) -> str:
        """Return the annotation's value."""
        return " ".join(f"{key}={value}" for key, value in self.words.items())

    def ends_at(self) -> datetime | None:
        """Return when it is over by itself: `until`, or `for` counted from `since`; None while open."""
        until = self.words.get("until")
        return datetime.fromisoformat(until) if until else None

    @property
    def peers(self) -> list[str]:
        """Return the Pods that a cut is from; none named means all."""
        return [name for name in self.words.get("from", "").split(",") if name]

    @property
    def about(self) -> str:
        """Return what it is, for a person."""
        words = self.words
        if self.kind == CUT:
            return f"cut from {', '.join(self.peers) or 'every other Pod'}"
        if self.kind == LOSS:
            return f"loss of {words['percent']} % of what it sends"
        if self.kind == DELAY:
            return f"delay of {words['time']}" + (f" ± {words['jitter']}" if words.get("jitter") else "")
        if self.kind == FILL:
            return f"fill of volume {words['volume']}" if words.get("volume") else "fill of its size-limited volumes"
        return self.kind if not words.get("container") else f"{self.kind} of container {words['container']}"


def parse(kind: str, text: str) -> Fault:
    """Return the fault that the annotation `kind` with the value `text` asks for; FaultError."""
    if kind not in _WORDS:
        raise FaultError(f"there is no fault {kind!r}; there are: {', '.join(_WORDS)}")
    words: dict[str, str] = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        if not equals or key not in _WORDS[kind] | _OURS:
            known = ", ".join(f"{word}=" for word in sorted(_WORDS[kind] | {"for", "until"}))
            raise FaultError(f"{kind}: {part!r} is not understood; it may say {known}")
        words[key] = value
    needed = _NEEDED.get(kind)
    if needed and not words.get(needed):
        raise FaultError(f"{kind}: needs {needed}=")
    try:
        problem = _problem(words)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise FaultError(f"{kind}: {problem}")
    return Fault(kind, words)


def _problem(words: Mapping[str, str]) -> str:
    if "percent" in words and not 0 < float(words["percent"]) <= 100:
        return "percent is above 0 and at most 100"
    for key in ("for", "time", "jitter"):
        if key in words:
            parse_duration(words[key])
    for key in ("until", "since"):
        if key in words and datetime.fromisoformat(words[key]).tzinfo is None:
            return f"{key} must name its time zone, as in 2026-01-31T12:00:00Z"
    return ""


def annotated(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return {kind: value} of every fault annotation of a Pod, understood or not."""
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    return {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
