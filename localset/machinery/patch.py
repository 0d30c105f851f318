"""Patches: JSON (RFC 6902), merge (RFC 7386), strategic merge; and the three-way diff of `apply`. Pure.

Everything returns a new document and raises StatusError. Rules and texts: kube-api.md 5.1 and 5.2.
"""

from typing import Any, NamedTuple, Protocol

from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import copy_of

MAX_OPERATIONS = 10_000
_ORDER = "$setElementOrder/"
_REMOVE = "$deleteFromPrimitiveList/"


class PatchRule(NamedTuple):
    """How a field is merged: by key, or as a set when `merge` stands alone."""

    merge_key: str | None
    strategies: tuple[str, ...]


class PatchSchema(Protocol):
    """Merge rules of a kind, by field names from the root without list indexes."""

    def lookup(self, path: tuple[str, ...]) -> PatchRule | None:
        """Return the rule of a field, or None for plain replacement."""
        ...


def _failed(message: str) -> StatusError:
    return StatusError(422, "Invalid", message)


# -- JSON patch --------------------------------------------------------------------------------------------------------


def apply_json_patch(document: Any, operations: Any) -> Any:
    """Return `document` after all operations; any that fails refuses the whole patch."""
    if not isinstance(operations, list):
        raise bad_request("json patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}",
        )
    result = copy_of(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("each json patch operation needs op and path")
        result = _operate(result, operation)
    return result


def _steps(pointer: str) -> list[str]:
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise _failed(f"invalid JSON pointer {pointer}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation.get("op"), operation["path"]
    if kind == "test":
        if _find(document, path, absent=None) != operation.get("value"):
            raise _failed(f"testing value {path} failed: test failed")
        return document
    if kind in {"add", "replace"}:
        if "value" not in operation:
            raise bad_request(f"{kind} {path}: value is missing")
        if kind == "replace":
            _find(document, path)
        return _put(document, path, copy_of(operation["value"]), is_replacing=kind == "replace")
    if kind == "remove":
        return _remove(document, path)
    if kind in {"move", "copy"}:
        value = copy_of(_find(document, str(operation.get("from"))))
        base = _remove(document, str(operation["from"])) if kind == "move" else document
        return _put(base, path, value, is_replacing=False)
    raise _failed(f"Unexpected kind: {kind}")


_RAISE = object()


def _find(document: Any, pointer: str, absent: Any = _RAISE) -> Any:
    current = document
    for step in _steps(pointer):
        try:
            current = current[step] if isinstance(current, dict) else current[_index(current, step)]
        except (KeyError, IndexError, TypeError):
            if absent is not _RAISE:
                return absent
            raise _failed(f"path {pointer} does not exist: missing value") from None
    return current


def _index(value: Any, step: str, *, may_append: bool = False) -> int:
    if not isinstance(value, list):
        raise TypeError
    if step == "-" and may_append:
        return len(value)
    if not step.isdigit():
        raise IndexError
    index = int(step)
    if index > len(value) - (0 if may_append else 1):
        raise IndexError
    return index


def _put(document: Any, pointer: str, value: Any, *, is_replacing: bool) -> Any:
    steps = _steps(pointer)
    if not steps:
        return value
    parent = _find(document, pointer.rpartition("/")[0])
    try:
        if isinstance(parent, dict):
            parent[steps[-1]] = value
        elif is_replacing:
            parent[_index(parent, steps[-1])] = value
        else:
            parent.insert(_index(parent, steps[-1], may_append=True), value)
    except (IndexError, TypeError):
        raise _failed(f"add operation does not apply: doc is missing path: {pointer}: missing value") from None
    return document


def _remove(document: Any, pointer: str) -> Any:
    _find(document, pointer)
    steps = _steps(pointer)
    if not steps:
        return None
    parent = _find(document, pointer.rpartition("/")[0])
    if isinstance(parent, dict):
        del parent[steps[-1]]
    else:
        del parent[_index(parent, steps[-1])]
    return document


# -- merge patch -------------------------------------------------------------------------------------------------------


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """Return `document` merged with `patch`: null removes, lists are replaced."""
    if not isinstance(patch, dict):
        return copy_of(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return copy_of(result)


def create_merge_patch(original: dict[str, Any], modified: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch that turns `original` into `modified`."""
    patch: dict[str, Any] = {}
    for key, value in modified.items():
        before = original.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = create_merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif before != value or key not in original:
            patch[key] = copy_of(value)
    patch.update({key: None for key in original if key not in modified})
    return patch


def three_way_merge_patch(
    last_applied: dict[str, Any], modified: dict[str, Any], current: dict[str, Any]
) -> dict[str, Any]:
    """Return the merge patch of `apply`: set what differs from live, delete what was applied last and is no longer wanted."""
    patch: dict[str, Any] = {}
    for key, value in modified.items():
        live, last = current.get(key), last_applied.get(key)
        if isinstance(value, dict) and isinstance(live, dict):
            inner = three_way_merge_patch(last if isinstance(last, dict) else {}, value, live)
            if inner:
                patch[key] = inner
        elif value is not None and live != value:
            patch[key] = copy_of(value)
    for key in last_applied:
        if key not in modified and key in current:
            patch[key] = None
    return patch


# -- strategic merge patch ---------------------------------------------------------------------------------------------


def apply_strategic_patch(document: Any, patch: Any, schema: PatchSchema | None) -> Any:
    """Return `document` with `patch` merged by the kind's merge keys and the directives of kube-api.md 5.1."""
    if not isinstance(patch, dict) or not isinstance(document, dict):
        raise bad_request("a strategic merge patch must be a JSON object")
    return _merge_map(document, patch, (), schema)


def _merge_map(live: dict[str, Any], patch: dict[str, Any], path: tuple[str, ...], schema: PatchSchema | None) -> Any:
    directive = patch.get("$patch")
    if directive == "replace":
        return copy_of({k: v for k, v in patch.items() if k != "$patch"})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type: {directive} in map")
    result: dict[str, Any] = copy_of(live)
    retain = patch.get("$retainKeys")
    if retain is not None:
        if any(k not in retain for k in patch if not k.startswith("$")):
            raise bad_request("$retainKeys must name every key of the patch")
        result = {k: v for k, v in result.items() if k in retain}
    for key, value in patch.items():
        if key.startswith(_REMOVE):
            field = key[len(_REMOVE) :]
            result[field] = [item for item in result.get(field) or [] if item not in value]
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = _merge_map(before if isinstance(before, dict) else {}, value, (*path, key), schema)
        elif isinstance(value, list):
            order = patch.get(_ORDER + key)
            result[key] = _merge_list(result.get(key), value, order, (*path, key), schema)
        else:
            result[key] = value
    for key, order in patch.items():
        field = key[len(_ORDER) :]
        if key.startswith(_ORDER) and field not in patch and isinstance(result.get(field), list):
            rule = schema.lookup((*path, field)) if schema else None
            result[field] = _ordered(result[field], order, rule.merge_key if rule else None)
    return result


def _merge_list(
    live: Any, patch: list[Any], order: Any, path: tuple[str, ...], schema: PatchSchema | None
) -> list[Any]:
    rule = schema.lookup(path) if schema else None
    before = live if isinstance(live, list) else []
    if rule is None or (rule.merge_key is None and "merge" not in rule.strategies):
        return list(copy_of(patch))
    if rule.merge_key is None:
        merged = [*[item for item in patch if item not in before], *before]
        return _ordered(merged, order, None) if order else merged
    return _merge_keyed(before, patch, order, path, schema, rule.merge_key)


def _merge_keyed(  # noqa: PLR0913, PLR0917 - the recursion's state
    before: list[Any], patch: list[Any], order: Any, path: tuple[str, ...], schema: PatchSchema | None, key: str
) -> list[Any]:
    if any(isinstance(e, dict) and e.get("$patch") == "replace" and len(e) == 1 for e in patch):
        return list(copy_of([e for e in patch if e.get("$patch") != "replace"]))
    merged = list(copy_of(before))
    added: list[Any] = []
    for element in patch:
        if not isinstance(element, dict):
            raise bad_request(f"{'.'.join(path)}: elements must be objects")
        if element.get("$patch") == "replace":
            continue  # upstream loses such an element: kube-api.md 5.1
        if key not in element:
            shown = " ".join(f"{k}:{v}" for k, v in sorted(element.items()))
            raise bad_request(f"map: map[{shown}] does not contain declared merge key: {key}")
        index = next((i for i, e in enumerate(merged) if e.get(key) == element[key]), None)
        if element.get("$patch") == "delete":
            merged = [e for e in merged if e.get(key) != element[key]]
        elif index is None:
            added.append(_merge_map({}, element, path, schema))
        else:
            merged[index] = _merge_map(merged[index], element, path, schema)
    result = [*added, *merged]
    return _ordered(result, order, key) if order else result


def _ordered(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Return `items` in the order wanted; those that it does not name keep their place relative to their neighbours."""

    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [o.get(key) if key and isinstance(o, dict) else o for o in order]
    named = sorted((i for i in items if name(i) in wanted), key=lambda i: wanted.index(name(i)))
    result: list[Any] = []
    queue = list(named)
    for item in items:
        if name(item) in wanted:
            if queue:
                result.append(queue.pop(0))
        else:
            result.append(item)
    return result
