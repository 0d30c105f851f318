"""Label selectors, as text and as objects. Pure. Source: apimachinery labels.Parse; kube-api.md 4.5."""

import re
from dataclasses import dataclass
from typing import Any

from localset.machinery.errors import bad_request
from localset.machinery.names import label_value, qualified_name


@dataclass(frozen=True)
class Requirement:
    """One condition. `operator` is one of `in notin exists absent gt lt`; values are sorted."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """Tell whether `labels` satisfy it; `notin` holds where the key is absent."""
        has = self.key in labels
        if self.operator == "exists":
            return has
        if self.operator == "absent":
            return not has
        if self.operator == "in":
            return has and labels[self.key] in self.values
        if self.operator == "notin":
            return not has or labels[self.key] not in self.values
        if not has or not re.fullmatch(r"-?[0-9]+", labels[self.key]):
            return False
        number, bound = int(labels[self.key]), int(self.values[0])
        return number > bound if self.operator == "gt" else number < bound


@dataclass(frozen=True)
class Selector:
    """All requirements together. `is_nothing` matches no object at all."""

    requirements: tuple[Requirement, ...] = ()
    is_nothing: bool = False

    @property
    def is_empty(self) -> bool:
        """Tell whether everything matches."""
        return not self.requirements and not self.is_nothing

    def matches(self, labels: dict[str, str]) -> bool:
        """Tell whether `labels` satisfy every requirement."""
        return not self.is_nothing and all(r.matches(labels) for r in self.requirements)


def selector_of(selector: dict[str, Any] | None) -> Selector:
    """Return the Selector of a LabelSelector object: None matches nothing, `{}` everything."""
    if selector is None:
        return Selector(is_nothing=True)
    found = [Requirement(k, "in", (v,)) for k, v in sorted((selector.get("matchLabels") or {}).items())]
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    for expression in selector.get("matchExpressions") or []:
        operator = words.get(str(expression.get("operator")))
        if operator is None:
            raise bad_request(f'"{expression.get("operator")}" is not a valid label selector operator')
        found.append(Requirement(str(expression.get("key")), operator, tuple(sorted(expression.get("values") or []))))
    return Selector(tuple(found))


_TOKEN = re.compile(r"\s*(!=|==|=|!|\(|\)|,|>|<|[^\s=!(),<>]+)")


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            break
        tokens.append(match.group(1))
        position = match.end()
    return tokens


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def parse(self) -> Selector:
        found: list[Requirement] = []
        if not self._tokens:
            return Selector()
        while True:
            found.append(self._requirement())
            token = self._next()
            if not token:
                return Selector(tuple(found))
            if token != ",":
                raise _refused(f"found '{token}', expected: ',' or 'end of string'")
            if self._peek() in {"", ","}:
                raise _refused(f"found '{self._peek()}', expected: identifier after ','")

    def _key(self) -> str:
        token = self._next()
        if not token or token in {"=", "==", "!=", "(", ")", ",", ">", "<", "!"}:
            raise _refused(f"found '{token}', expected: !, identifier, or 'end of string'")
        complaints = qualified_name(token)
        if complaints:
            raise _refused(f'key: Invalid value: "{token}": {"; ".join(complaints)}')
        return token

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._key(), "absent")
        key = self._key()
        operator = self._peek()
        if operator in {"", ","}:
            return Requirement(key, "exists")
        self._next()
        if operator in {"in", "notin"}:
            return Requirement(key, operator, tuple(sorted(self._values(key))))
        if operator in {"=", "==", "!="}:
            value = "" if self._peek() in {"", ","} else self._next()
            _check_value(key, value)
            return Requirement(key, "notin" if operator == "!=" else "in", (value,))
        if operator in {">", "<"}:
            value = self._next()
            if not re.fullmatch(r"-?[0-9]+", value):
                raise _refused(
                    f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
                )
            return Requirement(key, "gt" if operator == ">" else "lt", (value,))
        raise _refused(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _values(self, key: str) -> list[str]:
        if self._next() != "(":
            raise _refused(
                f"found '{self._tokens[self._at - 1] if self._at <= len(self._tokens) else ''}' expected: '('"
            )
        values: list[str] = []
        is_wanted = True
        while True:
            token = self._next()
            if token == ")":
                return [*values, ""] if is_wanted or not values else values
            if token == ",":
                if is_wanted:
                    values.append("")
                is_wanted = True
            elif not token or token in {"(", "=", "!", "==", "!="}:
                raise _refused(f"found '{token}', expected: ',', or ')'")
            else:
                _check_value(key, token)
                values.append(token)
                is_wanted = False


def _check_value(key: str, value: str) -> None:
    complaints = label_value(value)
    if complaints:
        raise _refused(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(complaints)}')


def _refused(why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why}")


def parse_selector(text: str) -> Selector:
    """Return the Selector that `text` says; StatusError 400."""
    return _Parser(text).parse()
