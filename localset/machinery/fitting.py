"""Whether a value fits its shape, and by what the elements of its granular lists are told apart. Pure.

Called by `machinery.typed` for every list and by `registry.applying` for what a client applies. Follows what
structured-merge-diff's validation answers.
"""

import json
from typing import Any

from localset.machinery.errors import go_print
from localset.machinery.fieldsets import keyed, member, path_text
from localset.machinery.shapes import Form, Shape


class TypedError(ValueError):
    """A value that does not fit its shape: `.spec.ports: element 0: …`."""


def element_of(shape: Shape, item: Any) -> str:
    """Return the path element of an item of a granular list; TypedError when it has none."""
    if not shape.keys:
        if isinstance(item, dict):
            raise TypedError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise TypedError("not supported: associative list with lists as elements")
        if item is None:
            raise TypedError("associative list without keys has an element that's an explicit null")
        return member(item)
    if item is None:
        raise TypedError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise TypedError("associative list with keys may not have non-map elements")
    return keyed({key: _key_value(shape, item, key) for key in shape.keys})


def _key_value(shape: Shape, item: dict[str, Any], key: str) -> Any:
    value = item.get(key)
    if value is None:
        value = (shape.defaults or {}).get(key)
    if value is None:
        why = f'omits key field "{key}" (and doesn\'t have default value)'
        raise TypedError(f"associative list with keys has an element that {why}")
    return value


def by_element(shape: Shape, items: list[Any] | None) -> dict[str, list[Any]]:
    """Return the items by path element; items that have none are told apart by their value."""
    found: dict[str, list[Any]] = {}
    for item in items or []:
        try:
            key = element_of(shape, item)
        except TypedError:
            key = "k:" + json.dumps({"": item}, sort_keys=True)
        found.setdefault(key, []).append(item)
    return found


# --- Validating ------------------------------------------------------------------------------------------------------


def check(shape: Shape, value: Any) -> None:
    """Refuse an applied object that does not fit its shape: TypedError with path and reason."""
    complaints = _complaints(shape, value, "")
    if len(complaints) == 1:
        raise TypedError(complaints[0])
    if complaints:
        raise TypedError("errors:\n" + "".join(f"  {text}\n" for text in complaints))


def _complaints(shape: Shape, value: Any, path: str) -> list[str]:
    if value is None or shape.form is Form.ANY:
        return []
    if shape.form is Form.SCALAR:
        why = _scalar_complaint(shape.expects, value)
        return [f"{path}: {why}"] if why else []
    if shape.form is Form.MAP:
        if not isinstance(value, dict):
            return [f"{path}: expected map, got {go_print(value)}"]
        return _map_complaints(shape, value, path)
    if not isinstance(value, list):
        return [f"{path}: expected list, got {go_print(value)}"]
    if shape.atomic:
        element = shape.element()
        return [text for i, item in enumerate(value) for text in _complaints(element, item, f"{path}[{i}]")]
    return _list_complaints(shape, value, path)


def _scalar_complaint(expects: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return f"expected {expects or 'scalar'}, got {go_print(value)}"
    is_right = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "numeric": isinstance(value, int | float) and not isinstance(value, bool),
        "": True,
    }[expects]
    wanted = "numeric (int or float)" if expects == "numeric" else expects
    return "" if is_right else f"expected {wanted}, got {go_print(value)}"


def _map_complaints(shape: Shape, value: dict[str, Any], path: str) -> list[str]:
    complaints = []
    for name, item in value.items():
        part = shape.part(name)
        if part is None:
            complaints.append(f"{path}.{name}: field not declared in schema")
        else:
            complaints += _complaints(part, item, f"{path}.{name}")
    return complaints


def _list_complaints(shape: Shape, value: list[Any], path: str) -> list[str]:
    complaints, seen, told = [], set(), set()
    element = shape.element()
    for index, item in enumerate(value):
        try:
            key = element_of(shape, item)
        except TypedError as error:
            complaints.append(f"{path}: element {index}: {error}")
            continue
        if key in seen and key not in told:
            told.add(key)
            complaints.append(f"{path}: duplicate entries for key {path_text((key,))}")
        seen.add(key)
        complaints += _complaints(element, item, f"{path}{path_text((key,))}")
    return complaints
