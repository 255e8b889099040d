"""Quantities with units: convert text to a number, and back.

Durations are seconds, sizes bytes, rates bytes per second, shares 0..1. A number without a
unit is refused, because readers do not agree on its meaning. The conversion is exact and
rounds once: `1.001kB` is 1001 bytes, and a written quantity reads back as the same number.
A part of a byte counts as a byte.

`duration_pattern` and the like return the regular expression of the text that is read, for JSON
Schemas. It says all that the readers check but the length. To make that possible, the number in
front of a unit has only as many digits as keep the quantity below 10¹⁵, and a sum above that
counts as 10¹⁵.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction

from chaosproxy.errors import BadValue, Code, shown

__all__ = [
    "LONGEST",
    "SHARE_PATTERN",
    "duration_pattern",
    "format_duration",
    "format_rate",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_share",
    "parse_size",
    "rate_pattern",
    "seconds_text",
    "size_pattern",
]

LONGEST = 400
"""The most characters of a quantity: more than the smallest float needs."""
_LARGEST = 10**15
_FRACTION = r"(?:\.[0-9]+)?"
_NUMBER = rf"(?:[0-9]+{_FRACTION}|\.[0-9]+)"
_SPACE = r"[ \t\r\n]*"

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

_QUANTITY = re.compile(rf"{_SPACE}({_NUMBER}){_SPACE}([A-Za-z%][^\s]*)?{_SPACE}")
_NEGATIVE = re.compile(rf"{_SPACE}-{_SPACE}{_NUMBER}")
_SUM = re.compile(rf"{_SPACE}(?:{_NUMBER}{_SPACE}[a-z]+{_SPACE}){{2,}}")
_PART = re.compile(rf"{_NUMBER}{_SPACE}[a-z]+")
_SMALL = rf"[1-9]{_FRACTION}[eE]-0*[1-9][0-9]{{0,2}}"
"""A number below 1 with an exponent, as programs write it."""
_SHARE = re.compile(rf"{_SPACE}({_SMALL}|{_NUMBER}){_SPACE}(%?){_SPACE}")
_UP_TO_1 = rf"(?:{_SMALL}|0+{_FRACTION}|\.[0-9]+|0*1(?:\.0+)?)"
_UP_TO_100 = rf"(?:{_SMALL}|0*[0-9]{{1,2}}{_FRACTION}|\.[0-9]+|0*100(?:\.0+)?)"
SHARE_PATTERN = rf"^{_SPACE}(?:{_UP_TO_1}|{_UP_TO_100}{_SPACE}%){_SPACE}$"
"""The text of a share, as a regular expression."""
_ABOVE_ZERO = "(?=[^1-9]*[1-9])"
"""Looks ahead for a digit other than 0: no unit has one."""


def duration_pattern(*, above_zero: bool, signed: bool) -> str:
    """Return the regular expression of durations."""
    units = {("us|[\N{MICRO SIGN}\N{GREEK SMALL LETTER MU}]s" if unit == "us" else unit): factor
             for unit, factor in _DURATION.items()}  # fmt: skip
    sign = f"[-+]?{_SPACE}" if signed else ""
    return rf"^{_ABOVE_ZERO * above_zero}{_SPACE}{sign}(?:{_one_of(units)}{_SPACE})+$"


def size_pattern(minimum: int) -> str:
    """Return the regular expression of sizes of at least `minimum` bytes."""
    return rf"^{_SPACE}{_one_of(_SIZE, minimum)}{_SPACE}$"


def rate_pattern() -> str:
    """Return the regular expression of rates above 0."""
    return rf"^{_ABOVE_ZERO}{_SPACE}{_one_of(_RATE)}{_SPACE}$"


def _one_of(units: Mapping[str, Fraction], minimum: int = 0) -> str:
    """Return the regular expression of a number with a unit, of at least `minimum` together."""
    by_number: dict[str, list[str]] = {}
    for unit, factor in units.items():
        by_number.setdefault(_number(minimum / factor, _digits(factor)), []).append(unit)
    return "(?:" + "|".join(f"{number}{_SPACE}(?:{'|'.join(units)})" for number, units in by_number.items()) + ")"


@functools.cache
def _digits(factor: Fraction) -> int:
    """Return the most digits before the point of a number with this unit, so that it is below the largest quantity."""
    return len(str(int(_LARGEST / factor))) - 1


def _has_digits(number: str, most: int) -> bool:
    """Return whether a number has at most that many digits before the point, without zeros in front."""
    return len(number.partition(".")[0].lstrip("0")) <= most


def _number(minimum: Fraction, digits: int) -> str:
    """Return the regular expression of numbers from `minimum` on, with at most `digits` digits before the point."""
    if not minimum:
        return rf"(?:0*[0-9]{{1,{digits}}}{_FRACTION}|\.[0-9]+)"
    whole, _, fraction = _decimal(minimum).partition(".")
    whole = whole.lstrip("0")
    above = [rf"[1-9][0-9]{{{len(whole)},{digits - 1}}}"]
    above += [f"{start}[0-9]{{{len(whole) - at}}}" for at, start in _greater(whole)]
    starts = "|".join([*(start for _, start in _greater(fraction)), fraction])
    least = rf"{whole}\.(?:{starts})[0-9]*" if fraction else f"{whole}{_FRACTION}"
    return f"0*(?:(?:{'|'.join(above)}){_FRACTION}|{least})"


def _greater(digits: str) -> Iterator[tuple[int, str]]:
    """Yield how digits that are greater may begin, up to the first that differs; with the length of each beginning."""
    for at, digit in enumerate(digits):
        if digit < "9":
            yield at + 1, f"{digits[:at]}[{int(digit) + 1}-9]"


def parse_duration(text: object) -> float:
    """Return the seconds of `250us`, `20ms`, `1.5s`, `2m`, `1h`, or of a sum such as `1m30s`.

    :raises BadValue: the text is not a duration; the message is for the user.
    """
    if not isinstance(text, str):
        return float(_quantity(text, _DURATION, "a duration", "20ms"))
    plain = text.translate(_MICRO)
    if len(plain) <= LONGEST and _SUM.fullmatch(plain):
        parts = [_quantity(part, _DURATION, "a duration", "20ms") for part in _PART.findall(plain)]
        return _rounded(sum(parts, Fraction(0)))
    return _rounded(_quantity(plain, _DURATION, "a duration", "20ms"))


def parse_size(text: object, minimum: int = 0) -> int:
    """Return the bytes of `512B`, `64KiB`, `10MB`; a part of a byte counts as a byte.

    :raises BadValue: the text is not a size, or below the minimum; the message is for the user.
    """
    size = _quantity(text, _SIZE, "a size", "64KiB")
    if size < minimum:
        raise BadValue("out-of-range", f"{shown(text)} is too small; use at least {format_size(minimum)}")
    return math.ceil(size)


def parse_rate(text: object) -> float:
    """Return the bytes per second of `10MB/s` or `8Mbit/s`.

    :raises BadValue: the text is not a rate; the message is for the user.
    """
    return _rounded(_quantity(text, _RATE, "a rate", "10MB/s"))


def parse_share(value: object) -> float:
    """Return the share, 0..1, of `0.05` or `5%`.

    :raises BadValue: the value is not a share; the message is for the user.
    """
    if isinstance(value, str) and len(value) <= LONGEST and (match := _SHARE.fullmatch(value)):
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
    return _rounded(Fraction(share))


_NOT: dict[str, Code] = {"a duration": "not-a-duration", "a size": "not-a-size", "a rate": "not-a-rate"}


def _quantity(text: object, units: Mapping[str, Fraction], what: str, example: str) -> Fraction:
    if isinstance(text, float | int) and not isinstance(text, bool):
        raise BadValue("unit-missing", f"{shown(text)} has no unit; use {what} with a unit, such as {example}")
    if isinstance(text, str) and _NEGATIVE.match(text):
        raise BadValue("out-of-range", f"{shown(text)} is negative; use {what} of 0 or more, such as {example}")
    if not isinstance(text, str) or len(text) > LONGEST or (match := _QUANTITY.fullmatch(text)) is None:
        raise BadValue(_NOT[what], f"{shown(text)} is not {what}; use a number with a unit, such as {example}")
    number, unit = match.groups()
    if unit is None:
        raise BadValue("unit-missing", f"{shown(text)} has no unit; use {what} with a unit, such as {example}")
    if unit not in units:
        message = f"{shown(text)} has the unknown unit {unit!r}; use one of: {', '.join(units)}"
        raise BadValue("unknown-unit", message)
    if not _has_digits(number, _digits(units[unit])):
        raise BadValue("out-of-range", f"{shown(text)} is too large; use {what} such as {example}")
    return Fraction(number) * units[unit]


def _rounded(exact: Fraction) -> float:
    """Return the nearest number, but not 0 for more than that, and none that could not be written and read again."""
    return min(max(float(exact), _SMALLEST), _ALMOST_LARGEST) if exact else 0.0


_SMALLEST, _ALMOST_LARGEST = math.ulp(0.0), math.nextafter(_LARGEST, 0)


_few_differ = functools.lru_cache(1024)
"""Lists of faults have the same quantities again and again, and writing one takes 30 µs."""


@_few_differ
def format_duration(seconds: float) -> str:
    """Return the shortest text that parses back to `seconds`; prefer whole numbers."""
    return _shortest(seconds, _DURATION, "s")


@_few_differ
def seconds_text(seconds: float) -> str:
    """Return measured seconds for reading, with three digits: `1.83 s`, `5.22 ms`."""
    return f"{seconds:.3g} s" if seconds >= 0.0995 else f"{seconds * 1000:.3g} ms"


def format_size(size: int) -> str:
    """Return the shortest text that parses back to `size` bytes."""
    return _shortest(size, _SIZE, "B")


@_few_differ
def format_rate(rate: float) -> str:
    """Return the shortest text that parses back to `rate` bytes per second."""
    return _shortest(rate, {f"{unit}/s": factor for unit, factor in _SIZE.items()}, "B/s")


def _shortest(value: float, units: Mapping[str, Fraction], base: str) -> str:
    if value == 0:
        return f"0{base}"
    exact = Decimal(repr(value))  # the shortest decimal that equals this float
    # A repeating fraction has 28 digits, and `exact` at most 17: a repeating one is never the shortest.
    numbers = {unit: _decimal(Fraction(exact) / factor) for unit, factor in units.items()}
    texts = [f"{number}{unit}" for unit, number in numbers.items() if _has_digits(number, _digits(units[unit]))]
    texts.append(f"{exact:f}{base}")
    return min(texts, key=lambda text: ("." in text, len(text)))  # 100ms reads better than 0.1s


def _decimal(number: Fraction) -> str:
    """Return decimal digits without an exponent; round a repeating fraction."""
    text = f"{Decimal(number.numerator) / Decimal(number.denominator):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
