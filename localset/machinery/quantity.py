"""Quantities: `4Gi`, `500m`, `1e3`. Pure. Source: apimachinery resource.Quantity's grammar."""

import re
from fractions import Fraction
from functools import lru_cache

_PATTERN = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


_LONGEST_KEPT = 24


def parse_quantity(text: str | float) -> Fraction:
    """Return the exact value; ValueError when `text` is no quantity (blanks included) or its exponent beyond 30."""
    text = str(text)
    return _parsed_and_kept(text) if len(text) <= _LONGEST_KEPT else _parsed(text)


def _parsed(text: str) -> Fraction:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    number = Fraction(match.group(1).rstrip("."))
    exponent, suffix = match.group(2), match.group(3)
    if exponent:
        power = int(exponent[1:])
        if abs(power) > 30:
            raise ValueError(f"{text!r} is out of range")
        return number * Fraction(10) ** power
    if suffix in _BINARY:
        return number * Fraction(2 ** _BINARY[suffix])
    return number * Fraction(10) ** _DECIMAL[suffix] if suffix else number


_parsed_and_kept = lru_cache(512)(_parsed)
"""A house knows few amounts, and meets each of them at every write."""


def format_quantity(value: Fraction) -> str:
    """Return a canonical decimal form: whole numbers plain, fractions in the largest of m, u, n that is exact."""
    for suffix, power in (("", 0), ("m", 3), ("u", 6), ("n", 9)):
        scaled = value * 10**power
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    return f"{-(-(value * 10**9).numerator // (value * 10**9).denominator)}n"
