"""Making strategic merge patches: what `apply`, `edit` and `set` send. Pure; the other half is `strategic_patch`.

Step by step apimachinery's strategicpatch (`diffMaps`, `diffLists`, `CreateThreeWayMergePatch`), because the server and
the recorded sessions know patches in exactly that shape: deletions by null or `$patch: delete`, orders by
`$setElementOrder`, cleared unions by `$retainKeys`.
"""

from typing import Any, NamedTuple

from localset.machinery.patch import same_json
from localset.machinery.strategic_patch import PatchRule, PatchSchema

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_REMOVE = "$deleteFromPrimitiveList/"
_PLAIN = PatchRule(None, ())
Path = tuple[str, ...]
Map = dict[str, Any]


class _Wanted(NamedTuple):
    deletions: bool
    changes: bool


def two_way_patch(original: Map, modified: Map, schema: PatchSchema) -> Map:
    """Return the strategic patch that makes `modified` of `original`; {} when they are equal."""
    return _Diff(schema, _Wanted(deletions=True, changes=True)).maps(original, modified, (), is_retaining=False)


def three_way_patch(last_applied: Map, modified: Map, current: Map, schema: PatchSchema) -> Map:
    """Return the strategic patch that sets what `modified` says and deletes what only `last_applied` said.

    Fields of which neither speaks stay as they are in `current`. {} when nothing is to be done.
    """
    changes = _Diff(schema, _Wanted(deletions=False, changes=True)).maps(current, modified, (), is_retaining=False)
    gone = _Diff(schema, _Wanted(deletions=True, changes=False)).maps(last_applied, modified, (), is_retaining=False)
    return _joined(gone, changes, schema, ())


class _Diff:
    def __init__(self, schema: PatchSchema, wanted: _Wanted) -> None:
        self._schema, self._wanted = schema, wanted

    def maps(self, original: Map, modified: Map, path: Path, *, is_retaining: bool) -> Map:
        patch: Map = {}
        for key, value in original.items():
            if key not in modified:
                if self._wanted.deletions:
                    patch[key] = None
            elif type(value) is not type(modified[key]):
                self._replace(patch, key, value, modified[key])
            elif isinstance(value, dict):
                self._map(patch, key, value, modified[key], (*path, key))
            elif isinstance(value, list):
                self._list(patch, key, value, modified[key], (*path, key))
            else:
                self._replace(patch, key, value, modified[key])
        if self._wanted.changes:
            patch |= {key: value for key, value in modified.items() if key not in original}
        if is_retaining and modified and (patch or any(key not in modified for key in original)):
            patch[_RETAIN] = sorted(modified)
        return patch

    def _replace(self, patch: Map, key: str, before: Any, after: Any) -> None:
        if self._wanted.changes and not same_json(before, after):
            patch[key] = after

    def _map(self, patch: Map, key: str, before: Map, after: Map, path: Path) -> None:
        rule = self._schema.lookup(path) or _PLAIN
        if "replace" in rule.strategies:
            self._replace(patch, key, before, after)
            return
        inner = self.maps(before, after, path, is_retaining="retainKeys" in rule.strategies)
        if inner:
            patch[key] = inner

    def _list(self, patch: Map, key: str, before: list[Any], after: list[Any], path: Path) -> None:
        rule = self._schema.lookup(path) or _PLAIN
        if not rule.merges:
            self._replace(patch, key, before, after)
        elif not before:
            if after and self._wanted.changes:
                patch[key] = after
        elif rule.merge_key is None:
            self._scalars(patch, key, before, after)
        else:
            self._keyed(patch, before, after, path, rule)

    def _scalars(self, patch: Map, key: str, before: list[Any], after: list[Any]) -> None:
        added = [value for value in after if value not in before] if self._wanted.changes else []
        removed = [value for value in before if value not in after] if self._wanted.deletions else []
        if added:
            patch[key] = added
        if removed:
            patch[_REMOVE + key] = removed
        if removed or (self._wanted.changes and before != after):
            patch[_ORDER + key] = list(after)

    def _keyed(self, patch: Map, before: list[Any], after: list[Any], path: Path, rule: PatchRule) -> None:
        name = str(rule.merge_key)
        old = {_name(item, name): item for item in before}
        new = {_name(item, name): item for item in after}
        elements: list[Any] = []
        for called, item in new.items():
            if called in old:
                inner = self.maps(old[called], item, path, is_retaining="retainKeys" in rule.strategies)
                if inner:
                    elements.append({**inner, name: called})
            elif self._wanted.changes:
                elements.append(item)
        if self._wanted.deletions:
            elements += [{name: called, _DIRECTIVE: "delete"} for called in sorted(set(old) - set(new), key=str)]
        if elements:
            patch[path[-1]] = elements
        if elements or (self._wanted.changes and list(old) != list(new)):
            patch[_ORDER + path[-1]] = [{name: called} for called in new]


def _name(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) else item


def _joined(first: Map, second: Map, schema: PatchSchema, path: Path) -> Map:
    """Return two patches as one; where both speak of a value, the second has the word."""
    joined = dict(first)
    for key, value in second.items():
        known = joined.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            joined[key] = _joined(known, value, schema, (*path, key))
        elif isinstance(value, list) and isinstance(known, list) and not key.startswith("$"):
            joined[key] = _joined_lists(known, value, schema, (*path, key))
        else:
            joined[key] = value
    for key in [key for key in joined if key.startswith(_ORDER)]:
        _put_in_order(joined, key.removeprefix(_ORDER), joined[key])
    return joined


def _put_in_order(patch: Map, field: str, order: list[Any]) -> None:
    """Sort the elements of a list as its order says, those to be deleted behind: the server insists on it."""
    elements = patch.get(field)
    if isinstance(elements, list) and elements and all(isinstance(item, dict) for item in [*elements, *order]):
        places = {tuple(item.items()): place for place, item in enumerate(order)}
        key = next(iter(order[0])) if order else ""
        patch[field] = sorted(elements, key=lambda item: places.get(((key, item.get(key)),), len(order)))


def _joined_lists(first: list[Any], second: list[Any], schema: PatchSchema, path: Path) -> list[Any]:
    rule = schema.lookup(path) or _PLAIN
    if not rule.merges or rule.merge_key is None:
        return second
    name = rule.merge_key
    known = {_name(item, name): item for item in first}
    joined = []
    for item in second:
        other = known.pop(_name(item, name), None)
        joined.append(item if other is None else _joined(other, item, schema, path))
    return [*joined, *known.values()]
