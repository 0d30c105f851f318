"""Who owns which field: managedFields, and what writes and applies do to them. Pure.

One entry for each (manager, operation, apiVersion, subresource); the apiVersion of an Apply is no part of that key.
Follows upstream's `fieldmanager` chain and structured-merge-diff's `merge.Updater`. Called by `registry.tracking` and
`registry.applying`, which know schemas and the clock. Objects are compared in the version of each entry.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from localset.base.frozen import frozen, replace
from localset.machinery import fieldsets
from localset.machinery.errors import StatusError, go_quote
from localset.machinery.fieldsets import FieldSet
from localset.machinery.metadata import Object
from localset.machinery.shapes import Shape
from localset.machinery.typed import Comparison, compare, merge, remove, said_by, with_named

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
_ANCIENT = "ancient-changes"
_MOST_UPDATERS = 10

ShapeOf = Callable[[str], Shape | None]
"""Gives the shape of the kind in an apiVersion, None when that version is not served any more."""


class Manager(NamedTuple):
    """The key of an entry; `api_version` is empty for an Apply."""

    name: str
    operation: str
    api_version: str
    subresource: str

    def __str__(self) -> str:
        """Return the manager as conflicts name it."""
        text = go_quote(self.name)
        if self.subresource:
            text = f"{text} with subresource {go_quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@frozen
class Entry:
    """What one manager owns, in which version, and since when."""

    api_version: str
    time: str
    fields: FieldSet
    listed: Object | None = None
    """The stored form as long as nothing has changed: written again as it is."""


Owners = Mapping[Manager, Entry]


@frozen
class Writer:
    """Who writes now: manager name, the request's apiVersion and subresource, and the time."""

    name: str
    api_version: str
    subresource: str
    time: str
    ignored: frozenset[str] = frozenset()
    """Top-level fields that this way of writing does not touch: status, or spec on the status subresource."""

    def manager(self, operation: str) -> Manager:
        """Return the key of this writer's entry."""
        return Manager(self.name, operation, "" if operation == APPLY else self.api_version, self.subresource)


_SERVER_METADATA = (
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
)
_NEVER_OWNED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{fieldsets.field(name): {} for name in _SERVER_METADATA}},
}


# --- The wire form ---------------------------------------------------------------------------------------------------


def decode(listed: Any) -> dict[Manager, Entry] | None:
    """Return the owners that `metadata.managedFields` lists, None when it cannot be understood."""
    owners: dict[Manager, Entry] = {}
    try:
        for item in listed or []:
            operation, api_version = item.get("operation"), str(item.get("apiVersion") or "")
            if operation not in {APPLY, UPDATE} or item.get("fieldsType") not in {None, "", "FieldsV1"}:
                return None
            key = "" if operation == APPLY else api_version
            manager = Manager(str(item.get("manager") or ""), operation, key, str(item.get("subresource") or ""))
            fields = fieldsets.canonical(item.get("fieldsV1") or {})
            owners[manager] = Entry(api_version, str(item.get("time") or ""), fields)
    except (AttributeError, RecursionError, TypeError, ValueError):
        return None
    return owners


def stored(listed: Any) -> dict[Manager, Entry]:
    """Return the owners of a stored object, whose managedFields were written by `encode`."""
    owners = {}
    for item in listed or ():
        operation, api_version = item["operation"], item["apiVersion"]
        key = "" if operation == APPLY else api_version
        manager = Manager(item["manager"], operation, key, item.get("subresource", ""))
        owners[manager] = Entry(api_version, item["time"], item["fieldsV1"], item)
    return owners


def encode(owners: Owners) -> list[Object]:
    """Return the list for `metadata.managedFields`, in upstream's order: Apply first, then by time and name."""

    def rank(item: tuple[Manager, Entry]) -> tuple[str, ...]:
        manager, entry = item
        return (manager.operation, entry.time, manager.name, entry.api_version, manager.subresource)

    return [_encoded(manager, entry) for manager, entry in sorted(owners.items(), key=rank) if entry.fields]


def _encoded(manager: Manager, entry: Entry) -> Object:
    if entry.listed is not None:
        return entry.listed
    item: Object = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldsets.ordered(entry.fields),
    }
    if manager.subresource:
        item["subresource"] = manager.subresource
    return item


def is_reset(listed: Any) -> bool:
    """Tell whether a client asks to forget all owners: a list with one empty entry."""
    return isinstance(listed, list) and len(listed) == 1 and not listed[0]


def same_but_time(left: Any, right: Any) -> bool:
    """Tell whether two managedFields lists differ in nothing but times; then the old times stay."""
    return _untimed(left) == _untimed(right)


def _untimed(listed: Any) -> list[Any]:
    untimed = [{key: value for key, value in item.items() if key != "time"} for item in listed or []]
    return sorted(untimed, key=lambda item: [str(item.get(key)) for key in ("manager", "operation", "apiVersion")])


# --- Writing ---------------------------------------------------------------------------------------------------------


class Conflicts(Exception):  # noqa: N818 - what they are called
    """Fields that others own with other values, by manager."""

    def __init__(self, fields: dict[Manager, FieldSet]) -> None:
        """Keep them in the order in which they are told."""
        super().__init__("apply conflicts")
        self.fields = dict(sorted(fields.items(), key=lambda item: str(item[0])))

    def but(self, allowed: FieldSet) -> "Conflicts | None":
        """Return the conflicts outside `allowed`, None when there are none."""
        rest = {manager: fieldsets.difference(fields, allowed) for manager, fields in self.fields.items()}
        left = {manager: fields for manager, fields in rest.items() if fields}
        return Conflicts(left) if left else None

    def to_status(self) -> StatusError:
        """Return the 409 that tells them."""
        told = [(m, [fieldsets.path_text(p) for p in fieldsets.paths(f)]) for m, f in self.fields.items()]
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
            for manager, paths in told
            for path in paths
        ]
        if len(causes) == 1:
            why = f"1 conflict: conflict with {told[0][0]}: {causes[0]['field']}"
        else:
            lines = [line for manager, paths in told for line in _lines(manager, paths)]
            why = f"{len(causes)} conflicts: " + "\n".join(lines)
        return StatusError(409, "Conflict", f"Apply failed with {why}", {"causes": causes})


def _lines(manager: Manager, paths: Iterable[str]) -> list[str]:
    return [f"conflicts with {manager}:", *(f"- {path}" for path in paths)]


class _Compared:
    """Two states, compared once in each version that an entry needs."""

    def __init__(self, shape_of: ShapeOf, old: Object, new: Object, ignored: frozenset[str]) -> None:
        self._shape_of = shape_of
        self._states = old, new
        self._ignored = ignored
        self._found: dict[int, Comparison] = {}

    def at(self, api_version: str) -> Comparison | None:
        """Return the comparison in a version, None when it is not served."""
        shape = self._shape_of(api_version)
        if shape is None:
            return None
        found = self._found.get(id(shape))
        if found is None:
            both = compare(shape, *self._states)
            changed, removed = (fieldsets.without(fields, self._ignored) for fields in both)
            found = self._found[id(shape)] = Comparison(changed, removed)
        return found


def _others(owners: Owners, compared: _Compared, writer: Manager | None, *, force: bool) -> dict[Manager, Entry]:
    """Return the owners without what the write took or removed from them; Conflicts unless forced."""
    result: dict[Manager, Entry] = {}
    conflicts: dict[Manager, FieldSet] = {}
    for manager, entry in owners.items():
        if manager == writer:
            result[manager] = entry
            continue
        found = compared.at(entry.api_version)
        if found is None:
            continue
        taken = fieldsets.intersection(entry.fields, found.changed)
        if taken:
            conflicts[manager] = taken
        gone = fieldsets.intersection(entry.fields, found.removed)
        if not taken and not gone:
            result[manager] = entry
        elif fields := fieldsets.difference(fieldsets.difference(entry.fields, taken), gone):
            result[manager] = replace(entry, fields=fields, listed=None)
    if conflicts and not force:
        raise Conflicts(conflicts)
    return result


def updated(owners: Owners, shape_of: ShapeOf, old: Object, new: Object, writer: Writer) -> dict[Manager, Entry]:
    """Return the owners after an ordinary write: the writer owns what it changed, nobody what it removed."""
    compared = _Compared(shape_of, old, new, writer.ignored)
    found = compared.at(writer.api_version)
    if found is None or not (found.changed or found.removed):
        return dict(owners)
    result = _others(owners, compared, None, force=True)
    gained = fieldsets.difference(found.changed, _NEVER_OWNED)
    if not gained:
        return result
    manager = writer.manager(UPDATE)
    before = result.get(manager)
    if before is None:
        result[manager] = Entry(writer.api_version, writer.time, gained)
    elif fieldsets.difference(gained, before.fields):
        result[manager] = Entry(writer.api_version, writer.time, fieldsets.union(gained, before.fields))
    else:  # other values of what it owns already: only the time is new
        listed = {**before.listed, "time": writer.time} if before.listed is not None else None
        result[manager] = replace(before, time=writer.time, listed=listed)
    return capped(result)


def capped(owners: dict[Manager, Entry]) -> dict[Manager, Entry]:
    """Return the owners with the oldest Update entries put together when there are too many of them."""
    updaters = sorted((m for m in owners if m.operation == UPDATE), key=lambda m: (owners[m].time, m.name))
    ancient = {m for m in updaters if m.name == _ANCIENT}
    surplus = len(updaters) - _MOST_UPDATERS
    for manager in [m for m in updaters if m not in ancient]:
        if surplus <= 0:
            break
        bucket = Manager(_ANCIENT, UPDATE, manager.api_version, "")
        entry = owners.pop(manager)
        into = owners.get(bucket)
        surplus -= into is not None
        fields = entry.fields if into is None else fieldsets.union(into.fields, entry.fields)
        owners[bucket] = replace(entry, fields=fields, listed=None)
    return owners


class Applied(NamedTuple):
    """The merged object (the live one itself when nothing changes) and its owners."""

    object: Object
    owners: dict[Manager, Entry]


def applied(owners: Owners, shape_of: ShapeOf, live: Object, config: Object, writer: Writer, *, force: bool) -> Applied:
    """Return the state after an apply of `config`, which was checked; Conflicts unless forced.

    Fields that the writer applied before and now leaves out go, unless somebody else owns them.
    """
    shape = shape_of(writer.api_version)
    assert shape is not None
    manager = writer.manager(APPLY)
    last = owners.get(manager)
    said = fieldsets.without(said_by(shape, config), writer.ignored)
    own = Entry(writer.api_version, writer.time, said)
    merged = merge(shape, live, config)
    claimed = {**owners, manager: own}
    if last is not None and fieldsets.difference(last.fields, said):
        merged = _pruned(claimed, shape_of, merged, last)
    result = _others(claimed, _Compared(shape_of, live, merged, writer.ignored), manager, force=force)
    fields = fieldsets.difference(said, _NEVER_OWNED)
    if fields:
        result[manager] = replace(own, fields=fields)
    else:
        result.pop(manager, None)
    return Applied(live if merged == live else merged, result)


def _pruned(claimed: Owners, shape_of: ShapeOf, merged: Object, last: Entry) -> Object:
    """Return `merged` without what the last apply set and nobody claims now (Updater.prune)."""
    shape = shape_of(last.api_version)
    if shape is None:
        return merged
    gone = with_named(shape, last.fields)
    pruned = remove(shape, merged, gone) or {}
    whole = with_named(shape, said_by(shape, merged))
    # Others may own what lay below a removed item: put back everything that is claimed, in each claim's version.
    by_version: dict[str, FieldSet] = {}
    for entry in claimed.values():
        by_version[entry.api_version] = fieldsets.union(by_version.get(entry.api_version, {}), entry.fields)
    for api_version, fields in by_version.items():
        seen = shape_of(api_version)
        if seen is not None:
            kept = fieldsets.union(with_named(seen, said_by(seen, pruned)), with_named(seen, fields))
            pruned = remove(seen, merged, fieldsets.difference(with_named(seen, said_by(seen, merged)), kept)) or {}
    # And what hung below without ever having been the writer's.
    left = with_named(shape, said_by(shape, pruned))
    lost = fieldsets.intersection(fieldsets.difference(whole, left), gone)
    return remove(shape, merged, lost) or {}
