"""Writes localset/apis/schema/protobuf.json.gz: which field number of which message is which JSON field.

Two sources. `protobuf-fields.json`, handed to this project beside the checkout, has the numbers of the messages that
kubectl sends. `protobuf_facts.json` beside this file has those of further kinds, and what no number says: which
messages stand inline in their parent's JSON, which names differ, and in which fields an empty value says something (in
Go: a pointer, or a field that is always written). Both come from the published Kubernetes API definitions.

    python tools/generate_protobuf.py FIELDS            write the file
    python tools/generate_protobuf.py FIELDS --check    exit 1 when the file on disk says something else

The result is `{"kinds": {"group/Kind": message}, "messages": {message: {number: [name, type, flags]}}}`; `*/Kind`
belongs to every group, `group/version/Kind` to one version. Flags: `k` kept when empty, `i` inline.
"""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "localset" / "apis" / "schema" / "protobuf.json.gz"
FACTS = Path(__file__).with_name("protobuf_facts.json")
SPOKEN = {
    "*/DeleteOptions": "am.apis.meta.v1.DeleteOptions",
    "/Binding": "api.core.v1.Binding",
    "autoscaling/Scale": "api.autoscaling.v1.Scale",
    "autoscaling/v1/HorizontalPodAutoscaler": "api.autoscaling.v1.HorizontalPodAutoscaler",
    "policy/Eviction": "api.policy.v1.Eviction",
    "authentication.k8s.io/TokenRequest": "api.authentication.v1.TokenRequest",
    "authentication.k8s.io/TokenReview": "api.authentication.v1.TokenReview",
    "authentication.k8s.io/SelfSubjectReview": "api.authentication.v1.SelfSubjectReview",
    "authorization.k8s.io/SubjectAccessReview": "api.authorization.v1.SubjectAccessReview",
    "authorization.k8s.io/LocalSubjectAccessReview": "api.authorization.v1.LocalSubjectAccessReview",
    "authorization.k8s.io/SelfSubjectAccessReview": "api.authorization.v1.SelfSubjectAccessReview",
    "authorization.k8s.io/SelfSubjectRulesReview": "api.authorization.v1.SelfSubjectRulesReview",
}
"""Kinds that are sent but not stored, or not in the version that is sent."""
ROOMS = {"": "core", "rbac.authorization.k8s.io": "rbac", "events.k8s.io": "events"}
SCALARS = {"string", "bytes", "bool", "int32", "int64", "double"}


def message_of(group: str, version: str, kind: str) -> str:
    """Return the message of a kind: `api.apps.v1.StatefulSet`."""
    return f"api.{ROOMS.get(group, group.partition('.')[0])}.{version}.{kind}"


def stored_kinds(messages: dict[str, Any]) -> dict[str, str]:
    """Return the message of every served built-in kind; the older versions have the numbers of the newest."""
    sys.path.insert(0, str(ROOT))
    from localset.apis.resources import RESOURCES

    found = {f"{r.group}/{r.kind}": message_of(r.group, r.versions[0], r.kind) for r in RESOURCES}
    return {kind: message for kind, message in found.items() if message in messages}


def build(fields: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the whole document: the kinds, and the closure of their messages."""
    given = {**facts["messages"], **fields}
    kinds = {**stored_kinds(given), **SPOKEN}
    messages: dict[str, Any] = {}
    waiting = sorted(set(kinds.values()))
    while waiting:
        name = waiting.pop()
        if name in messages:
            continue
        rows = messages[name] = {}
        for number, (field, kind) in sorted(given[name].items(), key=lambda item: int(item[0])):
            kept = field in facts["kept"].get(name, ())
            flags = ("k" if kept else "") + ("i" if f"{name}.{field}" in facts["inline"] else "")
            rows[number] = [facts["renamed"].get(f"{name}.{field}", field), kind.replace("map:string:", "map:"), flags]
            inner = kind.rpartition(":")[2]
            if inner not in SCALARS:
                waiting.append(inner)
    return {"kinds": kinds, "messages": messages}


def main() -> None:
    """Write or check the file."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    fields = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["messages"]
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    data = json.dumps(build(fields, facts), separators=(",", ":"), sort_keys=True).encode()
    if "--check" in sys.argv[2:]:
        if not TARGET.exists() or gzip.decompress(TARGET.read_bytes()) != data:
            raise SystemExit(f"{TARGET} is not what {Path(__file__).name} writes")
        return
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as stream:
        stream.write(data)
    TARGET.write_bytes(buffer.getvalue())
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes of {len(data)}")


if __name__ == "__main__":
    main()
