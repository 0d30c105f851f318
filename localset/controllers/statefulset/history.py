"""Storing the history of a set's template: create, renumber and prune ControllerRevisions (semantics 1.7).

Called by controller, once per sync; what is the same and which is chosen is decided in `revisions` (pure).
It writes nothing for a set that is being deleted: the garbage collector is taking its revisions away then.
"""

from typing import NamedTuple

from localset.apis import scheme
from localset.apis.resources import BY_NAME
from localset.client.client import Client, DeleteOptions
from localset.controllers.statefulset.identity import PodFacts
from localset.controllers.statefulset.own_writes import OwnWrites
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
from localset.machinery.metadata import Object, copy_of, is_being_deleted, name_of, namespace_of, uid_of

REVISIONS = "controllerrevisions.apps"
DEFAULT_LIMIT = 10
_MOST_COLLISIONS = 100


class History(NamedTuple):
    """The set's revisions in order, the two that matter, and status.collisionCount as it is now."""

    revisions: list[Object]
    current: Object
    update: Object
    collision_count: int


async def settle(client: Client, own: OwnWrites, owner: Object, owned: list[Object]) -> History:
    """Make the stored history name the set's present template; return it. StatusError as the API answers."""
    revisions = in_order(owned)
    collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
    proposed = new_revision(owner, 1, collisions)
    choice = choose_update(revisions, proposed, _with_todays_defaults(owner, revisions))
    if choice.existing is not None:
        update = choice.existing
    elif is_being_deleted(owner):
        update = choice.renumber or proposed
    else:
        if choice.renumber is not None:
            changed = {**choice.renumber, "revision": choice.next_number}
            update = own.note(REVISIONS, await client.update(REVISIONS, changed))
        else:
            update, collisions = await _create(client, own, owner, choice.next_number, collisions)
        revisions = in_order([*(r for r in revisions if name_of(r) != name_of(update)), update])
    return History(revisions, choose_current(revisions, owner, update), update, collisions)


def _with_todays_defaults(owner: Object, revisions: list[Object]) -> Object | None:
    """Return the newest revision as it would be made today, so that new defaults alone roll nothing."""
    if not revisions or is_same(revisions[-1], {"data": data_of(owner)}):
        return None
    patched = {**owner, "spec": {**owner["spec"], "template": copy_of(template_of(revisions[-1]))}}
    return {"data": data_of(scheme.default(BY_NAME["statefulsets.apps"], patched))}


async def _create(client: Client, own: OwnWrites, owner: Object, number: int, collisions: int) -> tuple[Object, int]:
    labels = new_revision(owner, number, collisions)["metadata"]["labels"]
    for count in range(collisions, collisions + _MOST_COLLISIONS):
        fresh = new_revision(owner, number, count)
        # After a collision the name changes; the hash label keeps its first value.
        fresh["metadata"]["labels"] = labels
        try:
            return own.note(REVISIONS, await client.create(REVISIONS, fresh)), count
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        present = await client.get(REVISIONS, namespace_of(owner), name_of(fresh))
        if is_same(present, fresh):
            return present, count
    raise StatusError(409, "Conflict", f"no free name for a revision of {name_of(owner)}")


async def prune(client: Client, own: OwnWrites, owner: Object, history: History, pods: list[PodFacts]) -> None:
    """Delete the oldest revisions that nothing uses, beyond revisionHistoryLimit."""
    if is_being_deleted(owner):
        return
    limit = owner["spec"].get("revisionHistoryLimit")
    live = {name_of(history.current), name_of(history.update), *(facts.revision for facts in pods)}
    for revision in to_prune(history.revisions, live, DEFAULT_LIMIT if limit is None else int(limit)):
        options = DeleteOptions(uid=uid_of(revision))
        try:
            own.note(REVISIONS, await client.delete(REVISIONS, namespace_of(owner), name_of(revision), options))
        except StatusError as error:
            if error.code not in {404, 409}:
                raise
