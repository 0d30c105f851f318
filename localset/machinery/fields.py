"""Field selectors: `status.phase=Running,metadata.name!=web-0`.

Called by the registry and the watch door, which ask `apis.fields` for the values. Pure: it knows the grammar,
never which fields a kind has.
"""

from collections.abc import Iterator

from localset.machinery.errors import bad_request

# The first operator that fits at a position wins, so `==` is tried before `=`.
_OPERATORS = ("!=", "==", "=")


def parse_field_selector(text: str) -> list[tuple[str, str, str]]:
    r"""Return the requirements of `text` as (path, "=" or "!=", value), all of which must hold.

    Values are freed of their escapes (`\\`, `\,`, `\=`). StatusError 400 when a term has no operator or a bad escape.
    """
    requirements = []
    for term in _terms(text):
        if not term:
            continue
        found = _split(term)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = found
        requirements.append((path, "!=" if operator == "!=" else "=", _unescape(value)))
    return requirements


def _terms(text: str) -> Iterator[str]:
    start, index = 0, 0
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == ",":
            yield text[start:index]
            start = index + 1
        index += 1
    yield text[start:]


def _split(term: str) -> tuple[str, str, str] | None:
    for index in range(len(term)):
        for operator in _OPERATORS:
            if term.startswith(operator, index):
                return term[:index], operator, term[index + len(operator) :]
    return None


def _unescape(value: str) -> str:
    result: list[str] = []
    index = 0
    while index < len(value):
        char = value[index]
        if char == "\\":
            escaped = value[index + 1 : index + 2]
            if escaped not in ("\\", ",", "="):
                raise bad_request(f"invalid field selector: invalid escape sequence: \\{escaped}")
            result.append(escaped)
            index += 2
            continue
        if char in ",=":
            raise bad_request(f"invalid field selector: unescaped character in value: {char}")
        result.append(char)
        index += 1
    return "".join(result)
