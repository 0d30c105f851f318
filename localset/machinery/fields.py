"""Field selectors: `status.phase=Running,metadata.name!=web-0`. Pure. Source: kube-api.md 4.5."""

from localset.machinery.errors import bad_request


def parse_field_selector(text: str) -> list[tuple[str, str, str]]:
    """Return (path, `=` or `!=`, value) per requirement; StatusError 400."""
    requirements = []
    for part in _split(text):
        if not part.strip():
            continue
        for operator in ("!=", "==", "="):
            path, found, value = part.partition(operator)
            if found:
                requirements.append((path.strip(), "!=" if operator == "!=" else "=", _unescape(value)))
                break
        else:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
    return requirements


def _split(text: str) -> list[str]:
    """Split at commas that are not escaped."""
    parts, current, is_escaped = [], "", False
    for character in text:
        if is_escaped:
            current += "\\" + character
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == ",":
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current + ("\\" if is_escaped else "")]


def _unescape(text: str) -> str:
    value, i = "", 0
    while i < len(text):
        if text[i] == "\\":
            if i + 1 >= len(text) or text[i + 1] not in "\\,=":
                raise bad_request(f"invalid field selector: invalid escape sequence in {text}")
            i += 1
        value += text[i]
        i += 1
    return value
