"""`$(VAR)` expansion as Kubernetes does it (third_party/forked/golang/expansion). Pure."""

from collections.abc import Mapping


def expand(text: str, *scopes: Mapping[str, str]) -> str:
    """Return `text` with each `$(NAME)` replaced from the first scope that has it.

    Unknown names stay verbatim, `$$` is `$`, an unterminated `$(` stays, nothing is expanded twice (semantics 3.8).
    """
    if "$" not in text:
        return text
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character != "$" or position + 1 >= len(text):
            parts.append(character)
            position += 1
            continue
        following = text[position + 1]
        if following == "$":
            parts.append("$")
            position += 2
        elif following == "(":
            end = text.find(")", position + 2)
            if end < 0:
                parts.append("$(")
                position += 2
                continue
            parts.append(_lookup(text[position + 2 : end], scopes))
            position = end + 1
        else:
            parts.append("$" + following)
            position += 2
    return "".join(parts)


def _lookup(name: str, scopes: tuple[Mapping[str, str], ...]) -> str:
    for scope in scopes:
        if name in scope:
            return scope[name]
    return f"$({name})"
