"""The counters of a set's status (semantics 2.8), newer Kubernetes' arithmetic.

Called by plan. Pure. Counters are never negative: where Kubernetes computes -1 and its write is refused, we clamp.
"""

from collections.abc import Callable, Iterable
from typing import Any

from localset.controllers.statefulset.identity import PodFacts, replicas_of
from localset.machinery.metadata import Object

_COUNTERS = ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas")
_COMPARED = ("observedGeneration", *_COUNTERS, "currentRevision", "updateRevision")


def counted(
    owner: Object, pods: Iterable[PodFacts], current: str, update: str, is_available: Callable[[PodFacts], bool]
) -> dict[str, Any]:
    """Return a fresh status of the claimed `pods`, before the update pass has its say."""
    replicas = ready = available = at_current = at_update = 0
    for facts in pods:
        if not facts.is_created:
            continue
        replicas += 1
        if facts.is_ready:
            ready += 1
            available += is_available(facts)
        if not facts.is_terminating:
            at_current += facts.revision == current
            at_update += facts.revision == update
    return {
        "observedGeneration": int(owner["metadata"].get("generation") or 0),
        "replicas": replicas,
        "readyReplicas": ready,
        "availableReplicas": available,
        "currentReplicas": at_current,
        "updatedReplicas": at_update,
        "currentRevision": current,
        "updateRevision": update,
    }


def complete(owner: Object, status: dict[str, Any]) -> None:
    """Make the update revision the current one once every replica runs it (RollingUpdate only)."""
    wanted = replicas_of(owner)
    if (owner["spec"].get("updateStrategy") or {}).get("type") != "RollingUpdate":
        return
    if status["updatedReplicas"] == status["readyReplicas"] == status["replicas"] == wanted:
        status["currentReplicas"] = status["updatedReplicas"]
        status["currentRevision"] = status["updateRevision"]


def clamp(status: dict[str, Any]) -> None:
    """Keep every counter within 0 … replicas."""
    for counter in _COUNTERS:
        status[counter] = max(0, status[counter])
        if counter != "replicas":
            status[counter] = min(status[counter], status["replicas"])


def is_change(stored: Object, status: dict[str, Any]) -> bool:
    """Tell whether writing `status` over `stored` would tell anybody anything new."""
    if status["observedGeneration"] < int(stored.get("observedGeneration") or 0):
        return False
    if "availableReplicas" not in stored:
        return True
    return any((stored.get(key) or _empty(key)) != status[key] for key in _COMPARED)


def _empty(key: str) -> str | int:
    return "" if key.endswith("Revision") else 0
