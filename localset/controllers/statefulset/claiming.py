"""Whose Pods and revisions: adopt orphans, release what no longer matches (semantics 2.7).

Called by controller at the start of each sync. An orphan is adopted only after the live set was read: without that, a
set that is being deleted would take back what the garbage collector has just been told to leave or to kill.
"""

from localset.client.client import Client
from localset.controllers.statefulset.identity import API_VERSION, KIND, is_member
from localset.controllers.statefulset.own_writes import OwnWrites
from localset.machinery.errors import StatusError, conflict
from localset.machinery.labels import Selector
from localset.machinery.metadata import (
    Object,
    controller_of,
    copy_of,
    is_being_deleted,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)

SETS = "statefulsets.apps"
PODS = "pods"


class Claimer:
    """Claims for one set during one sync; the live set is read at most once."""

    def __init__(self, client: Client, own: OwnWrites, owner: Object, selector: Selector) -> None:
        """Claim for `owner`, as it stands in the cache."""
        self._client = client
        self._own = own
        self._owner = owner
        self._selector = selector
        self._has_asked = False

    async def pods(self, candidates: list[Object]) -> list[Object]:
        """Return the Pods of the set among `candidates`, adopted and released as needed."""
        claimed: list[Object] = []
        for pod in candidates:
            matches = is_member(pod, self._owner) and self._selector.matches(labels_of(pod))
            controller = controller_of(pod)
            if controller is not None:
                if controller.get("uid") != uid_of(self._owner):
                    continue
                if matches:
                    claimed.append(pod)
                elif not is_being_deleted(self._owner):
                    await self._release(pod)
            elif matches and not is_being_deleted(pod) and not is_being_deleted(self._owner):
                adopted = await self._adopt(PODS, pod)
                if adopted is not None:
                    claimed.append(adopted)
        return claimed

    async def revisions(self, candidates: list[Object]) -> list[Object]:
        """Return the revisions of the set among `candidates`; orphans that match are adopted."""
        claimed: list[Object] = []
        for revision in candidates:
            if not self._selector.matches(labels_of(revision)):
                continue
            controller = controller_of(revision)
            if controller is not None:
                if controller.get("uid") == uid_of(self._owner):
                    claimed.append(revision)
            elif is_being_deleted(self._owner):
                claimed.append(revision)
            elif not is_being_deleted(revision):
                adopted = await self._adopt("controllerrevisions.apps", revision)
                if adopted is not None:
                    claimed.append(adopted)
        return claimed

    async def _check_live(self) -> None:
        if self._has_asked:
            return
        live = await self._client.get(SETS, namespace_of(self._owner), name_of(self._owner))
        if uid_of(live) != uid_of(self._owner):
            raise conflict(SETS, name_of(self._owner), f"it is another one now: its uid is {uid_of(live)}")
        if is_being_deleted(live):
            raise conflict(SETS, name_of(self._owner), "it has just been deleted and adopts nothing")
        self._has_asked = True

    async def _adopt(self, resource: str, obj: Object) -> Object | None:
        await self._check_live()
        changed = copy_of(obj)
        references = changed["metadata"].get("ownerReferences") or []
        # A plain reference of ours may be there already; it is replaced by the controlling one.
        others = [r for r in references if r.get("uid") != uid_of(self._owner)]
        changed["metadata"]["ownerReferences"] = [*others, owner_reference(self._owner, API_VERSION, KIND)]
        return await self._write(resource, changed)

    async def _release(self, pod: Object) -> None:
        changed = copy_of(pod)
        kept = [r for r in changed["metadata"]["ownerReferences"] if r.get("uid") != uid_of(self._owner)]
        if kept:
            changed["metadata"]["ownerReferences"] = kept
        else:
            del changed["metadata"]["ownerReferences"]
        await self._write(PODS, changed)

    async def _write(self, resource: str, changed: Object) -> Object | None:
        """Return the written object, or None when it is gone meanwhile. A stale copy is a 409 and ends the sync."""
        try:
            return self._own.note(resource, await self._client.update(resource, changed))
        except StatusError as error:
            if error.code == 404:
                return None
            raise
