"""Quantities and names."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.machinery import names
from localset.machinery.quantity import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4Gi", 4 * 2**30),
        ("500m", Fraction(1, 2)),
        ("1.5k", 1500),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1E2", 100),
        ("-1", -1),
        (".5", Fraction(1, 2)),
        ("2.", 2),
        (3, 3),
        (0.1, Fraction(1, 10)),
    ],
)
def test_a_quantity_is_read_exactly(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1KB", "1 Gi", " 1", "1ki", "--1", "1e", "1e99999999", "nan", "1.2.3", "٣"])
def test_what_is_no_quantity_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_quantity(text)


@given(st.integers(-(10**24), 10**24))
def test_a_formatted_quantity_reads_back(billionths):
    value = Fraction(billionths, 10**9)
    assert parse_quantity(format_quantity(value)) == value


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.dns1123_label, ["a", "1-b", "a" * 63], ["", "A", "a.b", "-a", "a" * 64, "a\n"]),
        (names.dns1123_subdomain, ["a.b-c", "1", "a" * 253], ["", "a..b", "A", "a_b", "a" * 254, "a\n"]),
        (names.dns1035_label, ["a1"], ["1a", "a-", "a" * 64]),
        (names.qualified_name, ["MyName", "ex.com/a_b"], ["", "/a", "a/", "a/b/c", "-a", "A.B/c", "a" * 64]),
        (names.label_value, ["", "a_b.C"], ["-", "a b", "a" * 64]),
        (names.config_map_key, ["a.b", "..a.b"[2:], "_"], ["", ".", "..", "..a", "a/b", "a" * 254]),
        (names.env_var_name, ["A", "a.b-c", "1 x"], ["", "A=B", "\u00fc", "a\n"]),
        (names.port_name, ["http", "a-1"], ["", "1", "a--b", "-a", "A", "a" * 16]),
    ],
)
def test_good_names_pass_and_bad_ones_are_complained_of(check, good, bad):
    assert [name for name in good if check(name)] == []
    assert [name for name in bad if not check(name)] == []


def test_complaints_are_in_the_words_of_kubernetes():
    assert names.dns1123_subdomain("UPPER") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.dns1123_label("a" * 64) == ["must be no more than 63 characters"]
    assert names.qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.config_map_key("..") == ["must not be '..'"]
