"""What an accepted CustomResourceDefinition says, compiled: the row it serves and the rules for its objects.

`row_of` is called by the registry whenever definitions change; a Definition is made once per generation and never
changed. Each version's schema is compiled when the first object of that version passes. scheme, routes, tables and
OpenAPI find it under `Resource.definition`.
"""

from functools import cached_property
from typing import Any, NamedTuple

from localset.apis.customresources.columns import Column, columns_of
from localset.apis.customresources.schema import Schema
from localset.apis.customresources.strategy import CustomStrategy
from localset.apis.resources import Resource
from localset.apis.schema.shapes import custom_shape
from localset.apis.schema.types import check_type
from localset.apis.served import version_priority
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.jsonpath import path_of
from localset.machinery.metadata import Object, condition_of, copy_of, name_of
from localset.machinery.shapes import Shape

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class ScalePaths(NamedTuple):
    """Where the scale subresource finds its numbers, as given: `.spec.size`."""

    spec_replicas: str
    status_replicas: str
    label_selector: str


class Version:
    """One version of a definition."""

    def __init__(self, source: Object) -> None:
        """Hold `source`, an element of spec.versions."""
        self.source = source
        self.name = str(source["name"])
        subresources = source.get("subresources") or {}
        scale = subresources.get("scale")
        self.has_status = subresources.get("status") is not None
        self.scale = (
            ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or "")
            if scale
            else None
        )
        self.subresources = (*(("status",) if self.has_status else ()), *(("scale",) if scale else ()))
        self.selectable = tuple(str(field["jsonPath"]) for field in source.get("selectableFields") or ())

    @property
    def published(self) -> dict[str, Any]:
        """Return the openAPIV3Schema as it was given; shared."""
        schema: dict[str, Any] = self.source["schema"]["openAPIV3Schema"]
        return schema

    @cached_property
    def schema(self) -> Schema:
        """Return the compiled schema."""
        return Schema(self.published)

    @cached_property
    def shape(self) -> Shape:
        """Return what server-side apply must know of the schema."""
        return custom_shape(self.published)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Return the printer columns after the name."""
        return columns_of(self.source.get("additionalPrinterColumns"))

    def deprecation(self, resource: Resource) -> str | None:
        """Return the Warning for each use, or None. Source: apiextensions crdHandler's versionDeprecation."""
        if not self.source.get("deprecated"):
            return None
        text = self.source.get("deprecationWarning")
        return str(text) if text else f"{resource.api_version(self.name)} {resource.kind} is deprecated"


class Definition:
    """The rules of one custom resource."""

    def __init__(self, crd: Object) -> None:
        """Read `crd`, which passed its validation."""
        spec = crd["spec"]
        self.crd_name = name_of(crd)
        self.uid = crd["metadata"]["uid"]
        self.generation = crd["metadata"].get("generation", 1)
        self.is_terminating = bool(crd["metadata"].get("deletionTimestamp"))
        self.versions = {str(v["name"]): Version(v) for v in spec["versions"]}
        self.storage = next(str(v["name"]) for v in spec["versions"] if v.get("storage"))
        names = crd["status"]["acceptedNames"]
        served = sorted((str(v["name"]) for v in spec["versions"] if v.get("served")), key=version_priority)
        subresources = {sub: None for v in self.versions.values() for sub in v.subresources}
        self.row = Resource(
            plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(),
            kind=names["kind"],
            group=spec["group"],
            versions=tuple(served),
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(subresources),
            storage=self.storage,
            list_kind=names.get("listKind") or "",
            definition=self,
        )
        self._strategies: dict[str, CustomStrategy] = {}

    def is_of(self, crd: Object) -> bool:
        """Tell whether this was made from `crd` as it is now."""
        metadata = crd["metadata"]
        return (self.uid, self.generation, self.is_terminating) == (
            metadata["uid"],
            metadata.get("generation", 1),
            bool(metadata.get("deletionTimestamp")),
        ) and self.row.short_names == tuple((crd["status"]["acceptedNames"]).get("shortNames") or ())

    def version(self, name: str) -> Version:
        """Return that version; the storage version for an empty name."""
        return self.versions[name or self.storage]

    def strategy(self, version: str = "") -> CustomStrategy:
        """Return the strategy for objects that are written in `version`; empty for the storage version."""
        version = version or self.storage
        if version not in self._strategies:
            self._strategies[version] = CustomStrategy(self.row, self.version(version))
        return self._strategies[version]

    def subresources(self, version: str) -> tuple[str, ...]:
        """Return the subresources of a version."""
        return self.version(version).subresources

    # Objects

    def decode(self, version: str, obj: Object) -> tuple[Object, list[str]]:
        """Return (storage-version object, pruned and defaulted; unknown fields). StatusError 400 for bad metadata."""
        self._check_identity(version, obj)
        unknown: list[str] = []
        try:
            metadata = check_type(OBJECT_META, obj.get("metadata") or {}, "metadata", unknown)
        except ValueError as error:
            where = f'{self.row.kind} in version "{version}" cannot be handled as a {self.row.kind}'
            raise bad_request(f"{where}: {error}") from None
        schema = self.version(version).schema
        pruned = schema.pruned({**obj, "metadata": metadata}, unknown, is_root=True)
        pruned = _with_embedded_metadata(schema, pruned)
        defaulted = copy_of(schema.defaulted(pruned))
        defaulted["apiVersion"], defaulted["kind"] = self.row.api_version(), self.row.kind
        return defaulted, unknown

    def _check_identity(self, version: str, obj: Object) -> None:
        wanted = self.row.api_version(version)
        if not isinstance(obj, dict):
            raise bad_request(f"the object provided is unrecognized (must be of type {self.row.kind})")
        given, kind = obj.get("apiVersion") or wanted, obj.get("kind") or self.row.kind
        if given != wanted:
            why = f"the API version in the data ({given}) does not match the expected API version ({wanted})"
            raise bad_request(why)
        if kind != self.row.kind:
            short = str(given).rpartition("/")[2]
            raise bad_request(f'{kind} in version "{short}" cannot be handled as a {self.row.kind}: kind must match')

    def default(self, obj: Object) -> Object:
        """Return a defaulted private copy of `obj`, made inside the house in the storage version."""
        made: Object = copy_of(self.version("").schema.defaulted(obj))
        made["apiVersion"], made["kind"] = self.row.api_version(), self.row.kind
        made.setdefault("metadata", {})
        return made

    def encode(self, version: str, obj: Object) -> Object:
        """Return the stored `obj` as `version` shows it; the very same object where nothing differs.

        The schema may have changed since it was written: fields that are gone are not shown, new defaults are.
        """
        schema = self.version(version).schema
        shown: Object = schema.defaulted(schema.pruned(obj, [], is_root=True))
        wanted = self.row.api_version(version)
        return shown if shown.get("apiVersion") == wanted else {**shown, "apiVersion": wanted}

    def field_value(self, obj: Object, path: str) -> str | None:
        """Return the text of a selectable field, empty when absent; None when the field cannot be selected by."""
        if not any(f".{path}" == known for version in self.versions.values() for known in version.selectable):
            return None
        found = path_of(f".{path}").find(obj)
        if not found:
            return ""
        value = found[0]
        return ("true" if value else "false") if isinstance(value, bool) else str(value)

    def check_may_create(self) -> None:
        """Raise 405 while the definition is being deleted."""
        if self.is_terminating:
            why = f'create is not supported on resources of kind "{self.row.name}"'
            raise StatusError(405, "MethodNotAllowed", why, {"group": self.row.group, "kind": self.row.plural})


def _with_embedded_metadata(schema: Schema, value: Any) -> Any:
    """Return `value` with the metadata of embedded objects reduced to what ObjectMeta knows."""
    if not schema.has_embedded:
        return value
    if isinstance(value, list) and schema.items is not None:
        return [_with_embedded_metadata(schema.items, item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, item in value.items():
        inner = schema.of(name)
        made[name] = item if inner is None else _with_embedded_metadata(inner, item)
        if name == "metadata" and schema.is_embedded:
            try:
                made[name] = check_type(OBJECT_META, item, "metadata", [])
            except ValueError as error:
                raise bad_request(str(error)) from None
    return made


def is_established(crd: Object) -> bool:
    """Tell whether the definition's objects are served."""
    condition = condition_of(crd, "Established")
    return condition is not None and condition.get("status") == "True"


def row_of(crd: Object, previous: Resource | None) -> Resource | None:
    """Return the row of `crd`, the `previous` one when it is still right; None while it is not established."""
    if not is_established(crd):
        return None
    if previous is not None and previous.definition is not None and previous.definition.is_of(crd):
        return previous
    return Definition(crd).row
