"""Quantities as the API stores them: read exactly, written in their canonical form.

Kubernetes parses every quantity of a request and writes it back in the fewest digits of its own family (`0.5Gi` comes
back as `512Mi`, `1000m` as `1`), so that equal amounts are equal texts. Used by the schema check. Pure.
Source: apimachinery resource.Quantity, CanonicalizeBytes.
"""

import math
import re
from fractions import Fraction
from functools import lru_cache

from localset.machinery.quantity import parse_quantity

_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")
_DECIMAL = ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, ""), (-3, "m"), (-6, "u"), (-9, "n"))
_EXPONENT = re.compile(r".*[eE][+-]?[0-9]+\Z", re.DOTALL)
_FINEST = 10**9


_LONGEST_KEPT = 24


def canonical_quantity(text: str) -> str:
    """Return the canonical form of `text`; ValueError when it is no quantity."""
    return _made_and_kept(text) if len(text) <= _LONGEST_KEPT else _made(text)


def _made(text: str) -> str:
    value = parse_quantity(text)
    if _EXPONENT.match(text):
        return _with_exponent(value)
    if text[-1:] == "i" and abs(value) >= 1024 and value.denominator == 1:
        for index, suffix in enumerate(_BINARY):
            unit = 1024 ** (len(_BINARY) - index)
            if value % unit == 0:
                return f"{value.numerator // unit}{suffix}"
        return str(value.numerator)
    number, power = _shortest(value)
    return f"{number}{dict(_DECIMAL)[power]}"


_made_and_kept = lru_cache(512)(_made)
"""As `machinery.quantity` keeps what it has parsed; longer texts, which only a stranger sends, are not held on to."""


def _shortest(value: Fraction) -> tuple[int, int]:
    """Return (number, power of 1000 as a power of ten); what is finer than a nano is rounded away from zero."""
    scaled = value * _FINEST
    nanos = math.ceil(scaled) if scaled >= 0 else math.floor(scaled)
    if nanos == 0:
        return 0, 0
    for power, _ in _DECIMAL:
        if nanos % 10 ** (power + 9) == 0:
            return nanos // 10 ** (power + 9), power
    return nanos, -9


def _with_exponent(value: Fraction) -> str:
    number, power = _shortest(value)
    return f"{number}e{power}" if power else str(number)
