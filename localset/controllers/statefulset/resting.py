"""Names of Pods that somebody else deleted a moment ago, and that get no successor yet.

Held by controller. `kubectl delete` looks whether the Pod has gone, and if not, lists and watches until it goes. Here
a Pod can go and its successor come between these two, in milliseconds; kubectl then takes the successor for the Pod
that it waits for, and waits for ever. On a cluster a Pod takes a second to go, and the gap is hardly ever met. So the
name rests until kubectl must have looked. Deletions of our own, as a rolling update's, are waited for by nobody.
"""

from localset.base.clock import Clock
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of

REST_SECONDS = 0.2


class RestingNames:
    """Which names rest, and for how long."""

    def __init__(self, clock: Clock) -> None:
        """Start with none."""
        self._clock = clock
        self._own: set[str] = set()
        self._free_at: dict[tuple[str, str], float] = {}

    def note_own_deletion(self, uid: str) -> None:
        """Remember that the end of this Pod is our own doing."""
        self._own.add(uid)

    def note_gone(self, pod: Object) -> None:
        """Let the name of a Pod rest, unless we deleted it."""
        if uid_of(pod) in self._own:
            self._own.discard(uid_of(pod))
            return
        now = self._clock.monotonic()
        self._free_at = {name: moment for name, moment in self._free_at.items() if moment > now}
        self._free_at[namespace_of(pod), name_of(pod)] = now + REST_SECONDS

    def of(self, namespace: str) -> dict[str, float]:
        """Return the names that rest in a namespace, with the seconds that they still do."""
        if not self._free_at:
            return {}
        now = self._clock.monotonic()
        return {
            name: moment - now for (where, name), moment in self._free_at.items() if where == namespace and moment > now
        }
