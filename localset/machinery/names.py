"""Names: what Kubernetes complains of, in its words. Pure. Source: apimachinery util/validation."""

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_QUALIFIED})?"
_DNS1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"


def _too_long(text: str, limit: int) -> list[str]:
    return [f"must be no more than {limit} characters"] if len(text) > limit else []


def dns1123_label(text: str) -> list[str]:
    """Return complaints about a DNS label."""
    found = _too_long(text, 63)
    if not re.fullmatch(_LABEL, text):
        found.append(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
            f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
        )
    return found


def dns1123_subdomain(text: str) -> list[str]:
    """Return complaints about a DNS name of labels."""
    found = _too_long(text, 253)
    if not re.fullmatch(_SUBDOMAIN, text):
        found.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
            f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
        )
    return found


def dns1035_label(text: str) -> list[str]:
    """Return complaints about a DNS label that begins with a letter."""
    found = _too_long(text, 63)
    if not re.fullmatch(_DNS1035, text):
        found.append(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
            "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
            f"'{_DNS1035}')"
        )
    return found


def qualified_name(text: str) -> list[str]:
    """Return complaints about `[prefix/]name`."""
    prefix, slash, name = text.rpartition("/")
    found: list[str] = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash:
        found += [f"prefix part {why}" for why in dns1123_subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if not re.fullmatch(_QUALIFIED, name):
        found.append(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
            f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
        )
    return found


def label_value(text: str) -> list[str]:
    """Return complaints about a label's value; empty is fine."""
    found = _too_long(text, 63)
    if not re.fullmatch(_VALUE, text):
        found.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
            "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            f"'{_VALUE}')"
        )
    return found


def config_map_key(text: str) -> list[str]:
    """Return complaints about a key of a ConfigMap or Secret: it becomes a file name."""
    found = _too_long(text, 253)
    if not re.fullmatch(r"[-._a-zA-Z0-9]+", text):
        found.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
            "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        )
    if text == ".":
        found.append("must not be '.'")
    elif text == "..":
        found.append("must not be '..'")
    elif text.startswith(".."):
        found.append("must not start with '..'")
    return found


def env_var_name(text: str) -> list[str]:
    """Return complaints about an environment variable's name: printable ASCII but `=`."""
    if re.fullmatch(r"[ -<>-~]+", text):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name(text: str) -> list[str]:
    """Return complaints about a port's name (IANA_SVC_NAME)."""
    found: list[str] = []
    if len(text) > 15:
        found.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", text):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found
