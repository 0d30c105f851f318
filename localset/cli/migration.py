"""From client-side to server-side apply, as kubectl does it (kube-api.md 5.4): who owned what by the one owns it by the
other, and the annotation that remembers the last manifest gets an owner of its own."""

from typing import Any

from localset.cli.context import Context
from localset.cli.selection import Found
from localset.cli.writing import APPLY, JSON
from localset.machinery.fieldsets import union

_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_OLD = "kubectl-client-side-apply"


def migrate(context: Context, found: Found, obj: dict[str, Any], manager: str, query: dict[str, str]) -> bool:
    """Hand client-side apply's fields of `obj` to `manager`; tell whether anything was changed."""
    plain = {key: value for key, value in query.items() if key != "force"}
    old = [e for e in obj["metadata"].get("managedFields") or [] if _is_old(e)]
    annotation = (obj["metadata"].get("annotations") or {}).get(_ANNOTATION)
    if not old:
        return False
    path = found.path()
    if annotation is not None and any(_owns_annotation(e) for e in old):
        metadata = {"name": found.name, "annotations": {_ANNOTATION: annotation}}
        if found.namespace:
            metadata["namespace"] = found.namespace
        just = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
        as_annotation = {**plain, "fieldManager": "kubectl-last-applied"}
        obj = context.api.request("PATCH", path, just, query=as_annotation, content_type=APPLY).body
    patch = [
        {
            "op": "replace",
            "path": "/metadata/managedFields",
            "value": _migrated(obj["metadata"]["managedFields"], manager),
        },
        {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
    ]
    context.api.request("PATCH", path, patch, query=plain, content_type=JSON)
    return True


def _is_old(entry: dict[str, Any]) -> bool:
    return bool(entry["manager"] == _OLD and entry["operation"] == "Update" and not entry.get("subresource"))


def _owns_annotation(entry: dict[str, Any]) -> bool:
    fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
    return f"f:{_ANNOTATION}" in (fields.get("f:annotations") or {})


def _migrated(entries: list[dict[str, Any]], manager: str) -> list[dict[str, Any]]:
    """Return the entries with the old ones' fields in the one of `manager` as Apply."""
    given = [e for e in entries if _is_old(e)]
    kept = [e for e in entries if not _is_old(e)]
    index = next(
        (
            i
            for i, e in enumerate(kept)
            if (e["manager"], e["operation"]) == (manager, "Apply") and not e.get("subresource")
        ),
        None,
    )
    target = kept[index] if index is not None else {**given[0], "manager": manager, "operation": "Apply"}
    fields = target.get("fieldsV1") or {}
    for entry in given:
        fields = union(fields, entry.get("fieldsV1") or {})
    whole = {**target, "fieldsV1": fields}
    if index is None:
        return [whole, *kept]
    return [*kept[:index], whole, *kept[index + 1 :]]
