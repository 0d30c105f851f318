"""`-o jsonpath=`, `jsonpath-as-json=`, `custom-columns=` and `--sort-by`: what paths find, as kubectl prints it."""

from functools import cmp_to_key
from typing import Any

from localset.cli.output import CommandError
from localset.cli.printing.documents import go_float, go_json
from localset.machinery.errors import go_print
from localset.machinery.jsonpath import Path, PathError
from localset.machinery.jsonpath_template import Template, relaxed
from localset.machinery.quantity import parse_quantity
from localset.machinery.tabwriter import table_lines


def compiled(text: str) -> Template:
    """Return the template; CommandError."""
    try:
        return Template(text)
    except PathError as error:
        raise CommandError(f"error parsing jsonpath {text}, {error}") from None


def relaxed_path(text: str) -> Path:
    """Return the path of a `--sort-by` or a column; CommandError."""
    try:
        return relaxed(text)
    except PathError as error:
        raise CommandError(str(error)) from None


def print_template(template: Template, value: Any, *, is_json: bool, is_missing_allowed: bool) -> str:
    """Return what a template makes of `value`."""
    parts: list[str] = []
    try:
        for result in template.results(value, is_missing_allowed=is_missing_allowed):
            if isinstance(result, str):
                parts.append(go_json([result], indent=4) + "\n" if is_json else result)
            elif is_json:
                parts.append((go_json(result, indent=4) if result else "[]") + "\n")
            else:
                parts.append(" ".join(_shown(value) for value in result))
    except PathError as error:
        raise CommandError(
            f'error executing jsonpath "{template.text}": Error executing template: {error}. '
            "Printing more information for debugging the template:\n\ttemplate was:\n\t\t"
            f"{template.text}\n\tobject given to jsonpath engine was:\n\t\t{go_syntax(value)}\n\n"
        ) from None
    return "".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return go_json(value)
    return go_float(value) if isinstance(value, float) else go_print(value)


def go_syntax(value: Any) -> str:
    """Return a JSON value as Go's `%#v` prints it."""
    if isinstance(value, dict):
        inner = ", ".join(f"{go_json(key)}:{go_syntax(value[key])}" for key in sorted(value))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(go_syntax(item) for item in value) + "}"
    if value is None:
        return "interface {}(nil)"
    return json_text(value) if isinstance(value, str) else _shown(value)


def json_text(text: str) -> str:
    """Return a text quoted as Go quotes it, without HTML escapes."""
    import json

    return json.dumps(text, ensure_ascii=False)


class Columns:
    """`custom-columns=NAME:.path,…`; CommandError for a specification that makes none."""

    def __init__(self, specification: str) -> None:
        """Compile the columns."""
        if not specification:
            raise CommandError("custom-columns format specified but no custom columns given")
        self._columns: list[tuple[str, Path]] = []
        for part in specification.split(","):
            header, colon, path = part.partition(":")
            if not colon:
                raise CommandError(f"unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>")
            self._columns.append((header, relaxed_path(path)))
        self._widths: list[int] = []
        self._has_header = False

    def lines(self, objects: list[Any], *, has_headers: bool = True) -> list[str]:
        """Return a line for each object, the header before the first."""
        rows = [[_cell(path, obj) for _, path in self._columns] for obj in objects]
        if has_headers and not self._has_header:
            rows.insert(0, [header for header, _ in self._columns])
        self._has_header = True
        return table_lines(rows, self._widths)


def columns_of_file(text: str) -> Columns:
    """Return the columns of a template file: a line of headers, a line of paths."""
    lines = text.splitlines()
    if len(lines) < 2:
        raise CommandError("invalid template file, expected at least two lines")
    headers, paths = lines[0].split(), lines[1].split()
    if len(headers) != len(paths):
        raise CommandError(f"number of headers ({len(headers)}) and field specifications ({len(paths)}) don't match")
    return Columns(",".join(f"{header}:{path}" for header, path in zip(headers, paths, strict=True)))


def _cell(path: Path, obj: Any) -> str:
    try:
        found = path.search(obj)
    except PathError as error:
        raise CommandError(str(error)) from None
    return ",".join(go_print(value) for value in found) if found else "<none>"


class NothingToSortByError(Exception):
    """No object has the field."""


def sorted_by(text: str, items: list[Any], objects: list[Any]) -> list[Any]:
    """Return `items` in the order of the field `text` in their `objects`; those without it first."""
    try:
        path = relaxed(text)
    except PathError as error:
        raise NothingToSortByError(str(error)) from None
    keyed: list[tuple[list[Any], Any]] = [(path.find(obj), item) for obj, item in zip(objects, items, strict=True)]
    if items and not any(found for found, _ in keyed):
        raise NothingToSortByError(f'couldn\'t find any field with path "{{{_dotted(text)}}}" in the list of objects')
    order = cmp_to_key(_compare)
    return [item for _, item in sorted(keyed, key=lambda pair: order(pair[0]))]


def _dotted(text: str) -> str:
    inner = text.removeprefix("{").removesuffix("}")
    return inner if inner.startswith((".", "[")) else "." + inner


def _compare(left: list[Any], right: list[Any]) -> int:
    if not left or not right:
        return bool(left) - bool(right)
    a: Any = left[0]
    b: Any = right[0]
    if isinstance(a, str) and isinstance(b, str):
        one, two = _quantity(a), _quantity(b)
        if one is not None and two is not None:
            return int(one > two) - int(one < two)
        return (a > b) - (a < b)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return int(a > b) - int(a < b)
    raise CommandError(f"unsortable type: {type(a).__name__}")


def _quantity(text: str) -> Any:
    try:
        return parse_quantity(text)
    except ValueError:
        return None
