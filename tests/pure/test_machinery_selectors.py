"""Label and field selectors, held to what a real API server answered where the fixtures are beside the checkout."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.machinery.errors import StatusError
from localset.machinery.fields import parse_field_selector
from localset.machinery.labels import parse_selector, selector_of

FIXTURES = Path(__file__).parents[3] / "shared" / "kube-api-fixtures" / "select.jsonl"
# The labels that the fixtures' set-up gives to its ConfigMaps.
LABELS = {
    "c1": {"app": "a", "tier": "x"},
    "c2": {"app": "b"},
    "c3": {"app": "a", "empty": ""},
    "c4": {},
    "c5": {"pre.fix/app": "a", "num": "5"},
    "kube-root-ca.crt": {},
}
WORDS = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)


def _records(prefix):
    if not FIXTURES.exists():
        return []
    records = [json.loads(line) for line in FIXTURES.read_text().splitlines()]
    return [r for r in records if r.get("id", "").startswith(prefix)]


def _query(record, name):
    return parse_qs(urlsplit(record["req"]["path"]).query, keep_blank_values=True)[name][0]


def _refusal(parse, text):
    with pytest.raises(StatusError) as caught:
        parse(text)
    assert caught.value.code == 400
    return caught.value.message


@pytest.mark.skipif(not FIXTURES.exists(), reason="the fixtures are not beside this checkout")
def test_every_recorded_label_selector_is_answered_as_the_server_did():
    records = _records("select/label/")
    assert len(records) == 42
    for record in records:
        text, body = _query(record, "labelSelector"), record["res"]["body"]
        if record["res"]["status"] == 400:
            assert _refusal(parse_selector, text) == body["message"], text
        else:
            selector = parse_selector(text)
            found = [name for name, labels in LABELS.items() if selector.matches(labels)]
            assert found == [item["metadata"]["name"] for item in body["items"] or []], text


@pytest.mark.skipif(not FIXTURES.exists(), reason="the fixtures are not beside this checkout")
def test_every_recorded_field_selector_is_read_or_refused_as_the_server_did():
    for record in _records("select/field/"):
        text, message = _query(record, "fieldSelector"), record["res"]["body"].get("message", "")
        if message.startswith("invalid"):
            assert _refusal(parse_field_selector, text) == message
        else:
            parse_field_selector(text)  # an unknown field is for apis to refuse


def test_set_operators_and_signs_select_as_documented():
    labels = {"app": "a", "n": "5"}
    assert parse_selector("app in (a, b),n>4,n<6,!x,app").matches(labels)
    assert parse_selector("x!=1,x notin (1)").matches(labels)
    assert not parse_selector("n>5").matches(labels)
    assert not parse_selector("app>1").matches(labels)
    assert parse_selector("").is_empty


@pytest.mark.parametrize("text", ["app=)", "app in a)", "(", "app in (a b)", "app=a,)", ">5"])
def test_nonsense_is_refused_never_guessed(text):
    _refusal(parse_selector, text)


def test_a_selector_object_of_none_selects_nothing_and_an_empty_one_everything():
    assert not selector_of(None).matches({})
    assert not selector_of(None).is_empty
    assert selector_of({}).matches({"a": "b"})
    assert selector_of({}).is_empty


def test_a_selector_object_knows_its_four_operators():
    chosen = selector_of(
        {
            "matchLabels": {"app": "a"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["x", "y"]},
                {"key": "zone", "operator": "NotIn", "values": ["z"]},
                {"key": "app", "operator": "Exists"},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        }
    )
    assert chosen.matches({"app": "a", "tier": "y"})
    assert not chosen.matches({"app": "a", "tier": "y", "gone": ""})
    assert "not a valid label selector operator" in _refusal(
        selector_of, {"matchExpressions": [{"key": "a", "operator": "Gt"}]}
    )


@given(st.dictionaries(WORDS, WORDS, max_size=4), st.dictionaries(WORDS, WORDS, max_size=4))
def test_a_written_selector_means_what_its_object_means(wanted, labels):
    written = parse_selector(",".join(f"{key}={value}" for key, value in wanted.items()))
    assert written.matches(labels) == selector_of({"matchLabels": wanted}).matches(labels)
    assert written.matches({**labels, **wanted})


@given(st.text(max_size=30))
def test_any_text_is_a_selector_or_a_400(text):
    codes = set()
    for parse in (parse_selector, parse_field_selector):
        try:
            parse(text)
        except StatusError as error:
            codes.add(error.code)
    assert codes <= {400}


@given(st.text(max_size=20))
def test_an_escaped_field_value_comes_back_whole(value):
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    assert parse_field_selector(f"metadata.name!={escaped},a==b") == [("metadata.name", "!=", value), ("a", "=", "b")]


def test_the_first_operator_splits_a_field_term():
    _refusal(parse_field_selector, "a=b!=c")
    assert _refusal(parse_field_selector, "a") == "invalid selector: 'a'; can't understand 'a'"
