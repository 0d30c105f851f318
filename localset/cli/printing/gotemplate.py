"""`-o go-template=`: fields, variables, `range`, `if`, texts. What is beyond is refused by name, never guessed.

Values print as Go's text/template prints them: a missing one `<no value>`, a map `map[a:1]`.
"""

import re
from typing import Any, NamedTuple

from localset.cli.output import CommandError
from localset.machinery.errors import go_print

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_FIELD = re.compile(r"(\$\w*)?((?:\.[A-Za-z_]\w*)+|\.)?\Z")
_RANGE = re.compile(r"range\s+(?:(\$\w+)\s*(?:,\s*(\$\w+)\s*)?:=\s*)?(.+)\Z", re.DOTALL)
_KEYWORD = re.compile(
    r"(if|with|define|block|template|break|continue|else\s+if|index|len|printf|print|println|eq|ne|"
    r"lt|le|gt|ge|and|or|not|html|js|slice|urlquery|call|exists|base64decode)\b"
)
_ABSENT = object()


class _Node(NamedTuple):
    kind: str
    """text, field, literal, range or if."""
    value: str = ""
    names: tuple[str, ...] = ()
    body: "tuple[_Node, ...]" = ()
    otherwise: "tuple[_Node, ...]" = ()


class GoTemplate:
    """A compiled template; CommandError for what cannot be read or is beyond this."""

    def __init__(self, text: str) -> None:
        """Compile `text`."""
        self._text = text
        self._tokens = self._split(text)
        self._nodes, last = self._read()
        if last:
            raise self._refuse(f"unexpected {{{{{last}}}}}")

    def _refuse(self, why: str) -> CommandError:
        return CommandError(f"error parsing template {self._text}, template: output:1: {why}")

    def _beyond(self, action: str) -> CommandError:
        hint = (
            "`localset kubectl get … -o go-template=…` has all of Go's templates; -o jsonpath= and -o json go far too"
        )
        return CommandError(f'the template action "{action}" is beyond localset\'s go-template', hint=hint)

    def _split(self, text: str) -> list[tuple[bool, str]]:
        tokens: list[tuple[bool, str]] = []
        position = 0
        is_trimmed = False
        for found in _ACTION.finditer(text):
            plain = text[position : found.start()]
            plain = plain.lstrip() if is_trimmed else plain
            tokens += [(False, plain.rstrip() if found[1] else plain), (True, found[2].strip())]
            is_trimmed, position = bool(found[3]), found.end()
        rest = text[position:]
        if "{{" in rest:
            raise self._refuse("unclosed action")
        return [*tokens, (False, rest.lstrip() if is_trimmed else rest)]

    def _read(self) -> tuple[tuple[_Node, ...], str]:
        """Return the nodes up to `end` or `else`, and which of the two stopped them."""
        nodes: list[_Node] = []
        while self._tokens:
            is_action, text = self._tokens.pop(0)
            if not is_action:
                nodes += [_Node("text", text)] if text else []
            elif text in {"end", "else"}:
                return tuple(nodes), text
            elif not text.startswith("/*"):
                nodes.append(self._action(text))
        return tuple(nodes), ""

    def _action(self, text: str) -> _Node:
        found = _RANGE.match(text)
        if found is not None:
            names = tuple(name for name in (found[1], found[2]) if name)
            return self._block("range", found[3].strip(), names)
        if text.startswith("if ") and _FIELD.match(text[3:].strip()):
            return self._block("if", text[3:].strip())
        if text[:1] in {'"', "`"} and text[-1:] == text[:1] and len(text) > 1:
            return _Node("literal", _literal(text))
        if text and _FIELD.match(text):
            return _Node("field", text)
        raise (
            self._beyond(text)
            if _KEYWORD.match(text) or "|" in text or " " in text
            else self._refuse(
                f'function "{text}" not defined' if text.isidentifier() else f"unexpected {text!r} in command"
            )
        )

    def _block(self, kind: str, field: str, names: tuple[str, ...] = ()) -> _Node:
        if not _FIELD.match(field):
            raise self._beyond(f"{kind} {field}")
        body, stop = self._read()
        otherwise: tuple[_Node, ...] = ()
        if stop == "else":
            otherwise, stop = self._read()
        if stop != "end":
            raise self._refuse("unexpected EOF")
        return _Node(kind, field, names, body, otherwise)

    def render(self, value: Any) -> str:
        """Return the text for `value`; CommandError where a field is asked of what has none."""
        parts: list[str] = []
        self._walk(self._nodes, value, {"$": value}, parts)
        return "".join(parts)

    def _walk(self, nodes: tuple[_Node, ...], dot: Any, names: dict[str, Any], parts: list[str]) -> None:
        for node in nodes:
            if node.kind in {"text", "literal"}:
                parts.append(node.value)
                continue
            found = self._find(node.value, dot, names)
            if node.kind == "field":
                parts.append(_shown(found))
            elif node.kind == "if":
                is_true = found is not _ABSENT and bool(found)
                self._walk(node.body if is_true else node.otherwise, dot, names, parts)
            else:
                pairs = _pairs(found)
                for key, item in pairs:
                    given = {
                        **names,
                        **dict(zip(node.names, (key, item) if len(node.names) > 1 else (item,), strict=True)),
                    }
                    self._walk(node.body, item, given, parts)
                if not pairs:
                    self._walk(node.otherwise, dot, names, parts)

    def _find(self, field: str, dot: Any, names: dict[str, Any]) -> Any:
        found = _FIELD.match(field)
        name, path = (found[1], found[2]) if found else (None, None)
        if name and name not in names:
            raise self._refuse(f'undefined variable "{name}"')
        value = names[name] if name else dot
        for key in (path or "").split(".")[1:]:
            if not key:
                continue
            if value is _ABSENT or value is None:
                return _ABSENT
            if not isinstance(value, dict):
                kind = {str: "string", bool: "bool", list: "[]interface {}"}.get(type(value), "float64")
                raise CommandError(
                    f'error executing template "{self._text}": template: output:1: executing "output" at <{field}>: '
                    f"can't evaluate field {key} in type {kind}"
                )
            value = value.get(key, _ABSENT)
        return value


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _literal(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    escapes = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[0]), text[1:-1])


def _shown(value: Any) -> str:
    return "<no value>" if value is _ABSENT or value is None else go_print(value)
