"""The history of a set's template: one ControllerRevision per distinct template (semantics 1.7).

Called by the controller of this room. Pure: it hashes, compares, sorts and chooses; the controller stores.
Follows Kubernetes' pkg/controller/history/controller_history.go.
"""

import json
from typing import Any, NamedTuple

from localset.controllers.statefulset.identity import API_VERSION, KIND
from localset.machinery.metadata import (
    Object,
    annotations_of,
    copy_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)

HASH_LABEL = "controller.kubernetes.io/hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_FNV_OFFSET = 2166136261
_FNV_PRIME = 16777619


def data_of(owner: Object) -> Object:
    """Return what a revision stores: the template as a patch that replaces the whole template."""
    template = copy_of(owner["spec"].get("template") or {})
    template["$patch"] = "replace"
    return {"spec": {"template": template}}


def template_of(revision: Object) -> Object:
    """Return the Pod template that a revision stores."""
    template = dict(((revision.get("data") or {}).get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template


def encoded(data: Any) -> bytes:
    """Return one byte form for equal data, whatever the order of its keys."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def hash_of(data: Object, collision_count: int) -> str:
    """Return the short, vowel-free hash that names a revision (FNV-1 32 bit)."""
    value = _FNV_OFFSET
    for byte in encoded(data) + str(collision_count).encode():
        value = (value * _FNV_PRIME & 0xFFFFFFFF) ^ byte
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))


def new_revision(owner: Object, number: int, collision_count: int) -> Object:
    """Return the revision of the set's present template, numbered `number`."""
    data = data_of(owner)
    template = owner["spec"].get("template") or {}
    digest = hash_of(data, collision_count)
    metadata: dict[str, Any] = {
        "name": revision_name(owner, digest),
        "namespace": namespace_of(owner),
        "labels": {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest},
        "ownerReferences": [owner_reference(owner, API_VERSION, KIND)],
    }
    if annotations_of(owner):
        metadata["annotations"] = dict(annotations_of(owner))
    return {
        "apiVersion": API_VERSION,
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data,
        "revision": number,
    }


def revision_name(owner: Object, digest: str) -> str:
    """Return `web-559444f78d`."""
    return f"{name_of(owner).encode()[:223].decode(errors='ignore')}-{digest}"


def is_same(one: Object, other: Object) -> bool:
    """Tell whether two revisions hold the same template."""
    return one.get("data") == other.get("data")


def in_order(revisions: list[Object]) -> list[Object]:
    """Return them oldest first: by number, then age, then name."""
    return sorted(
        revisions,
        key=lambda r: (int(r.get("revision") or 0), r["metadata"].get("creationTimestamp") or "", name_of(r)),
    )


class Choice(NamedTuple):
    """Which revision the template is: an existing one, one to renumber first, or (both None) one to create."""

    existing: Object | None
    renumber: Object | None
    next_number: int


def choose_update(revisions: list[Object], proposed: Object, defaulted: Object | None = None) -> Choice:
    """Choose the update revision among `revisions` (in order).

    `defaulted`, when given, is the newest one with today's defaults applied: if that equals the proposal, a change of
    defaults alone does not roll the set (SemanticRevisionComparison).
    """
    number = int(revisions[-1].get("revision") or 0) + 1 if revisions else 1
    equal = [revision for revision in revisions if is_same(revision, proposed)]
    if equal:
        if equal[-1] is revisions[-1]:
            return Choice(equal[-1], None, number)
        return Choice(None, equal[-1], number)
    if revisions and defaulted is not None and is_same(defaulted, proposed):
        return Choice(revisions[-1], None, number)
    return Choice(None, None, number)


def choose_current(revisions: list[Object], owner: Object, update: Object) -> Object:
    """Return the revision that status.currentRevision names; the update revision when there is none."""
    name = (owner.get("status") or {}).get("currentRevision") or ""
    return next((revision for revision in revisions if name_of(revision) == name), update)


def to_prune(revisions: list[Object], live: set[str], limit: int) -> list[Object]:
    """Return the revisions to delete: the oldest that are not in `live`, until `limit` of those remain."""
    if limit < 0:
        return []
    spare = [revision for revision in in_order(revisions) if name_of(revision) not in live]
    return spare[: max(0, len(spare) - limit)]


def has_labels_of(revision: Object, labels: dict[str, str]) -> bool:
    """Tell whether the revision carries all of `labels`."""
    own = labels_of(revision)
    return all(own.get(key) == value for key, value in labels.items())
