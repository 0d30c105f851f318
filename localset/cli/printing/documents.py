"""JSON and YAML byte for byte as kubectl prints them: Go's encoding/json and go-yaml, keys sorted.

NB: go-yaml writes what libyaml writes, and chooses the style of a text by what it would be read as: only YAML 1.1's
words, numbers and dates are quoted. PyYAML is imported for YAML alone.
"""

import json
import re
from typing import Any, ClassVar

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_TO_ESCAPE = re.compile("[<>&\u2028\u2029]")


def go_json(value: Any, *, indent: int | None = None, is_sorted: bool = True) -> str:
    """Return JSON as Go marshals a map: sorted keys, `<`, `>` and `&` escaped; compact without `indent`."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, indent=indent, ensure_ascii=False, separators=separators, sort_keys=is_sorted)
    return _TO_ESCAPE.sub(lambda found: _ESCAPES[found.group()], text)


def to_json(value: Any) -> str:
    """Return what `-o json` prints, without the newline behind it."""
    return go_json(value, indent=4)


_WORDS = {
    *("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"),
    *("true", "True", "TRUE", "false", "False", "FALSE"),
    *("", "~", "null", "Null", "NULL"),
    *(".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF"),
}
_NUMBER = re.compile(
    r"""[-+]?(?:
        0b[01_]+ | 0x[0-9a-fA-F_]+ | 0o?[0-7_]+            # other bases
        | [0-9][0-9_]*                                      # integers
        | (?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?
        | [0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?        # base 60
    )\Z""",
    re.VERBOSE,
)
_DATE = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}(?:(?:[Tt]|[ ]+)\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d*)?[ ]*(?:Z|[-+]\d\d?(?::?\d\d)?)?)?\Z"
)


def _is_plain(text: str) -> bool:
    """Tell whether go-yaml reads `text` unquoted as a text."""
    return not (text in _WORDS or _NUMBER.match(text) or _DATE.match(text))


def _key_order(left: str, right: str) -> int:
    """Compare two keys as go-yaml sorts them (yaml.v2 sorter.go): numbers by value, letters after everything else."""
    for place, (a, b) in enumerate(zip(left, right, strict=False)):
        if a == b:
            continue
        if a.isalpha() and b.isalpha():
            return -1 if a < b else 1
        if a.isalpha() or b.isalpha():
            return -1 if b.isalpha() else 1
        one, two = _number_at(left, place), _number_at(right, place)
        if "0" in {a, b} and re.search(r"[1-9]\d*\Z", left[:place]):
            one, two = (
                (int(f"1{left[place : place + one[1]]}"), one[1]),
                (int(f"1{right[place : place + two[1]]}"), two[1]),
            )
        return -1 if (*one, a) < (*two, b) else 1
    return len(left) - len(right)


def _number_at(text: str, place: int) -> tuple[int, int]:
    """Return the number that begins at `place` and how many digits it has; (0, 0) for none."""
    found = _DIGITS.match(text, place)
    return (int(found.group()), len(found.group())) if found else (0, 0)


_DIGITS = re.compile(r"[0-9]+")


def to_yaml(value: Any) -> str:
    """Return what `-o yaml` prints, with the newline at its end."""
    from functools import cmp_to_key

    import yaml

    order = cmp_to_key(_key_order)
    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]  # which of the two it is depends on how PyYAML was built
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # `_is_plain` decides, not PyYAML

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def scalar(dumper: Any, text: str, style: str | None = None) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)

    def text(dumper: Any, data: str) -> Any:
        return scalar(dumper, data, "|" if "\n" in data else None if _is_plain(data) else '"')

    def mapping(dumper: Any, data: dict[str, Any]) -> Any:
        pairs = [(key, data[key]) for key in sorted(data, key=order)]
        return dumper.represent_mapping("tag:yaml.org,2002:map", pairs, flow_style=not data)

    def sequence(dumper: Any, data: list[Any]) -> Any:
        return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not data)

    Dumper.add_representer(str, text)
    Dumper.add_representer(int, lambda dumper, data: scalar(dumper, str(data)))
    Dumper.add_representer(bool, lambda dumper, data: scalar(dumper, str(data).lower()))
    Dumper.add_representer(type(None), lambda dumper, _: scalar(dumper, "null"))
    Dumper.add_representer(float, lambda dumper, data: scalar(dumper, go_float(data)))
    Dumper.add_representer(dict, mapping)
    Dumper.add_representer(list, sequence)
    return str(yaml.dump(value, Dumper=Dumper, default_flow_style=False, allow_unicode=True, width=80))


def go_float(value: float) -> str:
    """Return a float as Go's `%v` prints it: exponents from 21 digits on are `1e+21`, integers have no point."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    return (
        f"{mantissa.removesuffix('.0')}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-').zfill(2)}"
        if e
        else text
    )


def visible(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object, or a list of them, without managedFields: nobody reads them by chance."""
    if isinstance(obj.get("items"), list) and str(obj.get("kind", "")).endswith("List"):
        return {**obj, "items": [visible(item) for item in obj["items"]]}
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
