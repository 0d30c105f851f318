"""RE2 patterns that cannot hang, and the JSONPath of printer columns."""

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.machinery.jsonpath import Path, PathError
from localset.machinery.regexp import Pattern, PatternError, TooExpensiveError

SAME_IN_PYTHON = [
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$",
    r"a{2,3}b|c+?d*",
    r"(?i)^abc$",
    r"(?s)a.c",
    r"^\d{1,3}(\.\d{1,3}){3}$",
    r"[^a-c]x",
    r"\bab\b",
    r"x{,2}",
    r"a{2",
    r"[]a-]+",
    r"[\w.-]+@\w+",
    r"(?:ab|cd)*$",
    r"^$",
    r"(?P<name>a)b",
    r"\x41\t",
]
TEXTS = st.text(alphabet="aAbBcCdx019.-+@ {,2\n\t", max_size=12)


@pytest.mark.parametrize("pattern", SAME_IN_PYTHON)
@given(text=TEXTS)
def test_a_pattern_finds_what_python_finds(pattern: str, text: str) -> None:
    if text.endswith("\n"):
        text += "a"  # Python's `$` also holds before a last newline; RE2's does not
    wanted = re.compile(pattern.replace("x{,2}", r"x\{,2\}"), re.ASCII).search(text) is not None
    assert Pattern(pattern).is_found_in(text) is wanted


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        (r"[[:alpha:]]+[[:^digit:]]", "ab", True),
        (r"^\pL+$", "Grüße", True),
        (r"^\p{Lu}\P{Lu}$", "Ab", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"\z", "x", True),
        (r"^a$", "a\n", False),
        (r"(?m)^b$", "a\nb\nc", True),
        (r"(?i:É)", "é", True),
        (r"^[^\n]$", "\n", False),
        (r"^\C?$", "", None),
    ],
)
def test_words_that_only_re2_knows(pattern: str, text: str, wanted: bool | None) -> None:
    if wanted is None:
        with pytest.raises(PatternError):
            Pattern(pattern)
    else:
        assert Pattern(pattern).is_found_in(text) is wanted


@pytest.mark.parametrize("pattern", ["(", "a**", "*a", "(?=a)", r"\1", "[b-a]", "a{2,1}", "a{1001}", "[a", "x\\", "(a"])
def test_what_re2_does_not_take_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        Pattern(pattern)


def test_a_pattern_that_python_would_never_finish_takes_no_time() -> None:
    began = time.perf_counter()
    assert not Pattern("^(a+)+$").is_found_in("a" * 100_000 + "!")
    assert not Pattern("(a|a)*(a|a)*b").is_found_in("a" * 10_000)
    assert time.perf_counter() - began < 2


def test_what_would_cost_too_much_is_told_and_bounded() -> None:
    with pytest.raises(PatternError):
        Pattern("((a{1,1000}){1,1000}){1,1000}")
    began = time.process_time()
    with pytest.raises(TooExpensiveError):
        Pattern("(a|b)*a(a|b){900}c").is_found_in("".join(random.Random(1).choices("ab", k=20_000)))
    assert time.process_time() - began < 5


POD = {
    "spec": {"size": 3, "a.b": 1, "items": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Late", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        (".spec['a.b']", [1]),
        (r".spec.a\.b", [1]),
        (".spec.items[*].n", ["x", "y"]),
        (".spec.items[-1].v", [2]),
        (".spec.items[0:1].n", ["x"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".spec.items[?(@.v>1)].n", ["y"]),
        (".spec.items[?(@.missing)].n", []),
        ("..v", [1, 2]),
        (".spec.nothing.here", []),
        (".spec.items.n", []),
    ],
)
def test_a_path_finds(path: str, found: list[object]) -> None:
    assert Path(path).find(POD) == found


@pytest.mark.parametrize("path", ["spec", ".spec[", ".spec[x]", "..a..b", ".spec.", ".a[?(@.b==)]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(PathError):
        Path(path)
