"""Client-side apply: the annotation that remembers the last manifest, and the patch between three states."""

import json
from typing import Any

from localset.cli.printing.documents import go_json
from localset.cli.targets import Kind
from localset.cli.writing import MERGE, STRATEGIC

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def annotated(obj: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with itself as last-applied-configuration, in the form of kube-api.md 5.3."""
    metadata = obj["metadata"]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION}
    text = go_json({**obj, "metadata": {**metadata, "annotations": annotations}}) + "\n"
    return {**obj, "metadata": {**metadata, "annotations": {**annotations, ANNOTATION: text}}}


def last_applied(live: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest that was applied last, {} for none or one that cannot be read."""
    text = (live["metadata"].get("annotations") or {}).get(ANNOTATION)
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def patch_between(kind: Kind, live: dict[str, Any], wanted: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return (patch, content type) that turns `live` into `wanted`; {} when nothing is to be done."""
    last = last_applied(live)
    if kind.resource.is_built_in:
        from localset.apis.schema.types import patch_rules
        from localset.machinery.strategic_diff import three_way_patch

        rules = patch_rules(kind.resource.group, kind.version, kind.resource.kind)
        return three_way_patch(last, wanted, live, rules), STRATEGIC
    from localset.machinery.patch import three_way_merge_patch

    return dict(three_way_merge_patch(last, wanted, live)), MERGE
