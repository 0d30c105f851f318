"""Where a kind keeps its Pod template, and the patch of a change to it: what `set` and `rollout` work on."""

import copy
from collections.abc import Callable
from typing import Any

from localset.cli.output import CommandError
from localset.cli.selection import Found
from localset.cli.writing import STRATEGIC, Writer


def pod_spec(found: Found, obj: dict[str, Any]) -> dict[str, Any]:
    """Return the Pod spec inside `obj`; CommandError for a kind that has none."""
    if found.kind.resource.kind == "Pod":
        spec: dict[str, Any] = obj["spec"]
        return spec
    template = (obj.get("spec") or {}).get("template")
    if not isinstance(template, dict) or "spec" not in template:
        resource = found.kind.resource
        raise CommandError(
            f"{resource.plural}/{found.name} the object is not a pod or does not have a pod template: "
            f"*{found.kind.version}.{resource.kind}"
        )
    inner: dict[str, Any] = template["spec"]
    return inner


def chosen(containers: list[dict[str, Any]], pattern: str) -> list[dict[str, Any]]:
    """Return the containers whose name matches `pattern`, in which `*` stands for anything."""
    import fnmatch

    return [c for c in containers if pattern == "*" or fnmatch.fnmatchcase(c["name"], pattern)]


def change(
    found: Found, writer: Writer, operation: str, edit: Callable[[dict[str, Any]], None], *, failing: str
) -> None:
    """Let `edit` change a copy of the object, send the strategic patch between, and say so; nothing when they agree.

    A refusal begins with `failing`.
    """
    from localset.apis.schema.types import patch_rules
    from localset.machinery.errors import StatusError
    from localset.machinery.strategic_diff import two_way_patch

    wanted = copy.deepcopy(found.obj)
    edit(wanted)
    rules = patch_rules(found.kind.resource.group, found.kind.version, found.kind.resource.kind)
    patch = two_way_patch(found.obj, wanted, rules)
    if not patch:
        return
    if writer.is_client_run:
        writer.done(found.label, operation, wanted)
        return
    try:
        after = writer.patch(found, patch, STRATEGIC)
    except StatusError as error:
        raise CommandError(f"{failing}: {error.message}") from error
    writer.done(found.label, operation, after)
