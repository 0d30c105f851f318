"""Who owns the claims of a set's Pods: persistentVolumeClaimRetentionPolicy (semantics 2.10).

Called by plan. Pure. Ownership is all that is decided here; the garbage collector deletes.
Follows Kubernetes' stateful_set_utils.go (updateClaimOwnerRefForSetAndPod).
"""

from typing import NamedTuple

from localset.controllers.statefulset.identity import API_VERSION, KIND, pod_name
from localset.machinery.metadata import Object, controller_of, copy_of, name_of, owner_reference, uid_of


class Retention(NamedTuple):
    """The policy, as two questions."""

    delete_with_set: bool
    delete_on_scale: bool


def retention_of(owner: Object) -> Retention:
    """Return the set's policy; Retain is the default of both."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return Retention(policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete")


def _is_set_reference(reference: Object, owner: Object) -> bool:
    return reference.get("kind") == KIND and reference.get("name") == name_of(owner)


def _is_pod_reference(reference: Object, name: str) -> bool:
    return reference.get("kind") == "Pod" and reference.get("name") == name


def is_stale(claim: Object, owner: Object, ordinal: int, pod: Object | None) -> bool:
    """Tell whether the claim belongs to a former Pod of this ordinal, so that its data is about to go."""
    name = pod_name(name_of(owner), ordinal)
    uid = uid_of(pod) if pod is not None else ""
    return any(
        _is_pod_reference(reference, name) and reference.get("uid") != uid
        for reference in claim["metadata"].get("ownerReferences") or []
    )


def has_foreign_controller(claim: Object, owner: Object, pod: Object | None) -> bool:
    """Tell whether something that is neither set nor Pod controls the claim."""
    controller = controller_of(claim)
    ours = {uid_of(owner), uid_of(pod) if pod is not None else ""}
    return controller is not None and controller.get("uid") not in ours


def with_ownership(claim: Object, owner: Object, ordinal: int, pod: Object | None, *, is_condemned: bool) -> Object:
    """Return `claim` itself when its owners are right, else a copy with the right ones.

    References to a set or Pod of our names but another uid are stale: left alone. NB: with another controller our own
    references go and nothing of ours is added, so that the claim is never deleted by us.
    """
    retention = retention_of(owner)
    by_set = retention.delete_with_set and not (is_condemned and retention.delete_on_scale)
    by_pod = is_condemned and retention.delete_on_scale and pod is not None
    if has_foreign_controller(claim, owner, pod):
        by_set = by_pod = False
    name = pod_name(name_of(owner), ordinal)
    present = claim["metadata"].get("ownerReferences") or []
    kept = [r for r in present if r.get("uid") != uid_of(owner) and (pod is None or r.get("uid") != uid_of(pod))]
    has_stale = any(_is_set_reference(r, owner) or _is_pod_reference(r, name) for r in kept)
    wanted = list(kept)
    if by_set and not has_stale:
        wanted.append(owner_reference(owner, API_VERSION, KIND))
    if by_pod and pod is not None and not has_stale:
        wanted.append(owner_reference(pod, "v1", "Pod"))
    if _by_uid(wanted) == _by_uid(present):
        return claim
    changed: Object = copy_of(claim)
    if wanted:
        changed["metadata"]["ownerReferences"] = wanted
    else:
        changed["metadata"].pop("ownerReferences", None)
    return changed


def _by_uid(references: list[Object]) -> dict[str, tuple[bool, bool]]:
    return {str(r.get("uid")): (bool(r.get("controller")), bool(r.get("blockOwnerDeletion"))) for r in references}
