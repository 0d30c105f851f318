"""Objects seen through their shape: what an apply owns, what a write changed, merging and removing. Pure.

Follows structured-merge-diff's `typed` package in what it answers (ToFieldSet, Compare, Merge, RemoveItems). Called by
`machinery.ownership`. Arguments are never changed; results share unchanged parts with them, so copy before changing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from localset.machinery.fieldsets import ITEM, FieldSet, field, is_item, made
from localset.machinery.fitting import TypedError, by_element, element_of
from localset.machinery.shapes import Form, Shape


class Comparison(NamedTuple):
    """What a write did: fields that are new or have another value, and fields that are gone."""

    changed: FieldSet
    removed: FieldSet


def _is_map(shape: Shape, value: Any) -> bool:
    return isinstance(value, dict) and shape.form in {Form.MAP, Form.ANY}


def _is_granular_list(shape: Shape) -> bool:
    return shape.form is Form.LIST and not shape.atomic


# --- What an object says ---------------------------------------------------------------------------------------------


def said_by(shape: Shape, value: Any) -> FieldSet:
    """Return the fields that an applied object names: leaves, list elements, empty maps; not the maps around them."""
    return _said(shape, value) or {}


def _said(shape: Shape, value: Any) -> FieldSet | None:
    if _is_map(shape, value) and not shape.atomic:
        return _said_map(shape, value)
    if isinstance(value, list) and _is_granular_list(shape):
        return _said_list(shape, value)
    if value is None and (shape.form is Form.LIST or shape.form is Form.MAP) and not shape.atomic:
        return None
    return ITEM


def _said_map(shape: Shape, value: dict[str, Any]) -> FieldSet | None:
    result: FieldSet = {}
    for name, item in value.items():
        part = shape.part(name)
        if part is None:
            continue
        node = _said(part, item)
        if node is None or node:
            is_said = item is None or item == {} or not shape.declares(name)
            node = made(is_said or (node is not None and is_item(node)), _below(node))
        if node is not None:
            result[field(name)] = node
    return result or None


def _below(node: FieldSet | None) -> FieldSet:
    return {key: sub for key, sub in (node or {}).items() if key != "."}


def _said_list(shape: Shape, value: list[Any]) -> FieldSet | None:
    element = shape.element()
    result: FieldSet = {}
    for key, items in by_element(shape, value).items():
        # Of elements that stand twice only the place is owned.
        result[key] = made(True, _below(_said(element, items[0])) if len(items) == 1 else {}) or ITEM
    return result or None


# --- Comparing -------------------------------------------------------------------------------------------------------


def compare(shape: Shape, old: Any, new: Any) -> Comparison:
    """Return what differs between two states. Equal parts cost nothing but a comparison."""
    changed, removed = _compare(shape, old, new)
    return Comparison(changed or {}, removed or {})


_Pair = tuple[FieldSet | None, FieldSet | None]
_SAME: _Pair = (None, None)
_LEAF: _Pair = (ITEM, None)


def _compare(shape: Shape, old: Any, new: Any) -> _Pair:
    if old is new or old == new:
        return _SAME
    if (not old and not new) or shape.atomic:
        return _LEAF
    if isinstance(old or new, dict) and isinstance(new or old, dict) and _is_map(shape, old or new):
        return _compare_maps(shape, old or {}, new or {})
    if isinstance(old or new, list) and isinstance(new or old, list) and _is_granular_list(shape):
        return _compare_lists(shape, old, new)
    return _LEAF


def _compare_maps(shape: Shape, old: dict[str, Any], new: dict[str, Any]) -> _Pair:
    if shape.present:
        old, new = _with_present(shape.present, old, new), _with_present(shape.present, new, old)
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name, value in new.items():
        if name not in old:
            part = shape.part(name)
            if part is not None:
                changed[field(name)] = _all(part, value)
            continue
        before = old[name]
        if before is value or before == value:
            continue
        part = shape.part(name)
        if part is not None:
            _note(field(name), _compare(part, before, value), changed, removed)
    for name, value in old.items():
        if name not in new:
            part = shape.part(name)
            if part is not None:
                removed[field(name)] = _all(part, value)
    return changed or None, removed or None


def _with_present(present: Mapping[str, Any], state: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a state with the values that its fields have unsaid, where the other state has such a field."""
    unsaid = {name: zero for name, zero in present.items() if name in other and name not in state}
    return {**state, **unsaid} if unsaid else state


def _note(key: str, pair: _Pair, changed: FieldSet, removed: FieldSet) -> None:
    if pair[0] is not None:
        changed[key] = pair[0]
    if pair[1] is not None:
        removed[key] = pair[1]


def _compare_lists(shape: Shape, old: list[Any] | None, new: list[Any] | None) -> _Pair:
    element = shape.element()
    before, after = by_element(shape, old), by_element(shape, new)
    changed: FieldSet = {}
    removed: FieldSet = {}
    for key, items in after.items():
        stood = before.get(key)
        if stood is None:
            changed[key] = _all(element, items[0]) if len(items) == 1 else ITEM
        elif len(items) == 1 and len(stood) == 1:
            _note(key, _compare(element, stood[0], items[0]), changed, removed)
        elif items != stood:
            changed[key] = ITEM
    for key, items in before.items():
        if key not in after:
            removed[key] = _all(element, items[0]) if len(items) == 1 else ITEM
    return changed or None, removed or None


def _all(shape: Shape, value: Any) -> FieldSet:
    """Return a value that came or went as a whole: itself and everything below it."""
    if not value or shape.atomic:
        return _all_present(shape) if value == {} and not shape.atomic else ITEM
    result: FieldSet = {}
    if _is_map(shape, value):
        for name, item in value.items():
            part = shape.part(name)
            if part is not None:
                result[field(name)] = _all(part, item)
        for name in shape.present or ():
            if name not in value:
                result[field(name)] = ITEM
    elif isinstance(value, list) and _is_granular_list(shape):
        element = shape.element()
        for key, items in by_element(shape, value).items():
            result[key] = _all(element, items[0]) if len(items) == 1 else ITEM
    return made(True, result) or ITEM


def _all_present(shape: Shape) -> FieldSet:
    return made(True, {field(name): ITEM for name in shape.present or ()}) or ITEM


# --- Merging and removing --------------------------------------------------------------------------------------------


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """Return `live` with what the applied `config` says. List elements that only `live` has keep their place."""
    if shape.atomic or not config or not live:
        is_container = shape.form in {Form.MAP, Form.LIST} or isinstance(config, dict)
        is_alike = config is None or type(config) is type(live)  # an empty map takes a text's place, not a map's
        return live if live and not config and is_container and is_alike and not shape.atomic else config
    if _is_map(shape, config) and isinstance(live, dict):
        result = dict(live)
        for name, value in config.items():
            part = shape.part(name)
            if part is not None:
                result[name] = merge(part, live[name], value) if name in live else value
        return result
    if isinstance(config, list) and isinstance(live, list) and _is_granular_list(shape):
        return _merge_lists(shape, live, config)
    return config


def _merge_lists(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    element = shape.element()
    before, wanted = by_element(shape, live), by_element(shape, config)
    order = [key for key in wanted if key in before]
    # Elements of `live` alone go before the next shared one that stood after them, the rest in config's order.
    result: list[Any] = []
    queue = list(wanted)
    for key in (key for key, items in before.items() for _ in items):
        if key not in wanted:
            result += _take(before, key)
        elif order and key == order[0]:
            while queue:
                name = queue.pop(0)
                result.append(_merged_element(element, before, wanted, name))
                if name in order:
                    order.remove(name)
                if name == key:
                    break
    result += [_merged_element(element, before, wanted, name) for name in queue]
    return result


def _take(items: dict[str, list[Any]], key: str) -> list[Any]:
    return [items[key].pop(0)] if items[key] else []


def _merged_element(shape: Shape, before: dict[str, list[Any]], wanted: dict[str, list[Any]], key: str) -> Any:
    stood = before.get(key) or []
    return merge(shape, stood[0], wanted[key][0]) if len(stood) == 1 else wanted[key][0]


def remove(shape: Shape, value: Any, fields: FieldSet) -> Any:
    """Return `value` without the items of the set; what is emptied by it becomes None, as upstream."""
    if not fields or not value or shape.atomic:
        return value
    if _is_map(shape, value):
        kept = {}
        for name, item in value.items():
            node = fields.get(field(name))
            if node is None:
                kept[name] = item
            elif not is_item(node):
                part = shape.part(name)
                kept[name] = item if part is None else remove(part, item, node)
        return kept or None
    if isinstance(value, list) and _is_granular_list(shape):
        return _remove_elements(shape, value, fields) or None
    return value


def _remove_elements(shape: Shape, value: list[Any], fields: FieldSet) -> list[Any]:
    kept = []
    element = shape.element()
    for item in value:
        try:
            node = fields.get(element_of(shape, item))
        except TypedError:
            node = None
        if node is None:
            kept.append(item)
        elif not is_item(node):
            kept.append(remove(element, item, node))
    return kept


def with_named(shape: Shape, fields: FieldSet) -> FieldSet:
    """Return the set with every declared field on its paths as an item: a removed leaf takes its structs along."""
    result: FieldSet = {}
    for key, node in fields.items():
        if key == ".":
            continue
        part = _part_of(shape, key)
        below = with_named(part, node) if part is not None else _below(node)
        is_named = key.startswith("f:") and shape.declares(key[2:])
        found = made(is_item(node) or (is_named and bool(below)), below)
        if found is not None:
            result[key] = found
    return result


def _part_of(shape: Shape, key: str) -> Shape | None:
    if key.startswith("f:"):
        return shape.part(key[2:])
    return shape.element() if shape.form is Form.LIST else None
