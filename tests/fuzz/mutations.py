"""Requests that are nearly right: valid manifests, patches, queries and paths with hostile values in random places.

A schema's generator seldom gets past the first check; these reach validation, defaulting, patching and the controllers.
Everything comes from the given `random.Random`: the same seed makes the same requests. NB: no value may be a command
that does harm, since Pods that are accepted are run.
"""

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

EVERY_KIND = Path(__file__).parents[1] / "e2e" / "manifests" / "every_kind.yaml"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
NO_METHOD = "CONNECTX"
PATCH_TYPES = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)
DEEP: list[Any] = []
for _ in range(60):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 1.5, -0.0, 1e308, 0.1),
    *("", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "😀", "é", "İ", "a" * 64, "a" * 254, "b" * 70_000, "\n", "\r\n"),
    *("..", ".", "/", "../../etc/passwd", "a/b", "-a", "a-", "A", "*", "%s", "%00", "$(POD_IP)", "$(", "{}", "[", '"'),
    *("1Gi", "-1", "1e400", "99999999999999999999Gi", "0x10", "1m", "0.0000001", "Inf", "NaN", "80%", "200%", "-5%"),
    *("2026-01-01T00:00:00Z", "9999-99-99T00:00:00Z", "0000-01-01T00:00:00Z", "1", "true", "^(a+)+$", "(", "None"),
    *("default", "lib", "http", "Always", "10.1.2.3", "::1", "256.1.1.1", "metadata.name", "v1", "apps/v1"),
    *({}, [], [None], [[]], [{}], {"": ""}, {"a": None}, {"name": "lib"}, [1, "a"], {"$patch": "delete"}, DEEP),
)
KEYS = (
    *("", "\0", "a", "$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"),
    *("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "managedFields"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "creationTimestamp", "resourceVersion", "uid", "generation"),
    *("status", "spec", "metadata", "kind", "apiVersion", "containers", "volumes", "replicas", "selector", "template"),
    *(
        "ports",
        "env",
        "volumeClaimTemplates",
        "updateStrategy",
        "conditions",
        "labelSelector",
        "x" * 300,
        "é",
        "\ud800",
    ),
)
SELECTORS = (
    *("a=b=c", "a in (", "a in (b,c),!d", "!", ",", "a notin ()", "=", "a==b,,", "in in (in)", "(", "a>1", "a<x"),
    *("metadata.name=", "metadata.name!=x,status.phase=Y", "metadata.name=lib", "spec.nodeName=,", "\0", "a" * 5000),
    *("\\", "metadata.name=a\\", "metadata.name=a\\,b\\=c", "status.x=1", "é=ü", "a=\ud7ff", "a=b," * 900, "a.b/c/d=e"),
)
TEXTS = (
    *(
        "",
        "0",
        "1",
        "-1",
        "true",
        "TRUE",
        "x",
        "1.5",
        "1e3",
        "9" * 19,
        "9" * 40,
        "-" * 3,
        "+1",
        "١",
        "\0",
        "All",
        "None",
    ),
    *("Exact", "NotOlderThan", "Orphan", "Foreground", "Strict", "Ignore", "a" * 200, "bm9uZQ", "e30", "W10", "=", "%"),
    *("Table", "Object", "Metadata", "lib", "\u2028"),
)
PARAMETERS = (
    *("limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds", "allowWatchBookmarks"),
    *("sendInitialEvents", "dryRun", "fieldManager", "fieldValidation", "force", "pretty", "gracePeriodSeconds"),
    *(
        "propagationPolicy",
        "orphanDependents",
        "includeObject",
        "timeout",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
    ),
)
ACCEPTS = (
    *("", "*/*", JSON, YAML, PROTOBUF, f"{PROTOBUF},{JSON}", "text/html", "application/json;q=0", ";;,;", "a" * 3000),
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
)
TYPES = ("", JSON, YAML, PROTOBUF, *PATCH_TYPES, "text/plain", "application/json; charset=latin-1", "a", ";", "é")
RAW = (
    *(
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"{}",
        b"\xff\xfe{\x00}",
        b"\x00",
        b"k8s\x00",
        b"k8s\x00" + b"\xff" * 40,
    ),
    *(
        b'{"metadata":{"name":"lib"}',
        b'{"metadata":1}',
        b'{"metadata":[]}',
        b'{"metadata":null}',
        b'{"a":NaN}',
        b'{"a":1e999}',
    ),
    *(
        b'{"a":' * 5000,
        b"[" * 100_000,
        b'{"metadata":{"name":"\\ud800"}}',
        b'{"metadata":{"name":"\xff"}}',
        b"a: &a [*a]",
    ),
    *(b"a: &x {b: 1}\n<<: *x\n", b"--- a\n--- b\n", b"!!python/object:os.system x", b"? [a]\n: b", b"{1: 2, null: 3}"),
    *(
        b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12\x02\n\x00",
        b"k8s\x00\n\x09\n\x02v1\x12\x03Pod\x12\x7f",
        b'{"a":1,"a":2}',
    ),
)


@dataclass(frozen=True)
class Sent:
    """One request; `path` is percent-encoded and carries the query."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def manifests() -> list[dict[str, Any]]:
    """Return the valid objects that all mutations begin with; kube-system and its like are left alone."""
    return [body for body in yaml.safe_load_all(EVERY_KIND.read_text()) if body["kind"] != "Namespace"]


_CLUSTER_SCOPED = {
    *("Node", "PersistentVolume", "StorageClass", "CSIDriver", "ClusterRole", "ClusterRoleBinding", "IngressClass"),
    *("PriorityClass", "RuntimeClass", "CustomResourceDefinition"),
}
_PLURALS = {
    "Endpoints": "endpoints",
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
    "StorageClass": "storageclasses",
    "IngressClass": "ingressclasses",
    "PriorityClass": "priorityclasses",
    "RuntimeClass": "runtimeclasses",
}


def collection(body: dict[str, Any]) -> str:
    """Return the path of the collection that a manifest belongs into."""
    version = body["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = _PLURALS.get(body["kind"], body["kind"].lower() + "s")
    return f"{root}/{plural}" if body["kind"] in _CLUSTER_SCOPED else f"{root}/namespaces/default/{plural}"


class Mutations:
    """An endless stream of requests around the objects of `manifests`, which must exist."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bodies = manifests()
        self._makers = (
            *(self._create, self._create, self._create, self._update, self._patch, self._patch, self._patch),
            *(self._read, self._read, self._delete, self._raw, self._subresource, self._path),
        )

    def __iter__(self) -> Iterator[Sent]:
        while True:
            yield self.random.choice(self._makers)()

    def changed(self, value: Any) -> Any:
        """Return a copy of `value` with one to four hostile changes."""
        value = copy.deepcopy(value)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            value = self._change(value, self.random.randrange(7))
        return value

    def _change(self, value: Any, depth: int) -> Any:
        choose = self.random
        if isinstance(value, dict) and value:
            key = choose.choice(sorted(value))
            if depth > 0 and choose.random() < 0.8:
                return {**value, key: self._change(value[key], depth - 1)}
            kind = choose.randrange(4)
            if kind == 0:
                return {k: v for k, v in value.items() if k != key}
            if kind == 1:
                return {**value, choose.choice(KEYS): choose.choice(VALUES)}
            if kind == 2:
                return {**value, choose.choice(KEYS): value[key]}
            return {**value, key: choose.choice(VALUES)}
        if isinstance(value, list) and value:
            at = choose.randrange(len(value))
            if depth > 0 and choose.random() < 0.7:
                return [*value[:at], self._change(value[at], depth - 1), *value[at + 1 :]]
            return choose.choice(([*value, value[at]], [*value, choose.choice(VALUES)], value[1:], {"0": value[at]}))
        return choose.choice(VALUES)

    def _query(self) -> str:
        choose = self.random
        count = choose.choice((0, 0, 1, 1, 2, 3))
        given = [(choose.choice(PARAMETERS), choose.choice(TEXTS)) for _ in range(count)]
        names = [name for name in ("labelSelector", "fieldSelector") if choose.random() < 0.1]
        given += [(name, choose.choice(SELECTORS)) for name in names]
        return "?" + urlencode(given, errors="surrogatepass") if given else ""

    def _headers(self, content_type: str = "") -> dict[str, str]:
        headers = {"Content-Type": content_type} if content_type else {}
        if self.random.random() < 0.12:
            headers["Accept"] = self.random.choice(ACCEPTS)
        if self.random.random() < 0.05:
            headers["Content-Type"] = self.random.choice(TYPES)
        return {key: value.encode("latin-1", "replace").decode("latin-1") for key, value in headers.items() if value}

    def _sent(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Sent:
        if body is None:
            return Sent(method, path + self._query(), None, self._headers())
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Sent(method, path + self._query(), data, self._headers(content_type))

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        metadata = body["metadata"] if isinstance(body.get("metadata"), dict) else {}
        if not isinstance(metadata.get("name"), str) or self.random.random() < 0.8:
            metadata = {**metadata, "name": f"m{self.random.randrange(30)}"}
            body = {**body, "metadata": metadata}
        return body

    def _create(self) -> Sent:
        body = self.random.choice(self.bodies)
        path, made = collection(body), self.changed(body)
        if self.random.random() < 0.7:
            made = self._named(made)
            made |= {"apiVersion": body["apiVersion"], "kind": body["kind"]}
        if self.random.random() < 0.1:
            return self._sent("POST", path, json.dumps(made).encode(), YAML)
        return self._sent("POST", path, made)

    def _place(self) -> tuple[dict[str, Any], str]:
        body = self.random.choice(self.bodies)
        return body, f"{collection(body)}/{body['metadata']['name']}"

    def _update(self) -> Sent:
        body, path = self._place()
        return self._sent("PUT", path, self.changed(body))

    def _patch(self) -> Sent:
        body, path = self._place()
        kind = self.random.choice(PATCH_TYPES)
        return self._sent("PATCH", path, self._change_as_patch(body, kind), kind)

    def _change_as_patch(self, body: dict[str, Any], kind: str) -> Any:
        choose = self.random
        if kind != "application/json-patch+json":
            parts = {key: body[key] for key in choose.sample(sorted(body), choose.randrange(1, len(body)))}
            if kind == "application/apply-patch+yaml":
                parts |= {
                    "apiVersion": body["apiVersion"],
                    "kind": body["kind"],
                    "metadata": {"name": body["metadata"]["name"]},
                }
            return self.changed(parts)
        paths = (
            "/metadata/labels",
            "/metadata/labels/a",
            "/spec",
            "/spec/replicas",
            "/metadata/finalizers/-",
            "",
            "/",
            "/a~2",
            "/spec/template/spec/containers/0",
            "/spec/ports/-1",
            "/spec/ports/99999999999999999999",
            "/metadata",
            "/kind",
        )
        steps = []
        for _ in range(choose.choice((1, 1, 2, 3))):
            step = {
                "op": choose.choice(("add", "remove", "replace", "move", "copy", "test", "", None)),
                "path": choose.choice(paths),
                "from": choose.choice(paths),
                "value": choose.choice(VALUES),
            }
            steps.append(self.changed(step) if choose.random() < 0.2 else step)
        return steps

    def _read(self) -> Sent:
        body, path = self._place()
        return self._sent("GET", self.random.choice((path, collection(body), collection(body))))

    def _delete(self) -> Sent:
        body, _ = self._place()
        path = f"{collection(body)}/m{self.random.randrange(30)}"
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Background",
            "preconditions": {"uid": "x", "resourceVersion": "1"},
            "dryRun": ["All"],
        }
        return self._sent("DELETE", path, self.random.choice((None, {"gracePeriodSeconds": 0}, self.changed(options))))

    def _raw(self) -> Sent:
        body, path = self._place()
        method, place = self.random.choice(
            (("POST", collection(body)), ("PUT", path), ("PATCH", path), ("DELETE", path + "-no"))
        )
        kind = self.random.choice(PATCH_TYPES if method == "PATCH" else (JSON, YAML, PROTOBUF))
        return self._sent(method, place, self.random.choice(RAW), kind)

    def _subresource(self) -> Sent:
        choose = self.random
        root = "/api/v1/namespaces/default"
        scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "lib"}, "spec": {"replicas": 1}}
        policy = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "lib"},
            "deleteOptions": {"gracePeriodSeconds": 0},
        }
        target = {"metadata": {"name": "lib"}, "target": {"kind": "Node", "name": "nowhere"}}
        token = {
            "spec": {"audiences": ["a"], "expirationSeconds": 600, "boundObjectRef": {"kind": "Pod", "name": "lib"}}
        }
        debugger = {"spec": {"ephemeralContainers": [{"name": "e", "image": "host"}]}}
        finalize = {"metadata": {"name": "default"}, "spec": {"finalizers": ["a"]}}
        review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}, "user": "a", "groups": ["b"]}}
        status = {
            **choose.choice(self.bodies),
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        sets = "/apis/apps/v1/namespaces/default/statefulsets/lib"
        method, path, body = choose.choice(
            (
                ("PUT", f"{sets}/scale", scale),
                ("PATCH", f"{sets}/scale", scale),
                ("GET", f"{sets}/scale", None),
                ("POST", f"{root}/pods/m1/eviction", policy),
                ("POST", f"{root}/pods/lib/binding", target),
                ("POST", f"{root}/bindings", target),
                ("POST", f"{root}/serviceaccounts/lib/token", token),
                ("PATCH", f"{root}/pods/lib/ephemeralcontainers", debugger),
                ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review),
                ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review),
                ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "a.b.c"}}),
                ("PUT", "/api/v1/namespaces/default/finalize", finalize),
                ("GET", f"{root}/pods/lib/log", None),
                *((m, f"{collection(status)}/{status['metadata']['name']}/status", status) for m in ("PUT", "PATCH")),
            )
        )
        kind = choose.choice(PATCH_TYPES) if method == "PATCH" else JSON
        return self._sent(method, path, None if body is None else self.changed(body), kind)

    def _path(self) -> Sent:
        choose = self.random
        hostile = [quote(v, safe="", errors="surrogatepass") for v in VALUES if isinstance(v, str)] + [
            "%",
            "%zz",
            "%2f",
            "%ff",
            ";a",
            "a%00",
        ]
        root = choose.choice(
            ("/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v3", "/apis/metrics.k8s.io/v1beta1")
        )
        rest = [
            choose.choice(("namespaces", "default", "pods", "lib", "status", "watch", "log", *hostile))
            for _ in range(choose.randrange(6))
        ]
        path = "/".join((root, *rest)) + choose.choice(("", "/", "//"))
        method = choose.choice(("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", NO_METHOD))
        if method == "DELETE" and len(rest) < 5:
            method = "GET"  # whole collections and namespaces stay
        return self._sent(method, path, choose.choice((None, {}, b"x")) if method not in {"GET", "HEAD"} else None)
