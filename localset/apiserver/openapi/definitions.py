"""From the published types to JSON schemas, in the words of OpenAPI v2 or v3.

A `Definitions` is made for one document and thrown away with it: it holds the descriptions, which are large. Beta
versions that Kubernetes has dropped have the types of v1 under their own names. The node forms that are read here
are described in `tools/generate_schema.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from localset.apis.schema.types import published, schema
from localset.apiserver.openapi.gnostic import MESSAGES

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = META + "ObjectMeta"
LIST_META = META + "ListMeta"
STATUS = META + "Status"
PATCH = META + "Patch"
DELETE_OPTIONS = META + "DeleteOptions"
WATCH_EVENT = META + "WatchEvent"
RESOURCE_LIST = META + "APIResourceList"
GVK = "x-kubernetes-group-version-kind"

_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_ANY_JSON = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
_EVERYWHERE = (DELETE_OPTIONS, WATCH_EVENT)
_ONCE_OPTIONAL = {("io.k8s.api.apps.v1beta1.", "selector")}
"""Fields that v1 requires and a version before it did not: kubectl 1.20 validates by this."""
_ONCE_MERGED = {("io.k8s.api.policy.v1beta1.", "selector")}
"""Fields that v1 replaces and a version before it merged: kubectl sends what is replaced with every apply."""
_LEAVES: dict[str, dict[str, Any]] = {
    "s": {"type": "string"},
    "b": {"type": "boolean"},
    "i": {"type": "integer", "format": "int32"},
    "l": {"type": "integer", "format": "int64"},
    "n": {"type": "number", "format": "double"},
    "o": {"type": "object"},
}
_NAMED_LEAVES = {"is": _INT_OR_STRING, "q": _QUANTITY}
_EXTENSIONS = {
    "mk": "x-kubernetes-patch-merge-key",
    "lt": "x-kubernetes-list-type",
    "lk": "x-kubernetes-list-map-keys",
    "mt": "x-kubernetes-map-type",
    "u": "x-kubernetes-unions",
    "d": "default",
    "f": "format",
}
_V2_WORDS = MESSAGES["Schema"].keys() - {"$ref", "x-"}
"""Keywords of structural schemas that v2 has too; `oneOf`, `nullable` and such are v3's."""
_HOLDS_FIELDS = "properties"


class Kind(NamedTuple):
    """A group, version and kind."""

    group: str
    version: str
    kind: str

    def as_extension(self) -> dict[str, str]:
        """Return what `x-kubernetes-group-version-kind` carries."""
        return {"group": self.group, "kind": self.kind, "version": self.version}


class CustomSchema(NamedTuple):
    """The structural schema of one version of a custom resource; shared, never to be changed."""

    group: str
    version: str
    kind: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class _Source:
    """Where a definition comes from: a published type, and the namespace that its version renames."""

    name: str
    renamed: tuple[str, str] = ("", "")


class Definitions:
    """The schemas of one document."""

    def __init__(
        self,
        *,
        v3: bool,
        versions: Iterable[tuple[str, str]],
        custom: Iterable[tuple[str, str, str, dict[str, Any]]] = (),
    ) -> None:
        """Load the types; `versions` are all served group versions, `custom` the schemas of custom resources."""
        loaded = published()
        self._v3 = v3
        self._prefix = "#/components/schemas/" if v3 else "#/definitions/"
        self._types: dict[str, Any] = {**schema()["types"], **loaded["types"]}
        self._texts: dict[str, list[Any]] = loaded["descriptions"]
        self._names: dict[Kind, str] = {Kind(*key.split("/")): name for key, name in loaded["kinds"].items()}
        self._kinds: dict[str, list[Kind]] = {}
        for kind, name in self._names.items():
            self._kinds.setdefault(name, []).append(kind)
        for name in _EVERYWHERE:
            self._kinds[name] = [Kind(g, v, self._kinds[name][0].kind) for g, v in sorted(versions)]
        self._sources: dict[str, _Source] = {}
        self._custom: dict[str, CustomSchema] = {}
        self._lists: dict[str, tuple[str, Kind]] = {}
        for one in map(CustomSchema._make, custom):
            self._custom[custom_name(one.group, one.version, one.kind)] = one

    def name_of(self, kind: Kind, list_kind: str = "") -> str:
        """Return the definition's name of `kind`, or of the list that holds it; empty when it has no schema."""
        if list_kind:
            own = self.name_of(kind)
            return self._list_name(own, kind, list_kind) if own else ""
        name = self._names.get(kind)
        if name:
            return name
        custom = custom_name(*kind)
        if custom in self._custom:
            return custom
        base: str | None = schema()["kinds"].get(f"{kind.group}/{kind.kind}")
        return self._renamed(base, kind) if base else ""

    def _list_name(self, own: str, kind: Kind, list_kind: str) -> str:
        listed = Kind(kind.group, kind.version, list_kind)
        name = self._names.get(listed)
        if name:
            return name
        source = self._sources.get(own)
        if source and source.name + "List" in self._types:
            return self._renamed(source.name + "List", listed)
        name = own.removesuffix(kind.kind) + list_kind
        self._lists[name] = (own, listed)
        return name

    def _renamed(self, base: str, kind: Kind) -> str:
        """Return the name of a type in a version that is published no more."""
        folder, _, own = base.rpartition(".")
        old, new = folder + ".", f"{folder.rpartition('.')[0]}.{kind.version}."
        name = new + own
        self._sources[name] = _Source(base, (old, new))
        self._kinds.setdefault(name, [kind])
        return name

    def ref(self, name: str) -> dict[str, Any]:
        """Return a reference to `name`."""
        return {"$ref": self._prefix + name}

    def closure(self, names: Iterable[str]) -> list[str]:
        """Return `names` and all that they refer to, sorted."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._references(name)
        return sorted(found)

    def _references(self, name: str) -> list[str]:
        if name in self._custom:
            return [OBJECT_META]
        if name in self._lists:
            return [self._lists[name][0], LIST_META]
        if name in _NAMED_LEAVES.values():
            return []
        source = self._sources.get(name) or _Source(name)
        return [self._followed(source, n) for n in _names_in(self._types[source.name])]

    def _followed(self, source: _Source, name: str) -> str:
        """Return the name under which `source` refers to `name`, which is renamed with it or not at all."""
        old, new = source.renamed
        if not old or not name.startswith(old):
            return name
        renamed = new + name.removeprefix(old)
        self._sources.setdefault(renamed, _Source(name, source.renamed))
        return renamed

    def schema_of(self, name: str) -> dict[str, Any]:
        """Return the schema that stands under `name`."""
        if name in self._custom:
            return self._custom_schema(name)
        if name in self._lists:
            return self._list_schema(name)
        if name in _NAMED_LEAVES.values():
            return self._with_text(self._named_leaf(name), name)
        source = self._sources.get(name) or _Source(name)
        node = self._types[source.name]
        if node == "o" and source.name.startswith(_ANY_JSON):
            made: dict[str, Any] = {}
        elif isinstance(node, dict) and "p" in node:
            made = self._object(source, node)
        else:
            made = self._schema(source, node)
        made = self._with_text(made, source.name)
        kinds = self._kinds.get(name)
        if kinds:
            made[GVK] = [kind.as_extension() for kind in kinds]
        return made

    def _named_leaf(self, name: str) -> dict[str, Any]:
        if name == _QUANTITY:
            return {"oneOf": [{"type": "string"}, {"type": "number"}]} if self._v3 else {"type": "string"}
        if self._v3:
            return {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"format": "int-or-string", "type": "string"}

    def _with_text(self, made: dict[str, Any], name: str) -> dict[str, Any]:
        text = self._texts[name][0]
        return {"description": text, **made} if text else made

    def _object(self, source: _Source, node: dict[str, Any]) -> dict[str, Any]:
        texts = self._texts[source.name][1]
        made: dict[str, Any] = {"type": "object"}
        fields = {}
        for field, sub in node["p"].items():
            is_merged = (source.renamed[1], field) in _ONCE_MERGED
            own = {key: value for key, value in sub.items() if key != "ps"} if is_merged else sub
            fields[field] = self._field(source, own, texts.get(field, ""))
        if fields:
            made["properties"] = fields
        required = [field for field in node.get("req", ()) if (source.renamed[1], field) not in _ONCE_OPTIONAL]
        if required:
            made["required"] = required
        return made | _extensions(node)

    def _field(self, source: _Source, node: Any, text: str) -> dict[str, Any]:
        made = self._schema(source, node)
        if not text:
            return made
        if "$ref" in made and self._v3:
            made = {"allOf": [made]}
        return {"description": text, **made}

    def _schema(self, source: _Source, node: Any) -> dict[str, Any]:
        if isinstance(node, str):
            return self.ref(_NAMED_LEAVES[node]) if node in _NAMED_LEAVES else dict(_LEAVES[node])
        more = _extensions(node)
        if "r" in node:
            made = self.ref(self._followed(source, node["r"]))
        elif "a" in node:
            made = {"type": "array", "items": self._schema(source, node["a"])}
        elif "m" in node:
            made = {"type": "object", "additionalProperties": self._schema(source, node["m"])}
        else:
            made = self._schema(source, node["t"])
        if more and self._v3 and "$ref" in made:  # what stands beside a $ref does not count in v3
            made = {"allOf": [made]}
        return made | more

    def _list_schema(self, name: str) -> dict[str, Any]:
        item, kind = self._lists[name]
        return {
            "description": f"{kind.kind} is a list of objects",
            "type": "object",
            "required": ["items"],
            "properties": {
                **self._type_meta(),
                "items": {"type": "array", "items": self.ref(item)},
                "metadata": self.ref(LIST_META),
            },
            GVK: [kind.as_extension()],
        }

    def _type_meta(self) -> dict[str, Any]:
        texts = self._texts[STATUS][1]
        return {field: {"description": texts[field], "type": "string"} for field in ("apiVersion", "kind")}

    def _custom_schema(self, name: str) -> dict[str, Any]:
        one = self._custom[name]
        made = dict(one.schema) if self._v3 else without_v3_words(one.schema)
        given = made.get("properties")
        made["type"] = "object"
        made["properties"] = {
            **(given if isinstance(given, dict) else {}),
            **self._type_meta(),
            "metadata": self.ref(OBJECT_META),
        }
        made[GVK] = [Kind(one.group, one.version, one.kind).as_extension()]
        return made


def _names_in(node: Any) -> list[str]:
    """Return the names of the types that a node refers to."""
    if isinstance(node, str):
        return [_NAMED_LEAVES[node]] if node in _NAMED_LEAVES else []
    if "r" in node:
        return [node["r"]]
    if "p" in node:
        return [name for sub in node["p"].values() for name in _names_in(sub)]
    return _names_in(node["a"] if "a" in node else node["m"] if "m" in node else node["t"])


def _extensions(node: dict[str, Any]) -> dict[str, Any]:
    more = {long: node[short] for short, long in _EXTENSIONS.items() if short in node}
    if "ps" in node:
        more["x-kubernetes-patch-strategy"] = ",".join(node["ps"])
    return more


def custom_name(group: str, version: str, kind: str) -> str:
    """Return `com.example.stable.v1.CronTab` for a kind of `stable.example.com`."""
    return ".".join([*reversed(group.split(".")), version, kind])


def without_v3_words(node: Any) -> Any:
    """Return a structural schema in v2's words. Source: apiextensions controller/openapi/v2 ToStructuralOpenAPIV2.

    What v2 cannot say is left out; a part that keeps unknown fields says nothing about itself, or kubectl's own
    validation would refuse them. Names of fields are no keywords.
    """
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-preserve-unknown-fields") or node.get("nullable"):
        return {k: v for k, v in node.items() if k == "description" or k.startswith("x-kubernetes-")}
    made = {}
    for key, value in node.items():
        is_known = key in _V2_WORDS or key.startswith("x-kubernetes-")
        if not is_known or (node.get("x-kubernetes-int-or-string") and key == "type"):
            continue
        if key == _HOLDS_FIELDS and isinstance(value, dict):
            made[key] = {field: without_v3_words(sub) for field, sub in value.items()}
        elif key in {"items", "additionalProperties"}:
            made[key] = without_v3_words(value)
        else:
            made[key] = value
    return made
