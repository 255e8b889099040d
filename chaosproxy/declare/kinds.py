"""What a value may be. A kind reads plain data, writes it back, and describes itself.

`read` answers the value or raises BadValue with words for the user: what is wrong, and
what would be right. Kinds that hold others (Struct, ListOf, MapOf) are walked by
`chaosproxy.declare.reading`, which knows where in the document a value stands.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chaosproxy import units
from chaosproxy.errors import BadValue, shown

__all__ = [
    "Choice", "Duration", "Flag", "Kind", "ListOf", "MapOf", "Number", "Rate", "Share", "Size", "Struct",
    "Text", "TextOrJson", "Whole", "nearest",
]  # fmt: skip

LARGEST_WHOLE = 2**63 - 1
_LARGEST_NUMBER = 1e15


def nearest(given: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when a known word is near, else nothing."""
    if not isinstance(given, str) or len(given) > 40:  # the search takes time quadratic in the length
        return ""
    close = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Kind:
    """What a value may be; subclasses define all four."""

    __slots__ = ()

    def read(self, value: object) -> object:
        """The value itself.

        :raises BadValue: in words for the user.
        """
        raise NotImplementedError(type(self).__name__)

    def write(self, value: object) -> object:
        """Plain data that reads back as `value`."""
        return value

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the plain data. (Any: JSON.)"""
        raise NotImplementedError(type(self).__name__)

    def __str__(self) -> str:
        """A word for tables: `duration`."""
        return type(self).__name__.lower()


def _quantity_schema(unit: str) -> dict[str, Any]:
    return {"type": "string", "pattern": rf"^\s*{units.NUMBER}\s*({unit})\s*$"}


@dataclass(frozen=True, slots=True)
class Duration(Kind):
    """Seconds, written with a unit."""

    above_zero: bool = False
    signed: bool = False
    """May be negative: `-5m`."""

    def read(self, value: object) -> float:
        if self.signed and isinstance(value, str) and value.lstrip()[:1] in ("-", "+"):
            sign, amount = value.lstrip()[0], value.lstrip()[1:]
            return -units.parse_duration(amount) if sign == "-" else units.parse_duration(amount)
        seconds = units.parse_duration(value)
        if self.above_zero and seconds <= 0:
            raise BadValue("out-of-range", f"{shown(value)} is too short; give a duration above 0, such as 20ms")
        return seconds

    def write(self, value: object) -> str:
        seconds = float(value)  # type: ignore[arg-type]  # read() made it a float
        return units.format_duration(seconds) if seconds >= 0 else f"-{units.format_duration(-seconds)}"

    def schema(self) -> dict[str, Any]:
        sign = "[-+]?" if self.signed else ""
        return {"type": "string", "pattern": rf"^\s*{sign}({units.NUMBER}\s*(ns|us|µs|ms|s|m|h)\s*)+$"}


@dataclass(frozen=True, slots=True)
class Size(Kind):
    """Bytes, written with a unit."""

    minimum: int = 0

    def read(self, value: object) -> int:
        size = units.parse_size(value)
        if size < self.minimum:
            message = f"{shown(value)} is too small; give at least {units.format_size(self.minimum)}"
            raise BadValue("out-of-range", message)
        return size

    def write(self, value: object) -> str:
        return units.format_size(int(value))  # type: ignore[call-overload]  # read() made it an int

    def schema(self) -> dict[str, Any]:
        return _quantity_schema("B|kB|KB|MB|GB|KiB|MiB|GiB")


@dataclass(frozen=True, slots=True)
class Rate(Kind):
    """Bytes per second, written with a unit; above 0."""

    def read(self, value: object) -> float:
        rate = units.parse_rate(value)
        if rate <= 0:
            message = f"{shown(value)} lets nothing through; give a rate above 0 such as 10MB/s, or use `stall`"
            raise BadValue("out-of-range", message)
        return rate

    def write(self, value: object) -> str:
        return units.format_rate(float(value))  # type: ignore[arg-type]  # read() made it a float

    def schema(self) -> dict[str, Any]:
        return _quantity_schema("(B|kB|KB|MB|GB|KiB|MiB|GiB|bit|kbit|Kbit|Mbit|Gbit)/s")


@dataclass(frozen=True, slots=True)
class Share(Kind):
    """A share from 0 to 1, or in percent."""

    def read(self, value: object) -> float:
        return units.parse_share(value)

    def schema(self) -> dict[str, Any]:
        percent = {"type": "string", "pattern": rf"^\s*{units.NUMBER}\s*%?\s*$"}
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, percent]}


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """A finite number without a unit."""

    minimum: float = -math.inf
    maximum: float = math.inf

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise BadValue("wrong-type", f"{shown(value)} is not a number; give {self._range()}")
        if not max(self.minimum, -_LARGEST_NUMBER) <= value <= min(self.maximum, _LARGEST_NUMBER):
            raise BadValue("out-of-range", f"{shown(value)} is out of range; give {self._range()}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "number"} | {key: bound for key, bound in bounds.items() if math.isfinite(bound)}

    def _range(self) -> str:
        if math.isfinite(self.minimum) and math.isfinite(self.maximum):
            return f"a number from {self.minimum:g} to {self.maximum:g}"
        return f"a number of at least {self.minimum:g}" if math.isfinite(self.minimum) else "a number such as 0.5"


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    """A whole number without a unit."""

    minimum: int = 0
    maximum: int = LARGEST_WHOLE

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue("wrong-type", f"{shown(value)} is not a whole number; give one {self._range()}")
        if not self.minimum <= value <= self.maximum:
            raise BadValue("out-of-range", f"{shown(value)} is out of range; give a whole number {self._range()}")
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer"} | {key: bound for key, bound in bounds.items() if abs(bound) < LARGEST_WHOLE}

    def _range(self) -> str:
        if self.maximum < LARGEST_WHOLE:
            return f"from {self.minimum} to {self.maximum}"
        return f"of at least {self.minimum}"

    def __str__(self) -> str:
        return "whole number"


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """true or false."""

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise BadValue("wrong-type", f"{shown(value)} is not a yes or no; give true or false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Any text, of at most `longest` characters where that is given."""

    longest: int | None = None

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise BadValue("wrong-type", f"{shown(value)} is not text; put it in quotes if it is meant as text")
        if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
            raise BadValue("malformed", f"{shown(value)} holds half a surrogate pair; give text that UTF-8 can carry")
        if self.longest is not None and len(value) > self.longest:
            raise BadValue("too-large", f"{shown(value)} is too long; give at most {self.longest} characters")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string"} if self.longest is None else {"type": "string", "maxLength": self.longest}


@dataclass(frozen=True, slots=True)
class TextOrJson(Kind):
    """Text as it is, or a mapping or list that stands for its JSON."""

    def read(self, value: object) -> str | dict[str, Any] | list[Any]:
        if isinstance(value, str):
            return Text().read(value)
        if not isinstance(value, dict | list):
            message = f"{shown(value)} is neither text nor JSON; give text in quotes, a mapping or a list"
            raise BadValue("wrong-type", message)
        try:
            json.dumps(value, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            message = f"cannot be written as JSON ({error}); give text, or a mapping that can"
            raise BadValue("wrong-type", message) from None
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "object", "array"]}

    def __str__(self) -> str:
        return "text or JSON"


@dataclass(frozen=True, slots=True, init=False)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)

    def read(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.words:
            hint = nearest(value, self.words)
            message = f"{shown(value)} is not known{hint}; give one of: {', '.join(self.words)}"
            raise BadValue("unknown-value", message)
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}

    def __str__(self) -> str:
        return " | ".join(self.words)


@dataclass(frozen=True, slots=True)
class Struct(Kind):
    """A mapping with declared parameters of its own."""

    of: type[Any]  # a frozen dataclass of declared parameters; dataclasses have no common type

    def __str__(self) -> str:
        return "mapping"


@dataclass(frozen=True, slots=True)
class ListOf(Kind):
    """A list of values of one kind; read as a tuple."""

    item: Kind

    def __str__(self) -> str:
        return f"list of {self.item}"


@dataclass(frozen=True, slots=True)
class MapOf(Kind):
    """A mapping from free names to values of one kind."""

    item: Kind

    def __str__(self) -> str:
        return f"mapping of {self.item}"
