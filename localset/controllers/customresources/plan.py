"""What becomes of a CustomResourceDefinition: pure.

`plan_names` decides which of its names are free and whether its objects are served. Source: apiextensions-apiserver
pkg/controller/status naming_controller.go (calculateNamesAndConditions), establish and apiapproval.
"""

from collections.abc import Iterable
from typing import NamedTuple

from localset.apis.resources import Resource
from localset.machinery.metadata import Object, annotations_of, condition_of, copy_of, name_of

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_APPROVED = "api-approved.kubernetes.io"
_SINGLE = (("plural", "PluralConflict"), ("singular", "SingularConflict"))
_KINDS = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))


class Taken(NamedTuple):
    """Names of a group that belong to others: those of resources, and those of kinds."""

    resources: frozenset[str]
    kinds: frozenset[str]


def group_of(crd: Object) -> str:
    """Return spec.group."""
    return str(crd["spec"]["group"])


def taken_names(crd: Object, others: Iterable[Object], built_in: Iterable[Resource]) -> Taken:
    """Return what is taken in the definition's group, by other definitions and by built-in resources."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if name_of(other) == name_of(crd) or group_of(other) != group_of(crd):
            continue
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {str(names.get(field) or "") for field in ("plural", "singular")}
        resources |= set(names.get("shortNames") or [])
        kinds |= {str(names.get(field) or "") for field in ("kind", "listKind")}
    for row in built_in:
        if row.group == group_of(crd):
            resources |= {row.plural, row.singular, *row.short_names}
            kinds |= {row.kind, row.kind_of_list}
    return Taken(frozenset(resources - {""}), frozenset(kinds - {""}))


def plan_names(crd: Object, taken: Taken, moment: str) -> Object | None:
    """Return the new status, None when the stored one is right. `moment` is now, in RFC 3339."""
    old = crd.get("status") or {}
    accepted, conflicts = _accept(crd["spec"]["names"], old.get("acceptedNames") or {}, taken)
    conditions = [copy_of(c) for c in old.get("conditions") or []]
    if conflicts:
        reason, message = conflicts[0]
        _set(conditions, "NamesAccepted", "False", reason, message, moment)
    else:
        _set(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", moment)
    established = condition_of(crd, "Established")
    if established is None or established.get("status") != "True":
        if conflicts:
            _set(conditions, "Established", "False", "NotAccepted", "not all names are accepted", moment)
        else:
            message = "the initial names have been accepted"
            _set(conditions, "Established", "True", "InitialNamesAccepted", message, moment)
    _set_approval(crd, conditions, moment)
    new = {**old, "conditions": conditions, "acceptedNames": accepted}
    return None if new == old else new


def _accept(wanted: Object, old: Object, taken: Taken) -> tuple[Object, list[tuple[str, str]]]:
    """Return (accepted names, [(reason, message)] of those that are not); a refused name stays what it was."""
    accepted: Object = {"plural": "", "kind": ""} | copy_of(old)
    conflicts: list[tuple[str, str]] = []
    for fields, used in ((_SINGLE, taken.resources), (_KINDS, taken.kinds)):
        for field, reason in fields:
            value = wanted.get(field) or ""
            if value in used:
                conflicts.append((reason, f'"{value}" is already in use'))
            elif value:
                accepted[field] = value
    used_short = [name for name in wanted.get("shortNames") or [] if name in taken.resources]
    if used_short:
        texts = [f'"{name}" is already in use' for name in used_short]
        conflicts.append(("ShortNamesConflict", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"))
    elif wanted.get("shortNames"):
        accepted["shortNames"] = list(wanted["shortNames"])
    else:
        accepted.pop("shortNames", None)
    if wanted.get("categories"):
        accepted["categories"] = list(wanted["categories"])
    else:
        accepted.pop("categories", None)
    return accepted, conflicts


def _set_approval(crd: Object, conditions: list[Object], moment: str) -> None:
    group, text = group_of(crd), annotations_of(crd).get(_APPROVED, "")
    if not (f".{group}".endswith((".k8s.io", ".kubernetes.io")) and text):
        return
    kind = "KubernetesAPIApprovalPolicyConformant"
    if text.startswith("unapproved"):
        message = f'not approved: "{text}"'
        _set(conditions, kind, "False", "UnapprovedAnnotation", message, moment)
    else:
        _set(conditions, kind, "True", "ApprovedAnnotation", f"approved in {text}", moment)


def with_condition(crd: Object, kind: str, status: str, reason: str, message: str, moment: str) -> Object:
    """Return a private copy of `crd` with that condition."""
    new: Object = copy_of(crd)
    conditions = new.setdefault("status", {}).get("conditions") or []
    _set(conditions, kind, status, reason, message, moment)
    new["status"]["conditions"] = conditions
    return new


def _set(conditions: list[Object], kind: str, status: str, reason: str, message: str, moment: str) -> None:
    """Set a condition in place; its time moves only with its status."""
    made = {"type": kind, "status": status, "lastTransitionTime": moment, "reason": reason, "message": message}
    for index, condition in enumerate(conditions):
        if condition.get("type") == kind:
            if condition.get("status") == status:
                made["lastTransitionTime"] = condition.get("lastTransitionTime", moment)
            conditions[index] = made
            return
    conditions.append(made)
