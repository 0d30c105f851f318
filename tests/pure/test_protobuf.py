"""Protobuf bodies: what Go clients send becomes the JSON that they mean; broken bytes are refused, never more."""

import base64
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.apis.resources import RESOURCES
from localset.apis.schema.protobuf import decode_envelope, has_table
from localset.apis.scheme import FieldValidation, decode, find_by_kind
from localset.machinery.decoding import DecodeError
from localset.machinery.errors import StatusError
from localset.machinery.protobuf import MAX_DEPTH, Field, decode_message, open_envelope

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT.parent / "shared" / "kube-api-fixtures"
needs_records = pytest.mark.skipif(not FIXTURES.exists(), reason="the recorded exchanges are not beside this checkout")


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + chunk(1, chunk(1, api_version) + chunk(2, kind)) + chunk(2, raw) + chunk(3, "") + chunk(4, "")


def decoded(api_version: str, kind: str, raw: bytes) -> dict[str, Any]:
    return decode_envelope(open_envelope(envelope(api_version, kind, raw)))


def test_a_lease_as_client_go_writes_it() -> None:
    metadata = chunk(1, "leader") + chunk(2, "") + chunk(3, "default") + chunk(6, "42") + number(7, 0) + chunk(8, b"")
    moment = number(1, 1767225600) + number(2, 123456789)
    spec = chunk(1, "me") + number(2, 15) + chunk(3, moment) + chunk(4, moment) + number(5, 0)
    assert decoded("coordination.k8s.io/v1", "Lease", chunk(1, metadata) + chunk(2, spec)) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader", "namespace": "default", "resourceVersion": "42", "creationTimestamp": None},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.123456Z",
            "renewTime": "2026-01-01T00:00:00.123456Z",
            "leaseTransitions": 0,
        },
    }


def test_empty_values_are_kept_where_they_say_something_and_nowhere_else() -> None:
    claim = chunk(1, b"") + chunk(2, chunk(5, "") + chunk(3, "") + chunk(6, "Filesystem"))
    assert decoded("v1", "PersistentVolumeClaim", claim)["spec"] == {"storageClassName": "", "volumeMode": "Filesystem"}
    budget = chunk(2, chunk(1, number(1, 1) + number(2, 0) + chunk(3, "50%")) + chunk(3, number(1, 0) + number(2, 0)))
    assert decoded("policy/v1", "PodDisruptionBudget", budget)["spec"] == {"minAvailable": "50%", "maxUnavailable": 0}
    options = number(1, 0) + number(3, 0)
    assert decoded("meta.k8s.io/v1", "DeleteOptions", options)["gracePeriodSeconds"] == 0
    pod = chunk(2, number(11, 0) + number(21, 0) + number(4, 0))
    assert decoded("v1", "Pod", pod)["spec"] == {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }


def test_inline_messages_maps_bytes_and_free_json_take_their_place() -> None:
    volume = chunk(1, "data") + chunk(2, chunk(1, chunk(1, "/srv") + chunk(2, "")))
    limits = chunk(1, chunk(1, "cpu") + chunk(2, chunk(1, "250m")))
    probe = chunk(1, chunk(3, chunk(1, number(1, 1) + number(2, 0) + chunk(3, "web")))) + number(2, 0)
    container = chunk(1, "c") + chunk(8, limits) + chunk(10, probe)
    spec = decoded("v1", "Pod", chunk(2, chunk(1, volume) + chunk(2, container)))["spec"]
    assert spec["volumes"] == [{"name": "data", "hostPath": {"path": "/srv", "type": ""}}]
    wanted = {"name": "c", "resources": {"limits": {"cpu": "250m"}}, "livenessProbe": {"tcpSocket": {"port": "web"}}}
    assert spec["containers"] == [wanted]
    secret = decoded("v1", "Secret", chunk(2, chunk(1, "k") + chunk(2, b"\0\xff")) + chunk(3, "Opaque"))
    assert (secret["data"], secret["type"]) == ({"k": "AP8="}, "Opaque")
    revision = decoded("apps/v1", "ControllerRevision", chunk(2, chunk(1, b'{"a":[1]}')) + number(3, 7))
    assert (revision["data"], revision["revision"]) == ({"a": [1]}, 7)
    extra = chunk(4, chunk(1, "k") + chunk(2, chunk(1, "a") + chunk(1, "b")))
    account = decoded("authentication.k8s.io/v1", "TokenReview", chunk(3, number(1, 1) + chunk(2, extra)))
    assert account["status"]["user"]["extra"] == {"k": ["a", "b"]}


def test_every_served_builtin_kind_has_a_table() -> None:
    absent = {r.name for r in RESOURCES if not has_table(r.api_version(), r.kind) and not r.is_refused}
    assert absent <= {"customresourcedefinitions.apiextensions.k8s.io"}
    for spoken in ("Scale", "Eviction", "Binding", "DeleteOptions"):
        group = {"Scale": "autoscaling/v1", "Eviction": "policy/v1"}.get(spoken, "v1")
        assert has_table(group, spoken)
    assert not has_table("example.com/v1", "Widget")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"k8s", b"k8s\0\x12\x05ab", b"k8s\0\x00", b"k8s\0\x13", b"k8s\0" + b"\xff" * 12,
        b"k8s\0\x0a\x02\x0a\x01",
        envelope("v1", "Pod", b"\x0a\x02\x0a\xff"), envelope("v1", "Pod", chunk(1, chunk(1, b"\xff"))),
        envelope("v1", "Pod", number(1, 3)), envelope("v1", "Pod", chunk(2, number(1, 1))),
        envelope("coordination.k8s.io/v1", "Lease", chunk(2, number(2, 2**40))),
        envelope("v1", "Event", chunk(6, number(1, 2**62))),
        envelope("apps/v1", "ControllerRevision", chunk(2, chunk(1, b"[" * 300))),
    ],
)  # fmt: skip
def test_broken_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_envelope(open_envelope(data))


def test_depth_and_number_of_values_are_bounded() -> None:
    messages = {"m": {1: Field("m", "m"), 2: Field("e", "list:m")}}
    raw = b""
    for _ in range(MAX_DEPTH + 1):
        raw = chunk(1, raw)
    with pytest.raises(DecodeError, match="max depth"):
        decode_message(memoryview(raw), "m", messages)
    with pytest.raises(DecodeError, match="values"):
        decode_message(memoryview(chunk(2, b"") * 300_000), "m", messages)


@given(st.sampled_from([(r.api_version(), r.kind) for r in RESOURCES]), st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_decode_error(gvk: tuple[str, str], raw: bytes) -> None:
    try:
        made = decoded(*gvk, raw)
    except (DecodeError, AssertionError):
        return
    json.dumps(made)


@cache
def exchanges() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    if not FIXTURES.exists():
        return []
    found = []
    for line in (FIXTURES / "kubectl-132.jsonl").read_text().splitlines():
        record = json.loads(line)
        for exchange in record.get("exchanges", []):
            body = exchange["req"].get("body")
            if isinstance(body, dict) and "base64" in body:
                found.append((record["cmd"], exchange["req"], exchange["res"]))
    return found


def says(wanted: Any, got: Any) -> bool:
    """Tell whether everything that was sent stands in the answer; what is null or empty may be left out."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and all(says(v, got.get(k)) for k, v in wanted.items() if v not in (None, {}))
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) >= len(wanted) and all(map(says, wanted, got))
    return bool(wanted == got)


@needs_records
def test_what_kubectl_sent_as_protobuf_is_what_the_server_stored() -> None:
    assert len(exchanges()) > 20
    answered = 0
    for command, request, answer in exchanges():
        made = decode_envelope(open_envelope(base64.b64decode(request["body"]["base64"])))
        resource = find_by_kind(made["apiVersion"], made["kind"])
        if resource is not None:
            decode(resource, resource.versions[0], made, FieldValidation.STRICT)
        if answer["status"] != 201 or "base64" not in answer or resource is None:
            continue
        stored = decode_envelope(open_envelope(base64.b64decode(answer["base64"])))
        for part in ("spec", "data", "rules", "roleRef", "subjects", "value"):
            assert says(made.get(part) or {}, stored.get(part) or {}), command
        answered += 1
    assert answered > 15


@needs_records
def test_the_table_is_what_its_generator_writes() -> None:
    script, fields = ROOT / "tools" / "generate_protobuf.py", FIXTURES / "protobuf-fields.json"
    subprocess.run([sys.executable, script, fields, "--check"], check=True)


def test_a_wrong_version_in_the_envelope_is_a_bad_request() -> None:
    made = decoded("apps/v1", "StatefulSet", b"")
    resource = find_by_kind("apps/v1", "StatefulSet")
    assert resource is not None
    with pytest.raises(StatusError) as refused:
        decode(resource, "v1", {**made, "apiVersion": "apps/v9"}, FieldValidation.STRICT)
    assert refused.value.code == 400
