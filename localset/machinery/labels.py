"""Label selectors: the text of `?labelSelector=` and the `selector` objects in specs.

Called by registry, controllers, eviction and the rules of apis. Pure; a refusal is a StatusError 400 in the server's
words, because people read them in their terminal.
"""

import re
from collections.abc import Mapping
from typing import Any

from localset.base.frozen import frozen
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.names import label_value, qualified_name

_TOKEN = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


@frozen
class Requirement:
    """One condition on one key; operator is in, notin, exists, !, > or <."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels meet it; `notin` holds for an absent key."""
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        if self.operator == "notin":
            return value is None or value not in self.values
        if value is None:
            return False
        if self.operator == "in":
            return value in self.values
        if not _INTEGER.fullmatch(value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == ">" else int(value) < bound


@frozen
class Selector:
    """All of `requirements`; with `is_nothing` it matches no object at all."""

    requirements: tuple[Requirement, ...] = ()
    is_nothing: bool = False

    @property
    def is_empty(self) -> bool:
        """Tell whether it selects everything."""
        return not self.requirements and not self.is_nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        return not self.is_nothing and all(r.matches(labels) for r in self.requirements)


def parse_selector(text: str) -> Selector:
    """Return the selector that `text` says (grammar: kube-api.md 4.5); empty selects everything. StatusError 400."""
    return Selector(tuple(_Parser(text).parse()))


def selector_of(label_selector: dict[str, Any] | None) -> Selector:
    """Return the selector of a LabelSelector object: None matches nothing, {} everything.

    StatusError 400 for an operator that does not exist.
    """
    if label_selector is None:
        return Selector(is_nothing=True)
    labels = label_selector.get("matchLabels") or {}
    found = [Requirement(key, "in", frozenset([value])) for key, value in labels.items()]
    for expression in label_selector.get("matchExpressions") or []:
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise bad_request(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        found.append(Requirement(expression.get("key", ""), operator, frozenset(expression.get("values") or ())))
    return Selector(tuple(found))


def _unparsable(why: str) -> StatusError:
    return bad_request(f"unable to parse requirement: {why}")


class _Parser:
    """Walks the tokens of one text; the empty token is its end."""

    def __init__(self, text: str) -> None:
        self._tokens = [symbol or word for symbol, word in _TOKEN.findall(text)]
        self._next = 0

    def parse(self) -> list[Requirement]:
        """Return all requirements."""
        found: list[Requirement] = []
        if not self._peek():
            return found
        if self._peek() != "!" and not self._is_word():
            raise bad_request(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
        while True:
            found.append(self._requirement())
            end = self._take()
            if not end:
                return found
            if end != ",":
                raise bad_request(f"found '{end}', expected: ',' or 'end of string'")
            if self._peek() != "!" and not self._is_word():
                raise bad_request(f"found '{self._peek()}', expected: identifier after ','")

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _is_word(self) -> bool:
        return bool(self._peek()) and self._peek()[0] not in "=!<>(),"

    def _requirement(self) -> Requirement:
        is_negated = self._peek() == "!"
        if is_negated:
            self._take()
        if not self._is_word():
            raise _unparsable(f"found '{self._peek()}', expected: identifier")
        key = self._take()
        complaints = qualified_name(key)
        if complaints:
            raise _unparsable(f'invalid label key "{key}": {"; ".join(complaints)}')
        if is_negated or self._peek() in ("", ","):
            return Requirement(key, "!" if is_negated else "exists")
        return self._comparison(key)

    def _comparison(self, key: str) -> Requirement:
        operator = self._take()
        if operator in ("in", "notin"):
            values = self._set()
        elif operator in ("=", "==", "!=", ">", "<"):
            values = frozenset([self._value()])
        else:
            raise _unparsable(f"found '{operator}', expected: '=', '!=', '==', 'in', notin'")
        if operator in "<>":
            if not all(_INTEGER.fullmatch(value) for value in values):
                raise _unparsable("for 'Gt', 'Lt' operators, the value must be an integer")
        else:
            operator = "notin" if operator in ("!=", "notin") else "in"
        for value in sorted(values):
            complaints = label_value(value)
            if complaints:
                raise _unparsable(f'invalid label value: "{value}": at key: "{key}": {"; ".join(complaints)}')
        return Requirement(key, operator, values)

    def _value(self) -> str:
        if self._peek() in ("", ","):
            return ""  # `k=` asks for the empty value
        if not self._is_word():
            raise _unparsable(f"found '{self._peek()}', expected: identifier")
        return self._take()

    def _set(self) -> frozenset[str]:
        opening = self._take()
        if opening != "(":
            raise _unparsable(f"found '{opening}' expected: '('")
        values: set[str] = set()
        while True:
            # Between commas, nothing written means the empty value; so does `()`.
            values.add(self._take() if self._is_word() else "")
            separator = self._take()
            if separator == ")":
                return frozenset(values)
            if separator != ",":
                raise _unparsable(f"found '{separator}', expected: ',' or ')'")
