"""Moments as Kubernetes stores them: `Time` in whole seconds, `MicroTime` in millionths, both in UTC.

`schema.types` brings every moment that a client sends into this form, as Go's decoding does (apimachinery meta/v1
time.go, micro_time.go): clients write offsets (Python's `+00:00`), fractions, and days that no calendar has. Pure.
"""

import re
from datetime import UTC, datetime

_USUAL = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{6})?Z\Z", re.ASCII)
_ANY = re.compile(r"(\d{4})(-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_CYCLE_YEARS = 400
"""The calendar repeats itself; `datetime` has no year 0."""


def canonical_moment(text: str, *, is_micro: bool) -> str:
    """Return the moment as it is stored; ValueError for a text that names none.

    Fractions of a second are cut off, but a MicroTime must have exactly six digits of them.
    """
    usual = _USUAL.match(text)
    if usual and bool(usual[4]) is is_micro:
        return text
    match = _ANY.match(text)
    if match is None or (is_micro and len(match[3] or "") != len(".000000")):
        raise ValueError(text)
    year, rest, fraction, zone = match.groups()
    shift = _CYCLE_YEARS if int(year) < _CYCLE_YEARS else 0
    moment = datetime.fromisoformat(f"{int(year) + shift:04}{rest}{'+00:00' if zone == 'Z' else zone}")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error
    if moment.year < shift:
        raise ValueError(text)
    form = f"{moment.year - shift:04}-{moment:%m-%dT%H:%M:%S}"
    return f"{form}{fraction}Z" if is_micro else f"{form}Z"
