"""Whatever fits the schema is stored or refused in words; never a crash, and defaults are stable."""

from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localset.apis.resources import RESOURCES, Resource
from localset.apis.schema.types import schema, type_of
from localset.apis.scheme import FieldValidation, decode, default, encode, strategy_of
from localset.machinery.errors import Cause, StatusError
from localset.machinery.metadata import copy_of

TEXTS = st.sampled_from(
    ["", "a", "web-0", "A_b", "..", "app.io/x", "50%", "RollingUpdate", "None", "10.0.0.1", "x" * 70]
)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "s": TEXTS,
    "b": st.booleans(),
    "i": st.sampled_from([0, 1, -1, 80, 70000]),
    "l": st.sampled_from([0, 1, -1, 1000]),
    "n": st.sampled_from([0, 1.5]),
    "is": st.sampled_from([0, 1, -1, "50%", "150%", "http", "x"]),
    "q": st.sampled_from(["0", "1Gi", "500m", "-1", "1e3", 2, 0.5]),
    "o": st.sampled_from([{}, {"spec": {"x": None}}, [1], "x", None]),
}
FORMATS = {"byte": st.sampled_from(["", "YQ=="]), "date-time": st.just("2026-01-01T00:00:00Z")}
MAX_DEPTH = 7


@st.composite
def values(draw: Any, node: Any, depth: int) -> Any:
    """Draw a value of a schema node; null now and then, as clients send it."""
    if isinstance(node, dict) and "r" in node:
        node = schema()["types"][node["r"]]
    if isinstance(node, str):
        return draw(LEAVES[node])
    if "t" in node:
        return draw(FORMATS[node["f"]]) if "f" in node else draw(LEAVES[node["t"]])
    if draw(st.integers(0, 20)) == 0:
        return None
    if "a" in node:
        count = draw(st.integers(0, 2)) if depth < MAX_DEPTH else 0
        return [draw(values(node["a"], depth + 1)) for _ in range(count)]
    if "m" in node:
        keys = draw(st.lists(TEXTS, max_size=2, unique=True)) if depth < MAX_DEPTH else []
        return {key: draw(values(node["m"], depth + 1)) for key in keys}
    return {field: draw(values(node["p"][field], depth + 1)) for field in draw(fields(node, depth))}


@st.composite
def fields(draw: Any, node: dict[str, Any], depth: int) -> list[str]:
    """Draw which fields of an object are given: what is required often, of the rest a few."""
    if depth >= MAX_DEPTH:
        return []
    names = sorted(node["p"])
    chosen = set(draw(st.lists(st.sampled_from(names), max_size=3))) if names else set()
    chosen |= {f for f in ("metadata", "spec", *node.get("req", ())) if f in node["p"] and draw(st.integers(0, 3))}
    return sorted(chosen - {"apiVersion", "kind"})


@cache
def objects(resource: Resource) -> st.SearchStrategy[dict[str, Any]]:
    root = type_of(resource.group, resource.versions[0], resource.kind)
    return values(root, 0).filter(lambda value: isinstance(value, dict))


chosen = st.sampled_from([(r, v) for r in RESOURCES for v in r.versions])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), chosen)
def test_any_object_is_stored_or_refused_in_words(data: st.DataObject, choice: tuple[Resource, str]) -> None:
    resource, version = choice
    body = data.draw(objects(resource))
    before = copy_of(body)
    try:
        stored = decode(resource, version, body, FieldValidation.STRICT).object
    except StatusError as error:
        refused: int | None = error.code
    else:
        refused = None
    assert body == before, "decoding must not change its input"
    if refused is not None:
        assert refused == 400 or (refused == 422 and resource.stored_as)
        return
    assert default(resource, stored) == stored
    for other in resource.versions:
        shown = encode(resource, other, stored)
        again = decode(resource, other, shown, FieldValidation.STRICT).object
        if other == resource.versions[0]:
            assert again == stored
    strategy = strategy_of(resource.name)
    new, changed = copy_of(stored), copy_of(stored)
    strategy.prepare_create(new)
    causes = strategy.validate(new)
    strategy.prepare_update(changed, new)
    causes += strategy.validate_update(changed, new)
    assert strategy.validate_change(changed, new) == [], "what did not change cannot be refused as a change"
    with_status = copy_of({**new, "status": stored.get("status") or {}})
    strategy.prepare_status_update(with_status, new)
    causes += strategy.validate_status_update(with_status, new)
    assert all(isinstance(cause, Cause) and cause.message for cause in causes)
    assert all(isinstance(text, str) for text in strategy.warnings(new))
