"""Keeping a set's ControllerRevisions: adopt, choose, create, renumber, prune (semantics 1.7).

Called by the controller of this room; `revisions` decides. Follows Kubernetes' pkg/controller/history and
stateful_set_control.go (getStatefulSetRevisions).
"""

from typing import Protocol

from localset.apis import scheme
from localset.apis.resources import BY_NAME
from localset.client.client import Client, DeleteOptions, PatchType
from localset.client.informer import Informer
from localset.controllers.statefulset.identity import API_VERSION, KIND
from localset.controllers.statefulset.revisions import (
    choose_current,
    choose_update,
    data_of,
    in_order,
    is_same,
    new_revision,
    template_of,
    to_prune,
)
from localset.machinery.errors import StatusError
from localset.machinery.labels import Selector
from localset.machinery.metadata import (
    Object,
    copy_of,
    is_being_deleted,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
    version_of,
)

REVISIONS = "controllerrevisions.apps"
DEFAULT_LIMIT = 10


class AdoptionCheck(Protocol):
    """Asks the store itself whether the set may still adopt."""

    async def allows_adoption(self) -> bool:
        """Return True for the same uid without a deletionTimestamp."""
        ...


class History:
    """All sets' revisions over one informer (index `owner`: uid of the controller, or `namespace/` of orphans)."""

    def __init__(self, client: Client, revisions: Informer) -> None:
        """Take the shared informer of ControllerRevisions."""
        self._client = client
        self._revisions = revisions

    async def claim(self, owner: Object, selector: Selector, live: AdoptionCheck) -> list[Object]:
        """Return the set's revisions, oldest first; matching orphans are adopted."""
        found = list(self._revisions.by_index("owner", uid_of(owner)))
        for orphan in self._revisions.by_index("owner", f"{namespace_of(owner)}/"):
            if is_being_deleted(owner) or is_being_deleted(orphan) or not selector.matches(labels_of(orphan)):
                continue
            if await live.allows_adoption():
                reference = owner_reference(owner, API_VERSION, KIND)
                found.append(
                    await self._patch(orphan, {"metadata": {"uid": uid_of(orphan), "ownerReferences": [reference]}})
                )
        return in_order(found)

    async def choose(self, owner: Object, revisions: list[Object]) -> tuple[Object, Object, int]:
        """Return (current, update, collision count); creates or renumbers the update revision when it must."""
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        proposed = new_revision(owner, 1, collisions)
        newest = revisions[-1] if revisions else None
        is_known = newest is not None and is_same(newest, proposed)
        defaulted = None if newest is None or is_known else _with_todays_defaults(owner, newest)
        choice = choose_update(revisions, proposed, defaulted)
        if choice.existing is not None:
            update = choice.existing
        elif choice.renumber is not None:
            update = await self._patch(choice.renumber, {"revision": choice.next_number})
        elif is_being_deleted(owner) and newest is not None:
            update = newest  # A set that is going makes no history any more.
        else:
            update, collisions = await self._create(owner, choice.next_number, collisions)
        return choose_current(revisions, owner, update), update, collisions

    async def prune(self, owner: Object, in_use: set[str]) -> None:
        """Delete the oldest revisions that nothing uses, beyond revisionHistoryLimit."""
        revisions = self._revisions.by_index("owner", uid_of(owner))
        status = owner.get("status") or {}
        limit = owner["spec"].get("revisionHistoryLimit")
        limit = DEFAULT_LIMIT if limit is None else int(limit)
        if limit < 0 or len(revisions) <= limit:
            return
        # NB: the cached set's status may be one sync old: the newest revision counts as in use whatever it says.
        live = in_use | {status.get("currentRevision", ""), status.get("updateRevision", "")}
        live |= {name_of(in_order(revisions)[-1])}
        for spare in to_prune(revisions, live, limit):
            try:
                await self._client.delete(
                    REVISIONS, namespace_of(spare), name_of(spare), DeleteOptions(uid=uid_of(spare))
                )
            except StatusError as error:
                if error.code not in {404, 409}:
                    raise

    async def _patch(self, revision: Object, patch: Object) -> Object:
        written = await self._client.patch(REVISIONS, namespace_of(revision), name_of(revision), patch, PatchType.MERGE)
        await self._revisions.wait_until_seen(version_of(written))
        return written

    async def _create(self, owner: Object, number: int, collisions: int) -> tuple[Object, int]:
        hash_label = new_revision(owner, number, collisions)["metadata"]["labels"]
        while True:
            revision = new_revision(owner, number, collisions)
            # NB: after a collision the name changes, the hash label keeps its first value (semantics 1.7).
            revision["metadata"]["labels"] = hash_label
            try:
                created = await self._client.create(REVISIONS, revision)
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                existing = await self._client.get(REVISIONS, namespace_of(owner), name_of(revision))
                if is_same(existing, revision):
                    return existing, collisions
                collisions += 1
            else:
                await self._revisions.wait_until_seen(version_of(created))
                return created, collisions


def _with_todays_defaults(owner: Object, revision: Object) -> Object:
    """Return the revision as it would be stored today: a new default alone must not roll a set."""
    restored = copy_of(owner)
    restored["spec"]["template"] = copy_of(template_of(revision))
    restored = scheme.default(BY_NAME["statefulsets.apps"], restored)
    return {**revision, "data": data_of(restored)}
