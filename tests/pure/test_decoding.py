"""The safe decoder: what it reads, what it refuses, and that it is never surprised."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.machinery.decoding import DecodeError, decode_json
from localset.machinery.yaml_decoding import decode_yaml


def bomb(levels: int, fan: int) -> bytes:
    lines = ["a0: &a0 [" + ",".join(["x"] * fan) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * fan) + "]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def test_duplicate_keys_are_named_by_their_path_and_the_last_wins() -> None:
    value, duplicates = decode_json(b'{"a":{"b":1,"b":2},"c":[{"x":1,"x":2}],"d":{"b":1}}')
    assert value == {"a": {"b": 2}, "c": [{"x": 2}], "d": {"b": 1}}
    assert duplicates == ["a.b", "c[0].x"]
    document = decode_yaml(b"\nspec:\n  a: 1\n  a: 2\n")[0]
    assert (document.value, document.duplicates, document.line) == ({"spec": {"a": 2}}, ["spec.a"], 2)


@pytest.mark.parametrize(
    "text",
    [b"", b'{"a":', b'{"a":NaN}', b'{"a":-Infinity}', b"[" * 100_000, b'{"a":' * 300, b"1e999", b"\xff", b'{"a" 1}',
     b"99999999999999999999", b"-9223372036854775809", b"9" * 5000],
)  # fmt: skip
def test_bad_json_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_json(text)


@pytest.mark.parametrize(
    "text",
    [b"a: [1\n", b"x: !!python/object:os.system 1", b"- " * 300, b"[" * 1000, b"a: &a {b: *a}", b"\xff\xfe\xff",
     b"a: .nan",
     b"\ta: 1", b"? [a]\n: b", b"~: 1", b"a: *nowhere", b"a: 99999999999999999999", b"<<: 1", b"a: b: c"],
)  # fmt: skip
def test_bad_yaml_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_yaml(text)


@pytest.mark.parametrize(
    "text", [bomb(10, 9), bomb(30, 2), b"a: &a [" + b"x," * 1000 + b"]\nb: [" + b"*a," * 1000 + b"]",
             b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 1000 + b"]"],
)  # fmt: skip
def test_alias_bombs_are_refused_at_once(text: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(DecodeError):
        decode_yaml(text)
    assert time.monotonic() - began < 2


def test_yaml_scalars_are_read_as_kubernetes_reads_them() -> None:
    text = b"[0644, 0o17, 0x1f, 2026-01-01, 1:30, 1e3, ~, yes, off, '5', !!str 5, 10Gi, -5, y, 1_000, .5, -]"
    assert decode_yaml(text)[0].value == [
        420, 15, 31, "2026-01-01", "1:30", 1000.0, None, True, False, "5", "5", "10Gi", -5, True, 1000, 0.5, "-",
    ]  # fmt: skip


def test_documents_are_separated_and_empty_ones_left_out() -> None:
    documents = decode_yaml(b"# only\n---\n---\na: 1\n---\n# nothing\n---\nb: 2\n")
    assert [(d.value, d.line) for d in documents] == [({"a": 1}, 3), ({"b": 2}, 7)]


def test_aliases_and_merge_keys_work() -> None:
    assert decode_yaml(b"a: &a {x: 1, z: 2}\nb: {<<: *a, z: 3}\nc: *a\n")[0].value == {
        "a": {"x": 1, "z": 2},
        "b": {"x": 1, "z": 3},
        "c": {"x": 1, "z": 2},
    }


def test_errors_name_the_line() -> None:
    with pytest.raises(DecodeError, match="line 3: ") as caught:
        decode_yaml(b"a: 1\nb: 2\nc: !!set {x}\n")
    assert caught.value.line == 3


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_whatever_json_holds_is_read_back(value: object) -> None:
    assert decode_json(json.dumps(value).encode()) == (value, [])


@given(st.binary(max_size=200))
def test_random_bytes_are_decoded_or_refused_and_nothing_else(data: bytes) -> None:
    for decode in (decode_json, decode_yaml):
        with suppress(DecodeError):
            decode(data)


def test_lone_surrogates_become_replacement_characters() -> None:
    value, _ = decode_json(rb'{"a\ud800":["\ud83d\ude00\udc00"]}')
    assert value == {"a\ufffd": ["\U0001f600\ufffd"]}
