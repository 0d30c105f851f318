"""Which printer an `-o` names. Called by commands that print objects; refuses others in kubectl's words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from localset.cli.output import CommandError
from localset.cli.printing.documents import to_json, to_yaml, visible

Output = Callable[[list[Any], bool], str]
"""(objects, whether they are to be printed as a list) → text."""

_TEMPLATES = {
    "go-template": "go-template",
    "template": "go-template",
    "go-template-file": "go-template-file",
    "templatefile": "go-template-file",
    "jsonpath": "jsonpath",
    "jsonpath-as-json": "jsonpath-as-json",
    "jsonpath-file": "jsonpath-file",
    "custom-columns": "custom-columns",
    "custom-columns-file": "custom-columns-file",
}
OF_GET = (*sorted([*_TEMPLATES, "json", "name", "wide", "yaml"]),)


def output_of(given: dict[str, Any], allowed: tuple[str, ...] = OF_GET) -> Output:
    """Return the printer for the flags `output` and `template`."""
    text = given["output"] or ("go-template" if given.get("template") else "")
    name, equals, argument = text.partition("=")
    if text == "name" and "name" in allowed:
        return lambda objects, _: "".join(name_of(obj) + "\n" for obj in objects)
    if text in {"json", "yaml"}:
        write = _json_line if text == "json" else to_yaml
        is_shown = given.get("show-managed-fields", False)
        return lambda objects, is_list: write(_whole([o if is_shown else visible(o) for o in objects], is_list))
    if name not in _TEMPLATES:
        listed = ",".join(allowed)
        raise CommandError(
            f'unable to match a printer suitable for the output format "{text}", allowed formats are: {listed}'
        )
    kind = _TEMPLATES[name]
    argument = argument if equals else given.get("template", "")
    if kind.startswith("custom-columns"):
        return _columns(kind, argument, has_headers=not given.get("no-headers", False))
    if not argument:
        raise CommandError("template format specified but no template given")
    if kind.endswith("-file"):
        argument = _contents(argument)
        kind = kind.removesuffix("-file")
    if kind == "go-template":
        from localset.cli.printing.gotemplate import GoTemplate

        return _each(GoTemplate(argument).render)
    from localset.cli.printing.paths import compiled, print_template

    template = compiled(argument)
    is_missing_allowed = given.get("allow-missing-template-keys", True)
    is_json = kind == "jsonpath-as-json"
    return _each(lambda obj: print_template(template, obj, is_json=is_json, is_missing_allowed=is_missing_allowed))


def _json_line(value: Any) -> str:
    return to_json(value) + "\n"


def _each(render: Callable[[Any], str]) -> Output:
    return lambda objects, is_list: render(_whole(objects, is_list))


def _whole(objects: list[Any], is_list: bool) -> Any:
    if not is_list and len(objects) == 1:
        return objects[0]
    return {"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}}


def _columns(kind: str, argument: str, *, has_headers: bool) -> Output:
    from localset.cli.printing.paths import Columns, columns_of_file

    if kind == "custom-columns":
        columns = Columns(argument)
    elif argument:
        columns = columns_of_file(_contents(argument))
    else:
        raise CommandError("custom-columns-file format specified but no custom columns file given")
    return lambda objects, _: "".join(line + "\n" for line in columns.lines(objects, has_headers=has_headers))


def _contents(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise CommandError(f"error reading --template {path}, {error.strerror}") from None


def name_of(obj: dict[str, Any]) -> str:
    """Return `statefulset.apps/web`."""
    group, _, _ = obj["apiVersion"].rpartition("/")
    kind = obj["kind"].lower()
    return f"{kind}.{group}/{obj['metadata']['name']}" if group else f"{kind}/{obj['metadata']['name']}"
