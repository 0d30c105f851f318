"""The annotation of client-side apply, as server-side apply meets it. Pure.

An object that kubectl once applied from the client carries its last manifest. Fields in it that are still as they were
are kubectl's own, whoever managedFields name: kubectl's first server-side apply takes them over without a conflict,
and keeps the annotation up to date. Sources: upstream's lastappliedmanager.go and lastappliedupdater.go.
"""

import json
from typing import Any

from localset.machinery import fieldsets
from localset.machinery.decoding import DecodeError, decode_json
from localset.machinery.fieldsets import FieldSet
from localset.machinery.metadata import Object, annotations_of
from localset.machinery.shapes import Shape
from localset.machinery.typed import compare, said_by

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"
_MOST_BYTES = 256 * 1024


def allowed_conflicts(shape: Shape, api_version: str, live: Object) -> FieldSet:
    """Return the fields that the annotation of `live` says and that nobody changed since; empty without one."""
    text = annotations_of(live).get(ANNOTATION)
    if not text:
        return {}
    try:
        applied, _ = decode_json(text.encode())
    except DecodeError:
        return {}
    if not isinstance(applied, dict) or applied.get("apiVersion") != api_version:
        return {}
    changed, removed = compare(shape, applied, live)
    return fieldsets.difference(fieldsets.difference(said_by(shape, applied), changed), removed)


def renewed(obj: Object, config: Object) -> Object:
    """Return `obj` with `config` as its annotation, when it has that annotation; without it when it is too large."""
    annotations = annotations_of(obj)
    if ANNOTATION not in annotations:
        return obj
    rest = {key: value for key, value in annotations.items() if key != ANNOTATION}
    text = _encoded(config)
    if sum(len(key) + len(value) for key, value in rest.items()) + len(text.encode()) <= _MOST_BYTES:
        rest[ANNOTATION] = text
    return {**obj, "metadata": {**obj["metadata"], "annotations": rest}}


def _encoded(config: Object) -> str:
    metadata: dict[str, Any] = dict(config.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != ANNOTATION}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    whole = {**config, "metadata": metadata}
    return json.dumps(whole, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
