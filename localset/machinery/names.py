"""What names may look like, with Kubernetes' own words for what is wrong.

Every function takes a text and returns the complaints, empty when the name is good. The rules of apis and the selector
parser call it. It never raises and knows nothing of kinds or fields.
"""

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + "(\\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_NAME_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_NAME_PART})?"
_CONFIG_MAP_KEY = "[-._a-zA-Z0-9]+"
_ENV_VAR_NAME = "[ -<>-~]+"


def _explain(what: str, pattern: str, *examples: str) -> str:
    # Upstream joins the examples with ",  or": the two blanks are part of the text.
    listed = ",  or ".join(f"'{example}'" for example in examples)
    return f"{what} (e.g. {listed}, regex used for validation is '{pattern}')"


_LABEL_TEXT = _explain(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_TEXT = _explain(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_LABEL_1035_TEXT = _explain(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_NAME_PART_TEXT = _explain(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _NAME_PART,
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE_TEXT = _explain(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character",
    _LABEL_VALUE,
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_MAP_KEY_TEXT = _explain(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_MAP_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)
_ENV_VAR_NAME_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def _check(text: str, pattern: str, complaint: str, limit: int) -> list[str]:
    found = [] if len(text.encode()) <= limit else [f"must be no more than {limit} characters"]
    if re.fullmatch(pattern, text) is None:
        found.append(complaint)
    return found


def dns1123_label(text: str) -> list[str]:
    """Return what is wrong with a lower-case RFC 1123 label (63 characters: Namespaces, containers, volumes)."""
    return _check(text, _LABEL, _LABEL_TEXT, 63)


def dns1123_subdomain(text: str) -> list[str]:
    """Return what is wrong with a lower-case RFC 1123 subdomain (253 characters: the names of most objects)."""
    return _check(text, _SUBDOMAIN, _SUBDOMAIN_TEXT, 253)


def dns1035_label(text: str) -> list[str]:
    """Return what is wrong with an RFC 1035 label (63 characters, a letter first: Services)."""
    return _check(text, _LABEL_1035, _LABEL_1035_TEXT, 63)


def qualified_name(text: str) -> list[str]:
    """Return what is wrong with `[prefix/]name`, the form of label keys, annotation keys and finalizers."""
    parts = text.split("/")
    if len(parts) > 2:
        example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {_NAME_PART_TEXT} {example}"]
    found = []
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {why}" for why in dns1123_subdomain(prefix)]
    name = parts[-1]
    if not name:
        found.append("name part must be non-empty")
    return found + [f"name part {why}" for why in _check(name, _NAME_PART, _NAME_PART_TEXT, 63)]


def label_value(text: str) -> list[str]:
    """Return what is wrong with the value of a label (63 characters, may be empty)."""
    return _check(text, _LABEL_VALUE, _LABEL_VALUE_TEXT, 63)


def config_map_key(text: str) -> list[str]:
    """Return what is wrong with a key of a ConfigMap or Secret: it becomes a file name."""
    found = _check(text, _CONFIG_MAP_KEY, _CONFIG_MAP_KEY_TEXT, 253)
    if text in (".", ".."):
        found.append(f"must not be '{text}'")
    elif text.startswith(".."):
        found.append("must not start with '..'")
    return found


def env_var_name(text: str) -> list[str]:
    """Return what is wrong with the name of an environment variable (the relaxed rule: printable ASCII without `=`)."""
    return [] if re.fullmatch(_ENV_VAR_NAME, text) else [_ENV_VAR_NAME_TEXT]


def path_segment(text: str) -> list[str]:
    """Return what is wrong with a name that only has to fit into a URL's path (roles and their bindings)."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{mark}'" for mark in ("/", "%") if mark in text]


def port_name(text: str) -> list[str]:
    """Return what is wrong with the name of a port (IANA service name: 15 characters, one letter at least)."""
    found = [] if len(text.encode()) <= 15 else ["must be no more than 15 characters"]
    if re.fullmatch("[-a-z0-9]+", text) is None:
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if re.search("[a-z]", text) is None:
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found
