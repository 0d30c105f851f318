"""What a delete means: gone at once, lingering, shorter grace, or nothing new.

Pure decisions on one object, made under the object's lock by the registry. Source of the arithmetic: apiserver
registry/rest BeforeDelete and the Pod strategy's CheckGracefulDelete (statefulset-semantics.md 3.5, kube-api.md 4.4).
"""

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from localset.apis.resources import Resource
from localset.apis.scheme import DEFINITIONS
from localset.base.clock import parse_rfc3339, rfc3339
from localset.base.frozen import replace
from localset.client.client import DeleteOptions, Propagation
from localset.machinery.errors import StatusError, conflict, forbidden
from localset.machinery.metadata import Object, copy_of, name_of, uid_of, version_of

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a definition until the controller has deleted its objects."""
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DEFAULT_GRACE_SECONDS = 30
SYSTEM_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
ANSWERED_WITH_OBJECT = frozenset(
    {
        "pods",
        "namespaces",
        "persistentvolumeclaims",
        "persistentvolumes",
        "storageclasses.storage.k8s.io",
        "csidrivers.storage.k8s.io",
        "serviceaccounts",
        "services",
        "resourcequotas",
        "podtemplates",
    }
)
"""Resources whose DELETE answers the object even when it is gone at once.

As the published schema has it (1.20 answered a Status for a Service): generated clients read the answer as that type.
"""


class Fate(Enum):
    """What the registry does with the object."""

    REMOVE = auto()
    MARK = auto()
    KEEP = auto()


class Decision(NamedTuple):
    """`object` is a private copy in its new state for MARK, the last state for REMOVE, the stored one for KEEP."""

    fate: Fate
    object: Object


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Raise 409 when the options name another uid or version."""
    name = name_of(obj)
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind  # the Kind here, as upstream
    if options.uid is not None and options.uid != uid_of(obj):
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid_of(obj)}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind, name, why)
    if options.resource_version is not None and options.resource_version != version_of(obj):
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({version_of(obj)}). The object might have been modified"
        )
        raise conflict(kind, name, why)


def check_may_be_deleted(resource: str, name: str) -> None:
    """Raise 403 for the namespaces that everything relies on."""
    if resource == "namespaces" and name in SYSTEM_NAMESPACES:
        raise forbidden(resource, name, "this namespace may not be deleted")


def with_version_default(resource: str, version: str, options: DeleteOptions) -> DeleteOptions:
    """Return `options` with the old StatefulSet versions' own default: their dependents are orphaned."""
    if resource == "statefulsets.apps" and version in {"v1beta1", "v1beta2"} and options.propagation is None:
        return replace(options, propagation=Propagation.ORPHAN)
    return options


def decide(resource: str, obj: Object, options: DeleteOptions, now: datetime) -> Decision:
    """Decide on the stored `obj`; the preconditions hold already."""
    new = copy_of(obj)
    metadata = new["metadata"]
    if resource == DEFINITIONS:
        return _decide_definition(obj, new, now)
    _set_propagation(metadata, options.propagation)
    if metadata.get("deletionTimestamp"):
        return _decide_again(resource, obj, new, options)
    grace = _grace_seconds(resource, new, options)
    is_gone = grace == 0 and not lingers(resource, new)
    if is_gone and resource != "pods":
        return Decision(Fate.REMOVE, new)
    metadata["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace))
    if resource == "namespaces":
        new.setdefault("status", {})["phase"] = "Terminating"
    else:
        metadata["deletionGracePeriodSeconds"] = grace
    if is_gone:
        return Decision(Fate.REMOVE, new)
    _bump_generation(metadata)
    return Decision(Fate.MARK, new)


def _decide_definition(old: Object, new: Object, now: datetime) -> Decision:
    """A definition stays until its objects are gone. Source: registry/customresourcedefinition etcd.go Delete."""
    metadata = new["metadata"]
    if metadata.get("deletionTimestamp"):
        return Decision(Fate.KEEP, old) if lingers(DEFINITIONS, new) else Decision(Fate.REMOVE, new)
    metadata["deletionTimestamp"] = rfc3339(now)
    if CLEANUP not in (metadata.get("finalizers") or []):
        metadata["finalizers"] = [*(metadata.get("finalizers") or []), CLEANUP]
    status = new.setdefault("status", {})
    kept = [c for c in status.get("conditions") or [] if c.get("type") != "Terminating"]
    terminating = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": rfc3339(now),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    status["conditions"] = [*kept, terminating]
    return Decision(Fate.MARK, new)


def _decide_again(resource: str, old: Object, new: Object, options: DeleteOptions) -> Decision:
    metadata = new["metadata"]
    stored = metadata.get("deletionGracePeriodSeconds") or 0
    wanted = options.grace_period_seconds
    if stored > 0:
        if wanted is not None and wanted < stored:
            grace = max(wanted, 0)
            due = parse_rfc3339(metadata["deletionTimestamp"]) - timedelta(seconds=stored - grace)
            metadata["deletionTimestamp"] = rfc3339(due)
            metadata["deletionGracePeriodSeconds"] = grace
            stored = grace
        if stored > 0:
            return Decision(Fate.KEEP, old) if new == old else Decision(Fate.MARK, new)
    if not lingers(resource, new):
        return Decision(Fate.REMOVE, new)
    return Decision(Fate.KEEP, old) if new == old else Decision(Fate.MARK, new)


def lingers(resource: str, obj: Object) -> bool:
    """Tell whether finalizers hold the object."""
    if obj["metadata"].get("finalizers"):
        return True
    return resource == "namespaces" and bool((obj.get("spec") or {}).get("finalizers"))


def is_finished(resource: str, obj: Object) -> bool:
    """Tell whether a write has taken the last thing away that held a dying object."""
    metadata = obj["metadata"]
    return (
        bool(metadata.get("deletionTimestamp"))
        and not metadata.get("deletionGracePeriodSeconds")
        and not lingers(resource, obj)
    )


def _grace_seconds(resource: str, obj: Object, options: DeleteOptions) -> int:
    if resource != "pods":
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in {"Failed", "Succeeded"}:
        return 0
    wanted = options.grace_period_seconds
    if wanted is None:
        wanted = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    return int(wanted) if wanted >= 0 else 1


def _set_propagation(metadata: Object, propagation: Propagation | None) -> None:
    if propagation is None:
        return
    finalizers = [f for f in metadata.get("finalizers") or [] if f not in {FOREGROUND, ORPHAN}]
    if propagation is Propagation.FOREGROUND:
        finalizers.append(FOREGROUND)
    elif propagation is Propagation.ORPHAN:
        finalizers.append(ORPHAN)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _bump_generation(metadata: Object) -> None:
    if metadata.get("generation"):
        metadata["generation"] += 1


def success_status(resource_plural: str, group: str, obj: Object) -> Object:
    """Return the Status that answers a delete whose object is gone."""
    details: Object = {"name": name_of(obj)}
    if group:
        details["group"] = group
    details["kind"] = resource_plural
    details["uid"] = uid_of(obj)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def too_many_requests(message: str, causes: list[dict[str, str]], retry_after_seconds: int = 0) -> StatusError:
    """429 as the eviction subresource answers it."""
    details: Object = {"causes": causes} if causes else {}
    if retry_after_seconds:
        details["retryAfterSeconds"] = retry_after_seconds
    headers = {"Retry-After": str(retry_after_seconds)} if retry_after_seconds else {}
    return StatusError(429, "TooManyRequests", message, details, headers)
