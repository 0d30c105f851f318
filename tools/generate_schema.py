"""Writes localset/apis/schema/*.json.gz from the schema that Kubernetes publishes.

The source is `_definitions.json` of the PyPI package kubernetes-validate 1.37.0, a development dependency. Only what
the groups below need is kept; the bytes are the same on every run.

    python tools/generate_schema.py            write the files
    python tools/generate_schema.py --check    exit 1 when a file on disk says something else

`schema.json.gz` is what every request body is checked with: `{"kinds": {"group/Kind": name}, "types": {name: node}}`,
where a version with fields of its own is `group/version/Kind`.
`published.json.gz` is what only OpenAPI needs beside it, and is read when somebody asks for that: `{"kinds":
{"group/version/Kind": name}, "types": …, "descriptions": {name: [text, {field: text}]}}`, with lists, Status and such.
A node is one of:

    "s" "b" "i" "l" "n"    string, boolean, integer of 32 and of 64 bits, number
    "is" "q" "o"           integer or string, quantity, free form
    {"r": name}            that type
    {"a": node}            an array of it          lt: list type, lk: list map keys
    {"m": node}            a map from text to it
    {"p": {field: node}}   an object               req: required fields, u: unions
    {"t": leaf}            a leaf that carries more of what follows

and each dict may carry: mk merge key, ps patch strategies, mt map type, f format, d default.
"""

import gzip
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

SOURCE = "kubernetes-json-schema/v1.37.0-local/_definitions.json"
ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / "localset" / "apis" / "schema"
PREFIX = "#/$defs/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
GROUPS = {
    "": ("v1",),
    "admissionregistration.k8s.io": ("v1",),
    "apiextensions.k8s.io": ("v1",),
    "apps": ("v1",),
    "authentication.k8s.io": ("v1",),
    "authorization.k8s.io": ("v1",),
    "autoscaling": ("v1", "v2"),
    "batch": ("v1",),
    "coordination.k8s.io": ("v1",),
    "discovery.k8s.io": ("v1",),
    "events.k8s.io": ("v1",),
    "networking.k8s.io": ("v1",),
    "node.k8s.io": ("v1",),
    "policy": ("v1",),
    "rbac.authorization.k8s.io": ("v1",),
    "scheduling.k8s.io": ("v1",),
    "storage.k8s.io": ("v1",),
}
"""Whose kinds may be served, each group's storage version last. A kind that is not served costs a few hundred bytes."""
BESIDE_STORAGE = ("autoscaling/v1/HorizontalPodAutoscaler",)
"""Kinds that clients may send in a version with other fields than the storage version's."""
EVERYWHERE = {"DeleteOptions", "WatchEvent"}
"""Kinds that belong to every group version."""
SPOKEN = ("Patch", "ListMeta")
"""Types without a kind that only operations refer to."""
DEFAULTS = {
    "io.k8s.api.core.v1.AzureDiskVolumeSource.cachingMode": "ReadWrite",
    "io.k8s.api.core.v1.AzureDiskVolumeSource.fsType": "ext4",
    "io.k8s.api.core.v1.AzureDiskVolumeSource.kind": "Shared",
    "io.k8s.api.core.v1.AzureDiskVolumeSource.readOnly": False,
    "io.k8s.api.core.v1.ContainerPort.protocol": "TCP",
    "io.k8s.api.core.v1.GRPCAction.service": "",
    "io.k8s.api.core.v1.ISCSIPersistentVolumeSource.iscsiInterface": "default",
    "io.k8s.api.core.v1.ISCSIVolumeSource.iscsiInterface": "default",
    "io.k8s.api.core.v1.RBDPersistentVolumeSource.keyring": "/etc/ceph/keyring",
    "io.k8s.api.core.v1.RBDPersistentVolumeSource.pool": "rbd",
    "io.k8s.api.core.v1.RBDPersistentVolumeSource.user": "admin",
    "io.k8s.api.core.v1.RBDVolumeSource.keyring": "/etc/ceph/keyring",
    "io.k8s.api.core.v1.RBDVolumeSource.pool": "rbd",
    "io.k8s.api.core.v1.RBDVolumeSource.user": "admin",
    "io.k8s.api.core.v1.ScaleIOPersistentVolumeSource.fsType": "xfs",
    "io.k8s.api.core.v1.ScaleIOPersistentVolumeSource.storageMode": "ThinProvisioned",
    "io.k8s.api.core.v1.ScaleIOVolumeSource.fsType": "xfs",
    "io.k8s.api.core.v1.ScaleIOVolumeSource.storageMode": "ThinProvisioned",
    "io.k8s.api.core.v1.ServicePort.protocol": "TCP",
}
"""The `+default` marks of upstream's Go types, which the source has lost. protocol is a key of list maps."""
_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
FREE_FORM = {
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    f"{_CRD}JSON",
    f"{_CRD}JSONSchemaPropsOrBool",  # apis.customresources looks inside
    f"{_CRD}JSONSchemaPropsOrStringArray",
}
ALIASES = {f"{_CRD}JSONSchemaPropsOrArray": f"{_CRD}JSONSchemaProps"}
"""The array form is refused in v1."""
INLINE = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "q",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "is",
}
LEAVES = {"string": "s", "boolean": "b", "number": "n", "object": "o"}
EXTENSIONS = {
    "mk": "x-kubernetes-patch-merge-key",
    "ps": "x-kubernetes-patch-strategy",
    "lt": "x-kubernetes-list-type",
    "lk": "x-kubernetes-list-map-keys",
    "mt": "x-kubernetes-map-type",
    "u": "x-kubernetes-unions",
}

Node = str | dict[str, Any]


def read_definitions() -> dict[str, Any] | None:
    """Return the published definitions, or None when the package is not installed."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / SOURCE
    return dict(json.loads(path.read_text(encoding="utf-8"))["$defs"]) if path.exists() else None


def published_kinds(definitions: dict[str, Any]) -> dict[str, str]:
    """Return `group/version/Kind` → definition of all kinds of `GROUPS`; those of every group version under `/v1/`."""
    found = {}
    for name, definition in definitions.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", []):
            group, version, kind = gvk["group"], gvk["version"], gvk["kind"]
            if version in GROUPS.get(group, ()) and (kind not in EVERYWHERE or not group):
                found[f"{group}/{version}/{kind}"] = name
    return found


def checked_kinds(published: dict[str, str]) -> dict[str, str]:
    """Return `group/Kind` → definition of the kinds that a client may send, most in their storage version alone."""
    answers = {"APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status", "WatchEvent"}
    kinds = {}
    for key, name in sorted(published.items()):
        group, _, kind = key.split("/")
        is_list = kind.endswith("List") and key.removesuffix("List") in published
        if kind not in answers and not is_list:
            kinds[f"{group}/{kind}"] = name
    return kinds | {key: published[key] for key in BESIDE_STORAGE}


def base_type(schema: dict[str, Any]) -> str:
    """Return the type without `null`, which every optional field allows."""
    kind = schema.get("type", "object")
    return str(next(t for t in kind if t != "null") if isinstance(kind, list) else kind)


def extensions(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a node carries beside its type."""
    found = {short: schema[long] for short, long in EXTENSIONS.items() if long in schema}
    if "ps" in found:
        found["ps"] = found["ps"].split(",")
    if schema.get("format") in {"byte", "date-time"}:
        found["f"] = schema["format"]
    return found


def node_of(schema: dict[str, Any]) -> Node:
    """Return the compact form of a schema."""
    more = extensions(schema)
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(PREFIX)
        name = ALIASES.get(name, name)
        leaf = INLINE.get(name)
        if leaf is None:
            return {"r": name, **more}
    elif (kind := base_type(schema)) == "array":
        return {"a": node_of(schema["items"]), **more}
    elif kind == "object" and "additionalProperties" in schema:
        return {"m": node_of(schema["additionalProperties"]), **more}
    elif kind == "integer":
        leaf = "i" if schema.get("format") == "int32" else "l"
    else:
        leaf = LEAVES[kind] if "type" in schema else "o"
    return {"t": leaf, **more} if more else leaf


def field_node(name: str, field: str, schema: dict[str, Any]) -> Node:
    """Return the node of a field, with its default where the source has lost it."""
    node = node_of(schema)
    default = DEFAULTS.get(f"{name}.{field}")
    if default is None:
        return node
    return {**(node if isinstance(node, dict) else {"t": node}), "d": default}


def type_node(name: str, definition: dict[str, Any]) -> Node:
    """Return the node of a definition."""
    if name in FREE_FORM:
        return "o"
    if base_type(definition) != "object" or "type" not in definition:
        return node_of(definition)
    fields = definition.get("properties", {})
    node = {"p": {field: field_node(name, field, fields[field]) for field in sorted(fields)}, **extensions(definition)}
    if definition.get("required"):
        node["req"] = definition["required"]
    return node


def references(node: Any) -> list[str]:
    """Return the names that a node refers to."""
    if isinstance(node, dict):
        own = [node["r"]] if isinstance(node.get("r"), str) else []
        return own + [name for sub in node.values() for name in references(sub)]
    return []


def closure(definitions: dict[str, Any], names: set[str], known: dict[str, Node]) -> dict[str, Node]:
    """Return `names` and all that they refer to, without what is known."""
    types: dict[str, Node] = {}
    waiting = sorted(names - known.keys())
    while waiting:
        name = waiting.pop()
        if name not in types:
            types[name] = type_node(name, definitions[name])
            waiting += [n for n in references(types[name]) if n not in known]
    return types


def build(definitions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the documents by file name."""
    published = published_kinds(definitions)
    kinds = checked_kinds(published)
    types = closure(definitions, set(kinds.values()), {})
    more = closure(definitions, {*published.values(), *(META + name for name in SPOKEN)}, types)
    descriptions = {name: described(definitions[name]) for name in {*types, *more, *INLINE}}
    return {
        "schema.json.gz": {"kinds": kinds, "types": types},
        "published.json.gz": {"kinds": published, "types": more, "descriptions": descriptions},
    }


def described(definition: dict[str, Any]) -> list[Any]:
    """Return the description of a type and those of its fields."""
    fields = definition.get("properties", {})
    return [
        definition.get("description", ""),
        {name: field["description"] for name, field in fields.items() if field.get("description")},
    ]


def encode(document: dict[str, Any]) -> bytes:
    """Return the document as deterministic JSON."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def compressed(data: bytes) -> bytes:
    """Return `data` gzipped without a name and a time."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as stream:
        stream.write(data)
    return buffer.getvalue()


def main() -> None:
    """Write or check the file."""
    definitions = read_definitions()
    if definitions is None:
        raise SystemExit("kubernetes-validate 1.37.0 is not installed: pip install kubernetes-validate==1.37.0")
    for name, document in build(definitions).items():
        path, data = DIRECTORY / name, encode(document)
        if "--check" in sys.argv[1:]:
            if not path.exists() or gzip.decompress(path.read_bytes()) != data:
                raise SystemExit(f"{path} is not what {Path(__file__).name} writes")
            continue
        path.write_bytes(compressed(data))
        print(f"{name}: {path.stat().st_size} bytes of {len(data)}")


if __name__ == "__main__":
    main()
