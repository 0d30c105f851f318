"""JSON patch, merge patch and the merge patches that `apply` sends. Pure.

Called by the registry (to apply) and the command line (to create). Arguments are never changed; what cannot be applied
is a StatusError in the server's words. Strategic merge patches live in `strategic_patch`; its names are here too.
"""

from typing import Any

from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import copy_of
from localset.machinery.strategic_patch import PatchRule, PatchSchema, apply_strategic_patch

__all__ = [
    "PatchRule",
    "PatchSchema",
    "apply_json_patch",
    "apply_merge_patch",
    "apply_strategic_patch",
    "create_merge_patch",
    "same_json",
    "three_way_merge_patch",
]

_REJECTED = "the server rejected our request due to an error in our request"
_MOST_OPERATIONS = 10_000
_MOST_COPIED = 3 * 1024 * 1024
"""Bytes that all `copy` and `move` operations together may carry: each copy may double the document."""
_DEEPEST = 200


# --- JSON patch (RFC 6902) -------------------------------------------------------------------------------------------


def apply_json_patch(doc: Any, ops: Any) -> Any:
    """Return `doc` after all operations; 400 for no list, 413 for too long a one, 422 for one that fails."""
    if not isinstance(ops, list):
        raise bad_request(f"json: cannot unmarshal {_go_kind(ops)} into Go value of type jsonpatch.Patch")
    if len(ops) > _MOST_OPERATIONS:
        why = f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(ops)}"
        raise StatusError(413, "RequestEntityTooLarge", why)
    root = [copy_of(doc)]  # a list around the document makes the path "" an ordinary place
    copied = 0
    for op in ops:
        if not isinstance(op, dict):
            raise _rejected()
        copied += _apply_operation(root, op)
        if copied > _MOST_COPIED:
            raise _rejected()
    _measured(root[0])
    return root[0]


def _go_kind(value: Any) -> str:
    names = {dict: "object", str: "string", bool: "bool"}
    return names.get(type(value), "number")


def _rejected() -> StatusError:
    return StatusError(422, "Invalid", _REJECTED)


def _measured(value: Any) -> int:
    """Return about how many bytes of JSON a value is; 422 when it is nested too deep for anybody to walk it."""
    total = 0
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > _DEEPEST:
            raise _rejected()
        if isinstance(item, dict):
            total += sum(len(key) + 4 for key in item) + 2
            waiting += [(sub, depth + 1) for sub in item.values()]
        elif isinstance(item, list):
            total += len(item) + 2
            waiting += [(sub, depth + 1) for sub in item]
        else:
            total += len(item) + 2 if isinstance(item, str) else 8
    return total


def _apply_operation(root: list[Any], op: dict[str, Any]) -> int:
    """Perform one operation in place; return how many bytes it carried about."""
    name, steps = op.get("op"), _steps(op.get("path"))
    if name in ("add", "replace"):
        if "value" not in op:
            raise _rejected()
        _put(root, steps, copy_of(op["value"]), is_replace=name == "replace")
    elif name == "remove":
        _remove(root, steps)
    elif name == "move":
        source = _steps(op.get("from"))
        if steps[: len(source)] == source and steps != source:
            raise _rejected()  # a value cannot move into itself
        value = _read(root, source)
        size = _measured(value)
        if steps != source:
            _remove(root, source)
            _put(root, steps, value, is_replace=False)
        return size
    elif name == "copy":
        value = _read(root, _steps(op.get("from")))
        size = _measured(value)
        _put(root, steps, copy_of(value), is_replace=False)
        return size
    elif name == "test":
        _test(root, steps, op.get("value"))
    else:
        raise _rejected()
    return 0


def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise _rejected()
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    if len(steps) > _DEEPEST:
        raise _rejected()
    return steps


def _index(step: str, length: int) -> int:
    """Return the index `step` means in a list with `length` places."""
    if not (step.isascii() and step.isdigit()) or len(step) > 9 or (step != "0" and step[0] == "0"):
        raise _rejected()
    if int(step) >= length:
        raise _rejected()
    return int(step)


def _step(place: Any, step: str) -> Any:
    if isinstance(place, dict) and step in place:
        return place[step]
    if isinstance(place, list):
        return place[_index(step, len(place))]
    raise _rejected()


def _read(root: list[Any], steps: list[str]) -> Any:
    place = root[0]
    for step in steps:
        place = _step(place, step)
    return place


def _parent(root: list[Any], steps: list[str]) -> tuple[Any, str]:
    return (_read(root, steps[:-1]), steps[-1]) if steps else (root, "0")


def _put(root: list[Any], steps: list[str], value: Any, *, is_replace: bool) -> None:
    place, step = _parent(root, steps)
    if isinstance(place, dict):
        if is_replace and step not in place:
            raise _rejected()
        place[step] = value
    elif not isinstance(place, list):
        raise _rejected()
    elif is_replace or place is root:
        place[_index(step, len(place))] = value
    elif step == "-":
        place.append(value)
    else:
        place.insert(_index(step, len(place) + 1), value)


def _remove(root: list[Any], steps: list[str]) -> None:
    place, step = _parent(root, steps)
    _step(place, step)
    if place is root:
        root[0] = None
    else:
        del place[step if isinstance(place, dict) else int(step)]


def _test(root: list[Any], steps: list[str], expected: Any) -> None:
    place, step = _parent(root, steps)
    if isinstance(place, dict) and step not in place and expected is None:
        return  # an absent member passes as null, as upstream
    if not same_json(_step(place, step), expected):
        raise _rejected()


def same_json(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal; unlike Python's ==, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same_json(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


# --- Merge patch (RFC 7386) ------------------------------------------------------------------------------------------


def apply_merge_patch(doc: Any, patch: Any) -> Any:
    """Return a copy of `doc` merged with `patch`: null deletes, lists are replaced."""
    return copy_of(_merged(doc, patch))


def _merged(doc: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(doc) if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def create_merge_patch(original: dict[str, Any], modified: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes `modified` of `original`; {} when they are equal.

    NB: a null inside `modified` cannot be said by a merge patch and counts as absent.
    """
    patch: dict[str, Any] = {key: None for key in original if modified.get(key) is None}
    for key, value in modified.items():
        if value is None:
            continue
        old = original.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            inner = create_merge_patch(old, value)
            if inner:
                patch[key] = inner
        elif not same_json(old, value):
            patch[key] = copy_of(value)
    return patch


def three_way_merge_patch(
    last_applied: dict[str, Any], modified: dict[str, Any], current: dict[str, Any]
) -> dict[str, Any]:
    """Return the merge patch for `current` that sets what `modified` says and deletes what only `last_applied` said.

    Fields of which neither speaks stay as they are in `current`. {} when nothing is to be done.
    """
    patch: dict[str, Any] = {
        key: None for key in last_applied if modified.get(key) is None and current.get(key) is not None
    }
    for key, value in modified.items():
        if value is None:
            if current.get(key) is not None:
                patch[key] = None
            continue
        now, last = current.get(key), last_applied.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            inner = three_way_merge_patch(last if isinstance(last, dict) else {}, value, now)
            if inner:
                patch[key] = inner
        elif not same_json(now, value):
            patch[key] = copy_of(value)
    return patch
