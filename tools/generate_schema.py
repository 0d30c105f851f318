"""Writes localset/apis/schema/schema.json.gz from the schema that Kubernetes publishes.

The source is `_definitions.json` of the PyPI package kubernetes-validate 1.37.0, a development dependency. Only the
closure of the served kinds is kept, without descriptions; the bytes are the same on every run.

    python tools/generate_schema.py            write the file
    python tools/generate_schema.py --check    exit 1 when the file on disk says something else

The result is `{"kinds": {"group/Kind": name}, "types": {name: node}}`. A node is one of:

    "s" "b" "i" "l" "n"    string, boolean, integer of 32 and of 64 bits, number
    "is" "q" "o"           integer or string, quantity, free form
    {"r": name}            that type
    {"a": node}            an array of it          lt: list type, lk: list map keys
    {"m": node}            a map from text to it
    {"p": {field: node}}   an object               req: required fields
    {"t": leaf}            a leaf that carries more of what follows

and each dict may carry: mk merge key, ps patch strategies, mt map type, f format.
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
TARGET = ROOT / "localset" / "apis" / "schema" / "schema.json.gz"
PREFIX = "#/$defs/"
EXTRA_KINDS = {
    "/Binding": "io.k8s.api.core.v1.Binding",
    "/DeleteOptions": "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "autoscaling/Scale": "io.k8s.api.autoscaling.v1.Scale",
    "policy/Eviction": "io.k8s.api.policy.v1.Eviction",
}
FREE_FORM = {"io.k8s.apimachinery.pkg.runtime.RawExtension", "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"}
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
}

Node = str | dict[str, Any]


def read_definitions() -> dict[str, Any] | None:
    """Return the published definitions, or None when the package is not installed."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / SOURCE
    return dict(json.loads(path.read_text(encoding="utf-8"))["$defs"]) if path.exists() else None


def served_kinds(definitions: dict[str, Any]) -> dict[str, str]:
    """Return `group/Kind` → definition of every served kind in its storage version, and of the extra ones."""
    sys.path.insert(0, str(ROOT))
    from localset.apis.resources import RESOURCES

    wanted = {(r.group, r.versions[0], r.kind) for r in RESOURCES}
    found = dict(EXTRA_KINDS)
    for name, definition in definitions.items():
        gvks = definition.get("x-kubernetes-group-version-kind", [])
        if len(gvks) == 1 and (gvks[0]["group"], gvks[0]["version"], gvks[0]["kind"]) in wanted:
            found[f"{gvks[0]['group']}/{gvks[0]['kind']}"] = name
    return found


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
        leaf = LEAVES[kind]
    return {"t": leaf, **more} if more else leaf


def type_node(name: str, definition: dict[str, Any]) -> Node:
    """Return the node of a definition."""
    if name in FREE_FORM:
        return "o"
    if base_type(definition) != "object":
        return node_of(definition)
    fields = definition.get("properties", {})
    node = {"p": {field: node_of(fields[field]) for field in sorted(fields)}, **extensions(definition)}
    if definition.get("required"):
        node["req"] = definition["required"]
    return node


def references(node: Any) -> list[str]:
    """Return the names that a node refers to."""
    if isinstance(node, dict):
        own = [node["r"]] if isinstance(node.get("r"), str) else []
        return own + [name for sub in node.values() for name in references(sub)]
    return []


def build(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the whole document: kinds, and the closure of their types."""
    kinds = served_kinds(definitions)
    types: dict[str, Node] = {}
    waiting = sorted(kinds.values())
    while waiting:
        name = waiting.pop()
        if name not in types:
            types[name] = type_node(name, definitions[name])
            waiting += references(types[name])
    return {"kinds": kinds, "types": types}


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
    data = encode(build(definitions))
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or gzip.decompress(TARGET.read_bytes()) != data:
            raise SystemExit(f"{TARGET} is not what {Path(__file__).name} writes")
        return
    TARGET.write_bytes(compressed(data))
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
