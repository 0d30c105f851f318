"""What happens to a dependent, given how its owners fare: pure.

Called by the garbagecollector with one verdict per ownerReference. Source: controller/garbagecollector
attemptToDeleteItem and processDeletingDependentsItem.
"""

from dataclasses import dataclass
from enum import Enum, auto

from localset.machinery.metadata import Object, copy_of, is_being_deleted

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Owner(Enum):
    """How an owner fares. WAITING: it is there only until its dependents are gone (foreground deletion)."""

    SOLID = auto()
    WAITING = auto()
    ABSENT = auto()


@dataclass(frozen=True)
class Verdict:
    """Delete the dependent, or take the references with these uids off it, or (neither) leave it."""

    deletes: bool = False
    drops: frozenset[str] = frozenset()


def owners_of(obj: Object) -> list[Object]:
    """Return metadata.ownerReferences, empty when absent."""
    return obj["metadata"].get("ownerReferences") or []


def owner_uids(obj: Object) -> list[str]:
    """Return the owners' uids: what dependents are indexed by."""
    return [str(reference.get("uid")) for reference in owners_of(obj)]


def has_finalizer(obj: Object, finalizer: str) -> bool:
    """Tell whether a dying object still waits for `finalizer`."""
    return is_being_deleted(obj) and finalizer in (obj["metadata"].get("finalizers") or [])


def judge(fates: list[tuple[Object, Owner]]) -> Verdict:
    """Decide from (ownerReference, how that owner fares)."""
    lost = frozenset(str(reference["uid"]) for reference, fate in fates if fate is not Owner.SOLID)
    if not lost:
        return Verdict()
    if any(fate is Owner.SOLID for _, fate in fates):
        return Verdict(drops=lost)
    return Verdict(deletes=True)


def blocks(dependent: Object, owner_uid: str) -> bool:
    """Tell whether the dependent keeps its foreground-deleted owner from going."""
    return any(r.get("uid") == owner_uid and r.get("blockOwnerDeletion") for r in owners_of(dependent))


def without_owners(obj: Object, uids: frozenset[str]) -> Object:
    """Return a copy without the references to these uids."""
    new: Object = copy_of(obj)
    kept = [reference for reference in owners_of(new) if reference.get("uid") not in uids]
    if kept:
        new["metadata"]["ownerReferences"] = kept
    else:
        new["metadata"].pop("ownerReferences", None)
    return new


def without_finalizer(obj: Object, finalizer: str) -> Object:
    """Return a copy without that finalizer."""
    new: Object = copy_of(obj)
    new["metadata"]["finalizers"] = [f for f in new["metadata"].get("finalizers") or [] if f != finalizer]
    return new
