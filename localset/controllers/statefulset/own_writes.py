"""What one sync has written, so that the next one starts from a cache that has seen it.

Called by everything in this room that writes. Without it a second sync acts on a stale copy: it creates a Pod twice, or
reads an old status.currentReplicas and picks the wrong revision.
"""

from localset.client.informer import InformerFactory
from localset.machinery.metadata import Object, version_of


class OwnWrites:
    """The newest own resourceVersion per resource."""

    def __init__(self) -> None:
        """Start with nothing written."""
        self._newest: dict[str, int] = {}

    def note(self, resource: str, answer: Object) -> Object:
        """Remember a write by the API's answer to it; return the answer."""
        text = version_of(answer)
        if text.isdigit():
            self._newest[resource] = max(self._newest.get(resource, 0), int(text))
        return answer

    async def are_seen(self, informers: InformerFactory) -> None:
        """Return once every cache has caught up with what was written."""
        for resource, newest in self._newest.items():
            await informers.of(resource).wait_until_seen(str(newest))
