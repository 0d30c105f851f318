"""A structural schema, compiled: what is pruned from an object and what is filled in.

Made once per version of a definition by `definition`. Both walks copy on write: an object that is right already is
returned as it is, so that reading costs a look at each field and no copy. Source: apiextensions-apiserver
pkg/apiserver/schema, pruning and defaulting.
"""

from typing import Any

from localset.apis.customresources.formats import FORMATS
from localset.machinery.metadata import copy_of
from localset.machinery.regexp import Pattern

ABSENT: Any = object()
"""Stands for no default, and in validation for no old value."""
_KEPT = frozenset({"apiVersion", "kind", "metadata"})
_LIMITS = (
    "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "multipleOf", "maxLength", "minLength", "maxItems",
    "minItems", "maxProperties", "minProperties",
)  # fmt: skip


class Schema:
    """One node. Everything is read from a schema that `structural` has accepted (or from a part of one)."""

    def __init__(self, source: dict[str, Any]) -> None:
        """Compile `source`, a JSONSchemaProps."""
        self.is_int_or_string = bool(source.get("x-kubernetes-int-or-string"))
        given = source.get("type") or ""
        self.types: tuple[str, ...] = ("integer", "string") if self.is_int_or_string else (given,) if given else ()
        self.is_nullable = bool(source.get("nullable"))
        self.is_embedded = bool(source.get("x-kubernetes-embedded-resource"))
        self.preserves = bool(source.get("x-kubernetes-preserve-unknown-fields"))
        self.default = source.get("default", ABSENT)
        fields = source.get("properties") or {}
        self.properties = {name: Schema(fields[name]) for name in sorted(fields)}
        self.items = Schema(source["items"]) if isinstance(source.get("items"), dict) else None
        more = source.get("additionalProperties")
        self.additional = Schema(more) if isinstance(more, dict) else None
        self.allows_additional = more is True
        self.required: tuple[str, ...] = tuple(source.get("required") or ())
        self.enum: list[Any] | None = source.get("enum")
        self.format = source.get("format") if source.get("format") in FORMATS else None
        self.pattern = Pattern(source["pattern"]) if source.get("pattern") else None
        self.limits = {name: source[name] for name in _LIMITS if source.get(name) is not None}
        self.list_type = source.get("x-kubernetes-list-type")
        self.list_keys: tuple[str, ...] = tuple(source.get("x-kubernetes-list-map-keys") or ())
        self.all_of = [Schema(part) for part in source.get("allOf") or ()]
        self.any_of = [Schema(part) for part in source.get("anyOf") or ()]
        self.one_of = [Schema(part) for part in source.get("oneOf") or ()]
        self.not_ = Schema(source["not"]) if source.get("not") is not None else None
        self._defaults = {name: p for name, p in self.properties.items() if p.default is not ABSENT}
        inner = [part for part in (*self.properties.values(), self.items, self.additional) if part is not None]
        self.has_defaults: bool = bool(self._defaults) or any(part.has_defaults for part in inner)
        self.has_lists: bool = self.list_type in {"set", "map"} or any(part.has_lists for part in inner)
        self.has_embedded: bool = self.is_embedded or any(part.has_embedded for part in inner)

    def of(self, name: str) -> "Schema | None":
        """Return the schema of the field `name`; None when nothing is known of it."""
        return self.properties.get(name) or self.additional

    def pruned(self, value: Any, unknown: list[str], path: str = "", *, is_root: bool = False) -> Any:
        """Return `value` without the fields that are not specified; their paths are appended to `unknown`."""
        if isinstance(value, dict):
            return self._pruned_object(value, unknown, path, is_root=is_root)
        if isinstance(value, list) and self.items is not None:
            changed: list[Any] | None = None
            for index, item in enumerate(value):
                new = self.items.pruned(item, unknown, f"{path}[{index}]")
                if new is not item:
                    changed = list(value) if changed is None else changed
                    changed[index] = new
            return value if changed is None else changed
        return value

    def _pruned_object(self, value: dict[str, Any], unknown: list[str], path: str, *, is_root: bool) -> dict[str, Any]:
        keeps_head = is_root or self.is_embedded
        keeps_all = self.preserves or self.allows_additional
        changed: dict[str, Any] | None = None
        for name, item in value.items():
            if keeps_head and name in _KEPT:
                continue
            inner = self.of(name)
            if inner is None:
                if keeps_all:
                    continue
                changed = dict(value) if changed is None else changed
                del changed[name]
                unknown.append(f"{path}.{name}" if path else name)
                continue
            new = inner.pruned(item, unknown, f"{path}.{name}" if path else name)
            if new is not item:
                changed = dict(value) if changed is None else changed
                changed[name] = new
        return value if changed is None else changed

    def defaulted(self, value: Any) -> Any:
        """Return `value` with all defaults filled in; a null that may not be null counts as absent where one is set."""
        if not self.has_defaults:
            return value
        if isinstance(value, dict):
            return self._defaulted_object(value)
        if isinstance(value, list) and self.items is not None:
            items = [self._replaced(self.items, item) for item in value]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else items
        return value

    def _defaulted_object(self, value: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] | None = None
        for name, inner in self._defaults.items():
            if name not in value:
                changed = dict(value) if changed is None else changed
                changed[name] = inner.defaulted(copy_of(inner.default))
        for name, item in value.items():
            found = self.of(name)
            if found is None:
                continue
            new = self._replaced(found, item)
            if new is not item:
                changed = dict(value) if changed is None else changed
                changed[name] = new
        return value if changed is None else changed

    @staticmethod
    def _replaced(schema: "Schema", item: Any) -> Any:
        if item is None and not schema.is_nullable and schema.default is not ABSENT:
            item = copy_of(schema.default)
        return schema.defaulted(item)
