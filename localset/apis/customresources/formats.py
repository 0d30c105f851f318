"""The string formats that schemas of custom resources may name. Pure.

An unknown format says nothing, as in Kubernetes (apiextensions-apiserver validation/formats.go lists the known ones).
Each check takes a text and tells whether it has the form.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)([.,]\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)
_GO_DURATION = re.compile(r"[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)\Z", re.ASCII)
_LONG_DURATION = re.compile(
    r"\d+\s*(ns|nano|nanos|nanoseconds?|us|µs|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|"
    r"minutes?|h|hr|hours?|d|days?|w|wk|weeks?)\Z",
    re.ASCII | re.IGNORECASE,
)
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}\Z|[0-9a-f]{4}(\.[0-9a-f]{4}){2}\Z", re.ASCII | re.IGNORECASE)
_UUID = r"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{}[0-9a-f]{{3}}-?{}[0-9a-f]{{3}}-?[0-9a-f]{{12}}\Z"
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\Z", re.ASCII)
_EMAIL = re.compile(r"[^@\s<>()\[\],;:\\\"]+@[^@\s<>()\[\],;:\\\"]+\Z")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\"<>\\^`{|}]*\Z", re.ASCII)


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII | re.IGNORECASE)
    return lambda text: compiled.match(text) is not None


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _is_byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_date_time(text: str) -> bool:
    found = _DATE_TIME.match(text)
    return found is not None and _parses(date.fromisoformat)(found[1])


def _is_cidr(text: str) -> bool:
    return "/" in text and _parses(lambda value: ipaddress.ip_network(value, strict=False))(text)


def _is_hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return 0 < len(text) <= 253 and all(_HOST_LABEL.match(label) for label in labels)


def _is_duration(text: str) -> bool:
    return _GO_DURATION.match(text) is not None or _LONG_DURATION.match(text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(r"[0-9a-f]{24}\Z"),
    "byte": _is_byte,
    "cidr": _is_cidr,
    "date": lambda text: len(text) == 10 and _parses(date.fromisoformat)(text),
    "date-time": _is_date_time,
    "datetime": _is_date_time,
    "duration": _is_duration,
    "email": lambda text: _EMAIL.match(text) is not None,
    "hexcolor": _matches(r"#?([0-9a-f]{3}|[0-9a-f]{6})\Z"),
    "hostname": _is_hostname,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "k8s-long-name": _matches(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"),
    "k8s-short-name": _matches(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z"),
    "mac": lambda text: _MAC.match(text) is not None,
    "password": lambda _: True,
    "rgbcolor": _matches(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)\Z"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}\Z"),
    "uri": lambda text: _URI.match(text) is not None,
    "uuid": _matches(_UUID.format("[0-9a-f]", "[0-9a-f]")),
    "uuid3": _matches(_UUID.format("3", "[0-9a-f]")),
    "uuid4": _matches(_UUID.format("4", "[89ab]")),
    "uuid5": _matches(_UUID.format("5", "[89ab]")),
}
