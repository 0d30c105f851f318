"""Strategic merge patches: how kubectl edits objects. Pure.

Lists merge by the keys that the kind's schema names, under the directives of kube-api.md 5.1. The order of merged lists
follows apimachinery's strategicpatch package step by step (`mergeMap`, `mergePatchIntoOriginal`,
`normalizeElementOrder`), because clients compare what they get back. Called through `machinery.patch`.
"""

from typing import Any, NamedTuple, Protocol

from localset.machinery.errors import StatusError, bad_request, go_print
from localset.machinery.metadata import copy_of

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_REMOVE = "$deleteFromPrimitiveList/"


class PatchRule(NamedTuple):
    """How a field is merged: by key, or as a set when `merge` stands alone."""

    merge_key: str | None
    strategies: tuple[str, ...]

    @property
    def merges(self) -> bool:
        """Tell whether a list is merged rather than replaced."""
        return "merge" in self.strategies


class PatchSchema(Protocol):
    """Merge rules of a kind, by field names from the root without list indexes."""

    def lookup(self, path: tuple[str, ...]) -> PatchRule | None:
        """Return the rule of a field, or None for a field that the kind does not have."""
        ...


_PLAIN = PatchRule(None, ())
Path = tuple[str, ...]


def apply_strategic_patch(document: Any, patch: Any, schema: PatchSchema | None) -> Any:
    """Return a new document: `document` with `patch` merged. StatusError 400 for a patch that makes no sense.

    Without a schema every list is replaced.
    """
    if not isinstance(patch, dict) or not isinstance(document, dict):
        kind = "array" if isinstance(patch, list) else "string" if isinstance(patch, str) else "value"
        raise bad_request(f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
    return _Merge(schema).maps(copy_of(document), copy_of(patch), ())


class _Merge:
    """One patch being applied. It may change what it is given: both sides are private copies."""

    def __init__(self, schema: PatchSchema | None) -> None:
        self._schema = schema

    def _rule(self, path: Path) -> PatchRule | None:
        return self._schema.lookup(path) if self._schema is not None else _PLAIN

    def maps(self, live: dict[str, Any], patch: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return `live` with `patch` merged into it."""
        if _DIRECTIVE in patch:
            return _directed(patch)
        _retain(live, patch)
        self._apply_orders(live, patch, path)
        for key, value in patch.items():
            if key.startswith(_REMOVE):
                _remove_values(live, key.removeprefix(_REMOVE), value)
            elif value is None:
                live.pop(key, None)
            elif not key.startswith("$"):
                live[key] = self._field(live.get(key), value, (*path, key))
        return live

    def _field(self, before: Any, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            rule = self._rule(path)
            if isinstance(before, dict) and not (rule is not None and "replace" in rule.strategies):
                return self.maps(before, value, path)
            return _without_directives(value)
        if isinstance(value, list):
            return self._lists(before, value, path)
        return value

    def _lists(self, before: Any, patch: list[Any], path: Path) -> list[Any]:
        rule = self._rule(path) or _PLAIN
        if not isinstance(before, list) or not rule.merges:
            return _without_directives(_only_normal(patch) if rule.merges else patch)  # type: ignore[no-any-return]
        if rule.merge_key is None:
            merged = list(before)
            merged += [value for value in patch if value not in merged]
            return _in_order(merged, patch, before, None)
        return self._keyed(before, patch, path, rule.merge_key)

    def _keyed(self, before: list[Any], patch: list[Any], path: Path, key: str) -> list[Any]:
        if any(isinstance(element, dict) and element.get(_DIRECTIVE) == "replace" for element in patch):
            return _only_normal(patch)
        merged = list(before)
        for element in patch:
            name = _key_of(element, key)
            directive = element.get(_DIRECTIVE)
            index = next((i for i, e in enumerate(merged) if isinstance(e, dict) and e.get(key) == name), None)
            if directive == "delete":
                merged = [e for e in merged if not (isinstance(e, dict) and e.get(key) == name)]
            elif directive is not None:
                raise bad_request(f"unknown patch type: {go_print(directive)} in map: {go_print(element)}")
            elif index is None:
                merged.append(_without_directives(element))
            else:
                merged[index] = self.maps(merged[index], element, path)
        return _in_order(merged, _only_normal(patch), before, key)

    def _apply_orders(self, live: dict[str, Any], patch: dict[str, Any], path: Path) -> None:
        """Merge the lists whose order the patch gives, and take them out of the patch."""
        for directive in [k for k in patch if k.startswith(_ORDER)]:
            order, field = patch.pop(directive), directive.removeprefix(_ORDER)
            rule = self._rule((*path, field))
            if rule is None:
                raise bad_request(f'unable to find api field for the json field "{field}"')
            before, wanted = live.get(field), patch.get(field)
            if not isinstance(order, list) or not isinstance(wanted, list | None):
                raise bad_request("invalid patch format of setElementOrder list")
            _check_order(wanted or [], order, rule.merge_key)
            if wanted is None and (field in patch or before is None):
                continue
            merged = list(before or []) if wanted is None else self._lists(before, wanted, (*path, field))
            live[field] = _in_order(merged, order, before if isinstance(before, list) else [], rule.merge_key)
            patch.pop(field, None)


def _directed(patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch[_DIRECTIVE]
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE and value is not None}
    if directive == "delete":
        return {}
    raise bad_request(f"unknown patch type: {go_print(directive)} in map: {go_print(patch)}")


def _retain(live: dict[str, Any], patch: dict[str, Any]) -> None:
    keys = patch.pop(_RETAIN, None)
    if keys is None:
        return
    said = [key for key, value in patch.items() if value is not None and not key.startswith("$")]
    if not isinstance(keys, list) or any(key not in keys for key in said):
        raise bad_request("invalid patch format of retainKeys")
    for key in [key for key in live if key not in keys]:
        del live[key]


def _remove_values(live: dict[str, Any], field: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request("invalid patch format of primitive list")
    if isinstance(live.get(field), list):
        live[field] = [item for item in live[field] if item not in values]


def _only_normal(patch: list[Any]) -> list[Any]:
    """Return the elements that carry no directive: upstream loses those that carry one (kube-api.md 5.1)."""
    return [_without_directives(e) for e in patch if not (isinstance(e, dict) and _DIRECTIVE in e)]


def _without_directives(value: Any) -> Any:
    """Return a part of a patch that meets nothing to merge with: no directives, and nothing to delete by null."""
    if isinstance(value, dict):
        is_order = (_ORDER, _REMOVE)
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if item is not None and key not in {_DIRECTIVE, _RETAIN} and not key.startswith(is_order)
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value


def _refuse_keyless(element: Any, key: str) -> StatusError:
    return bad_request(f"map: {go_print(element)} does not contain declared merge key: {key}")


def _key_of(element: Any, key: str) -> Any:
    if not isinstance(element, dict) or key not in element:
        raise _refuse_keyless(element, key)
    return element[key]


def _name(item: Any, key: str | None) -> Any:
    return item.get(key) if key is not None and isinstance(item, dict) else item


def _check_order(patch: list[Any], order: list[Any], key: str | None) -> None:
    """Refuse a patch whose elements are not all named by the order, in its sequence."""
    remaining = iter([_name(item, key) for item in order])
    for element in patch:
        if isinstance(element, dict) and element.get(_DIRECTIVE) == "delete":
            continue
        name = _name(element, key)
        if not any(candidate == name for candidate in remaining):
            shown = f"{go_print(patch)}\n doesn't match $setElementOrder list:\n{go_print(order)}"
            raise bad_request(f"The order in patch list:\n{shown}\n")


def _in_order(items: list[Any], order: list[Any], before: list[Any], key: str | None) -> list[Any]:
    """Return `items`: those that `order` names in its sequence, the others where they stood among them before.

    A named element that is new goes in front of the next unnamed one (strategicpatch `mergeSortedSlice`).
    """
    wanted = [_name(item, key) for item in order]
    stood = [_name(item, key) for item in before]

    def place(item: Any, sequence: list[Any]) -> int:
        name = _name(item, key)
        return sequence.index(name) if name in sequence else -1

    named = sorted((i for i in items if place(i, wanted) >= 0), key=lambda i: place(i, wanted))
    others = sorted((i for i in items if place(i, wanted) < 0), key=lambda i: place(i, stood))
    result: list[Any] = []
    while named and others:
        other, next_named = place(others[0], stood), place(named[0], stood)
        result.append(others.pop(0) if 0 <= other < next_named else named.pop(0))
    return [*result, *named, *others]
