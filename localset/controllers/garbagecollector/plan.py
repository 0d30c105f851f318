"""What the garbage collector does with one object: pure.

`plan_dependent` looks at an object with owners, `plan_owner` at one that waits for its dependents. Follows Kubernetes'
pkg/controller/garbagecollector (attemptToDeleteItem, processDeletingDependentsItem, orphanDependents).
"""

from enum import Enum, auto

from localset.base.frozen import frozen
from localset.client.client import Propagation
from localset.machinery.metadata import Object, is_being_deleted, uid_of

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class OwnerState(Enum):
    """What became of an owner that a reference names."""

    SOLID = auto()
    """It is there, or we cannot know: a kind that is not served here."""
    DANGLING = auto()
    """It is gone: absent, or of another uid."""
    WAITING = auto()
    """It is being deleted in the foreground and waits for its dependents."""


@frozen
class Keep:
    """Leave the object alone."""


@frozen
class DropReferences:
    """Some owners remain: only the references to these uids go."""

    uids: frozenset[str]


@frozen
class Delete:
    """Delete the object, with this propagation."""

    propagation: Propagation


@frozen
class AskDependents:
    """The owner waits: its dependents are looked at."""


@frozen
class RemoveFinalizer:
    """Nothing holds the owner any more."""

    finalizer: str


@frozen
class OrphanDependents:
    """The owner's dependents lose their reference to it; then its finalizer goes."""


def finalizers_of(obj: Object) -> list[str]:
    """Return metadata.finalizers, empty when absent."""
    return obj["metadata"].get("finalizers") or []


def references_of(obj: Object) -> list[Object]:
    """Return metadata.ownerReferences, empty when absent."""
    return obj["metadata"].get("ownerReferences") or []


def waits_for_dependents(obj: Object) -> bool:
    """Tell whether the object is being deleted in the foreground."""
    return is_being_deleted(obj) and FOREGROUND in finalizers_of(obj)


def orphans_dependents(obj: Object) -> bool:
    """Tell whether the object is being deleted and leaves its dependents behind."""
    return is_being_deleted(obj) and ORPHAN in finalizers_of(obj)


def is_blocking(dependent: Object, owner: Object) -> bool:
    """Tell whether the dependent holds up the foreground deletion of `owner`."""
    return any(r.get("uid") == uid_of(owner) and r.get("blockOwnerDeletion") for r in references_of(dependent))


def plan_dependent(
    obj: Object, owners: dict[str, OwnerState], *, has_dependents: bool
) -> Keep | DropReferences | Delete:
    """Decide on an object with owners; `owners` has a state for each uid that it references."""
    if not owners or (is_being_deleted(obj) and not waits_for_dependents(obj)):
        return Keep()
    states = set(owners.values())
    gone = frozenset(uid for uid, state in owners.items() if state is not OwnerState.SOLID)
    if OwnerState.SOLID in states:
        return DropReferences(gone) if gone else Keep()
    if is_being_deleted(obj):
        return Keep()
    if OwnerState.WAITING in states and has_dependents:
        # NB: the owner wants to see its dependents' dependents gone as well.
        return Delete(Propagation.FOREGROUND)
    if ORPHAN in finalizers_of(obj):
        return Delete(Propagation.ORPHAN)
    if FOREGROUND in finalizers_of(obj):
        return Delete(Propagation.FOREGROUND)
    return Delete(Propagation.BACKGROUND)


def plan_owner(obj: Object, dependents: list[Object]) -> Keep | AskDependents | RemoveFinalizer | OrphanDependents:
    """Decide on an object that is being deleted and may wait for its dependents."""
    if orphans_dependents(obj):
        return OrphanDependents()
    if waits_for_dependents(obj):
        if any(is_blocking(dependent, obj) for dependent in dependents):
            return AskDependents()
        return RemoveFinalizer(FOREGROUND)
    return Keep()
