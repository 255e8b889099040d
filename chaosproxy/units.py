"""Quantities with units: text to number and back.

Durations are seconds, sizes bytes, rates bytes per second, shares 0..1. A bare number
where a unit is needed is refused, because nobody agrees on what it would mean.
"""

from __future__ import annotations

import math
import re

__all__ = [
    "format_duration",
    "format_rate",
    "format_share",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_share",
    "parse_size",
]

_DURATION = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_BITS = {"bit": 1, "kbit": 10**3, "Kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([^\d\s.].*?)?\s*", re.ASCII)


def parse_duration(text: object) -> float:
    """Seconds from `250us`, `20ms`, `1.5s`, `2m`, `1h`, or a sum of them such as `1m30s`.

    :raises ValueError: in words for the user.
    """
    if isinstance(text, str) and len(parts := re.findall(r"[\d.]+\s*[^\d.\s]+", text)) > 1:
        if "".join(parts).replace(" ", "") == text.replace(" ", ""):
            return sum(_quantity(part, _DURATION, "a duration", "20ms") for part in parts)
    return _quantity(text, _DURATION, "a duration", "20ms")


def parse_size(text: object) -> int:
    """Bytes from `512B`, `64KiB`, `10MB`.

    :raises ValueError: in words for the user.
    """
    size = _quantity(text, _SIZE, "a size", "64KiB")
    if size != int(size):
        raise ValueError(f"{text} is not a whole number of bytes; give one that is, such as 64KiB")
    return int(size)


def parse_rate(text: object) -> float:
    """Bytes per second from `10MB/s` or `8Mbit/s`.

    :raises ValueError: in words for the user.
    """
    units = {f"{unit}/s": float(factor) for unit, factor in _SIZE.items()}
    units |= {f"{unit}/s": factor / 8 for unit, factor in _BITS.items()}
    return _quantity(text, units, "a rate", "10MB/s")


def parse_share(value: object) -> float:
    """A share of 0..1 from `0.05` or `5%`.

    :raises ValueError: in words for the user.
    """
    wrong = ValueError(f"{value!r} is not a share; give a number from 0 to 1, such as 0.05, or 5%")
    if isinstance(value, bool):
        raise wrong
    if isinstance(value, int | float):
        share = float(value)
    elif isinstance(value, str):
        text, percent = value.strip(), value.strip().endswith("%")
        try:
            share = float(text.rstrip("%")) / (100 if percent else 1)
        except ValueError:
            raise wrong from None
    else:
        raise wrong
    if not 0 <= share <= 1:  # also refuses nan
        raise ValueError(f"{value} is out of range; give a share from 0 to 1 (0% to 100%)")
    return share


def _quantity(text: object, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    if isinstance(text, bool | float | int):
        raise ValueError(f"{text!r} has no unit; give {what} with its unit, such as {example}")
    if not isinstance(text, str) or (match := _QUANTITY.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is not {what}; give a number with its unit, such as {example}")
    number, unit = match.groups()
    if unit is None:
        raise ValueError(f"{text!r} has no unit; give {what} with its unit, such as {example}")
    if unit not in units:
        known = ", ".join(units)
        raise ValueError(f"{text!r} has the unknown unit {unit!r}; give {what} such as {example} (units: {known})")
    value = float(number) * units[unit]
    if not math.isfinite(value) or value > 1e15:
        raise ValueError(f"{text!r} is too large; give {what} such as {example}")
    return value


def format_duration(seconds: float) -> str:
    """The shortest text that parses back to `seconds`."""
    return _shortest(seconds, {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}, "s")


def format_size(size: int) -> str:
    """The shortest text that parses back to `size` bytes."""
    return _shortest(size, _SIZE, "B")


def format_rate(rate: float) -> str:
    """The shortest text that parses back to `rate` bytes per second."""
    return _shortest(rate, {f"{unit}/s": float(factor) for unit, factor in _SIZE.items()}, "B/s")


def format_share(share: float) -> str:
    """A share as people write it."""
    return f"{share:.12g}"


def _shortest(value: float, units: dict[str, float] | dict[str, int], zero_unit: str) -> str:
    if value == 0:
        return f"0{zero_unit}"
    texts = [
        f"{text}{unit}"
        for unit, factor in units.items()
        for text in {_plain(value / factor), _plain(round(value / factor, 9))}
        if float(text) * factor == value
    ]
    return min(texts, key=lambda text: (len(text), text)) if texts else f"{_plain(value)}{zero_unit}"


def _plain(number: float) -> str:
    """Decimal digits without an exponent."""
    text = repr(float(number))
    return f"{number:.18f}".rstrip("0").rstrip(".") if "e" in text else text.removesuffix(".0")
