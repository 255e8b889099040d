"""Quantities with units: convert text to a number, and back.

Durations are seconds, sizes bytes, rates bytes per second, shares 0..1. A number without a
unit is refused, because readers do not agree on its meaning. The conversion is exact and
rounds once: `1.001kB` is 1001 bytes, and a written quantity reads back as the same number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from chaosproxy.errors import BadValue, Code, shown

__all__ = [
    "NUMBER",
    "format_duration",
    "format_rate",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_share",
    "parse_size",
]

NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
"""A number in front of a unit, as a regular expression."""

_SECONDS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1)}
_DURATION = _SECONDS | {"ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "ns": Fraction(1, 10**9)}
_SIZE = {
    "B": Fraction(1), "kB": Fraction(10**3), "KB": Fraction(10**3), "MB": Fraction(10**6), "GB": Fraction(10**9),
    "KiB": Fraction(2**10), "MiB": Fraction(2**20), "GiB": Fraction(2**30),
}  # fmt: skip
_BIT = Fraction(1, 8)
_BITS = {"bit": _BIT, "kbit": _BIT * 10**3, "Kbit": _BIT * 10**3, "Mbit": _BIT * 10**6, "Gbit": _BIT * 10**9}
_RATE = {f"{unit}/s": factor for unit, factor in (_SIZE | _BITS).items()}
_MICRO = str.maketrans("\N{MICRO SIGN}\N{GREEK SMALL LETTER MU}", "uu")

_QUANTITY = re.compile(rf"\s*({NUMBER})\s*([A-Za-z%][^\s]*)?\s*")
_NEGATIVE = re.compile(rf"\s*-\s*{NUMBER}")
_SUM = re.compile(rf"\s*(?:{NUMBER}\s*[a-z]+\s*){{2,}}")
_PART = re.compile(rf"{NUMBER}\s*[a-z]+")
_SHARE = re.compile(rf"\s*({NUMBER}(?:[eE][-+]?[0-9]{{1,3}})?)\s*(%?)\s*")
_LONGEST = 400  # characters: more than the smallest float needs
_LARGEST = 10**15


def parse_duration(text: object) -> float:
    """Return the seconds of `250us`, `20ms`, `1.5s`, `2m`, `1h`, or of a sum such as `1m30s`.

    :raises BadValue: the text is not a duration; the message is for the user.
    """
    if not isinstance(text, str):
        return float(_quantity(text, _DURATION, "a duration", "20ms"))
    plain = text.translate(_MICRO)
    if len(plain) <= _LONGEST and _SUM.fullmatch(plain):
        return float(sum(_quantity(part, _DURATION, "a duration", "20ms") for part in _PART.findall(plain)))
    return float(_quantity(plain, _DURATION, "a duration", "20ms"))


def parse_size(text: object) -> int:
    """Return the bytes of `512B`, `64KiB`, `10MB`.

    :raises BadValue: the text is not a size; the message is for the user.
    """
    size = _quantity(text, _SIZE, "a size", "64KiB")
    if size.denominator != 1:
        raise BadValue("not-a-size", f"{shown(text)} is not a whole number of bytes; use one, such as 64KiB")
    return int(size)


def parse_rate(text: object) -> float:
    """Return the bytes per second of `10MB/s` or `8Mbit/s`.

    :raises BadValue: the text is not a rate; the message is for the user.
    """
    return float(_quantity(text, _RATE, "a rate", "10MB/s"))


def parse_share(value: object) -> float:
    """Return the share, 0..1, of `0.05` or `5%`.

    :raises BadValue: the value is not a share; the message is for the user.
    """
    if isinstance(value, str) and len(value) <= _LONGEST and (match := _SHARE.fullmatch(value)):
        number, percent = match.groups()
        share = Fraction(number) / (100 if percent else 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = value  # type: ignore[assignment]  # compared before it is converted: an int can be too large for that
    else:
        message = f"{shown(value)} is not a share; use a number from 0 to 1, such as 0.05, or a percentage, such as 5%"
        raise BadValue("not-a-share", message)
    if not 0 <= share <= 1:  # also refuses nan
        wrong = "above 100%" if share > 1 else "below 0%" if share < 0 else "not a number"
        raise BadValue("out-of-range", f"{shown(value)} is {wrong}; use 0 to 1, or 0% to 100%")
    return float(share)


_NOT: dict[str, Code] = {"a duration": "not-a-duration", "a size": "not-a-size", "a rate": "not-a-rate"}


def _quantity(text: object, units: Mapping[str, Fraction], what: str, example: str) -> Fraction:
    if isinstance(text, float | int) and not isinstance(text, bool):
        raise BadValue("unit-missing", f"{shown(text)} has no unit; use {what} with a unit, such as {example}")
    if isinstance(text, str) and _NEGATIVE.match(text):
        raise BadValue("out-of-range", f"{shown(text)} is negative; use {what} of 0 or more, such as {example}")
    if not isinstance(text, str) or len(text) > _LONGEST or (match := _QUANTITY.fullmatch(text)) is None:
        raise BadValue(_NOT[what], f"{shown(text)} is not {what}; use a number with a unit, such as {example}")
    number, unit = match.groups()
    if unit is None:
        raise BadValue("unit-missing", f"{shown(text)} has no unit; use {what} with a unit, such as {example}")
    if unit not in units:
        message = f"{shown(text)} has the unknown unit {unit!r}; use one of: {', '.join(units)}"
        raise BadValue("unknown-unit", message)
    value = Fraction(number) * units[unit]
    if value > _LARGEST:
        raise BadValue("out-of-range", f"{shown(text)} is too large; use {what} such as {example}")
    return value


def format_duration(seconds: float) -> str:
    """Return the shortest text that parses back to `seconds`; prefer whole numbers."""
    return _shortest(seconds, _DURATION, "s")


def format_size(size: int) -> str:
    """Return the shortest text that parses back to `size` bytes."""
    return _shortest(size, _SIZE, "B")


def format_rate(rate: float) -> str:
    """Return the shortest text that parses back to `rate` bytes per second."""
    return _shortest(rate, {f"{unit}/s": factor for unit, factor in _SIZE.items()}, "B/s")


def _shortest(value: float, units: Mapping[str, Fraction], base: str) -> str:
    if value == 0:
        return f"0{base}"
    exact = Decimal(repr(value))  # the shortest decimal that equals this float
    # A repeating fraction has 28 digits, and `exact` at most 17: a repeating one is never the shortest.
    texts = [f"{exact:f}{base}", *(f"{_decimal(Fraction(exact) / factor)}{unit}" for unit, factor in units.items())]
    return min(texts, key=lambda text: ("." in text, len(text)))  # 100ms reads better than 0.1s


def _decimal(number: Fraction) -> str:
    """Return decimal digits without an exponent; round a repeating fraction."""
    text = f"{Decimal(number.numerator) / Decimal(number.denominator):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
