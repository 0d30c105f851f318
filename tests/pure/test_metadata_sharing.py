"""`sharing`: what equals is kept once, and nothing but identity changes."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localset.machinery.metadata import copy_of, sharing

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b"]) | st.sampled_from([0.0, 1.0])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(VALUES, VALUES)
def test_the_result_is_spelt_like_the_new_value(new: Any, old: Any) -> None:
    spelt, before = json.dumps(new), json.dumps(old)
    assert json.dumps(sharing(new, old)) == spelt
    assert json.dumps(old) == before


@given(VALUES)
def test_an_equal_copy_is_given_up_for_the_old_value(value: Any) -> None:
    assert sharing(copy_of(value), value) is value


def test_parts_that_are_equal_are_the_same_afterwards() -> None:
    old = {"metadata": {"name": "web-0", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}
    new = {"metadata": {"name": "web-1", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}
    shared = sharing(new, old)
    assert shared["spec"] is old["spec"]
    assert shared["metadata"]["labels"] is old["metadata"]["labels"]
    assert shared["metadata"]["name"] == "web-1"
