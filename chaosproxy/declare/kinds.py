"""Kinds: the types of values in a configuration.

A kind reads plain data, writes it back, and describes itself as JSON Schema and as a word
for tables. `read` returns the value, or raises BadValue with a code and a message for the
user; it does not know where in the document the value is. Kinds that hold others (Struct,
ListOf, MapOf) have no `read`: `chaosproxy.declare.reading` walks them and adds the path.

A value that a kind returns is valid by itself. Rules across fields are checked by the struct
that holds them, such as `Fault.check`. Two laws hold for each kind: `read(write(value))` is
`value`, and data that `read` accepts fits `schema`. Numbers, quantities and choices also refuse
all data that does not fit.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from chaosproxy import units
from chaosproxy.errors import BadValue, shown

__all__ = [
    "Choice", "Duration", "Flag", "Kind", "ListOf", "MapOf", "Number", "Rate", "Share", "Size", "Struct",
    "MOST_ITEMS", "Text", "TextOrJson", "Whole", "nearest", "too_many",
]  # fmt: skip

LARGEST_WHOLE = 2**63 - 1
_LARGEST_NUMBER = 1e15
MOST_ITEMS = 100
"""The most items of a list or a mapping, unless its declaration gives another bound."""
_MANY = 100
"""The most known words that are compared in full; each comparison takes about 12 µs."""


def nearest(given: object, known: Collection[str]) -> str:
    """Return ` (did you mean 'x'?)` if a known word is similar, else an empty text.

    Among more than 100 known words, only one that differs in a single letter is found.
    """
    if not isinstance(given, str) or len(given) > 40:  # the search takes time quadratic in the length
        return ""
    if len(known) > _MANY:
        wanted = known if isinstance(known, Mapping | Set) else frozenset(known)
        close = [next((word for word in _one_letter_off(given) if word in wanted), "")]
    else:
        close = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close and close[0] else ""


def _one_letter_off(given: str) -> Iterator[str]:
    """Yield every word that differs from `given` in case, or by one letter that is swapped, missing, added or wrong."""
    yield given.lower()
    letters = sorted({*given, *"abcdefghijklmnopqrstuvwxyz0123456789-_."})
    for at in range(len(given) + 1):
        before, after = given[:at], given[at:]
        yield before + after[1:]
        yield before + after[1:2] + after[:1] + after[2:]
        for letter in letters:
            yield before + letter + after
            yield before + letter + after[1:]


class Kind:
    """The type of a value; subclasses define the methods."""

    __slots__ = ()

    def read(self, value: object) -> object:
        """Return the value that the plain data stands for.

        :raises BadValue: the data is wrong; the message is for the user.
        """
        raise NotImplementedError(type(self).__name__)

    def write(self, value: object) -> object:
        """Return plain data that `read` turns back into `value`."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of the plain data. (Any: JSON.)"""
        raise NotImplementedError(type(self).__name__)

    def nothing(self) -> list[dict[str, Any]]:
        """Return the schemas of its values that mean nothing: zero, false, empty."""
        return []

    def __str__(self) -> str:
        """Return a word for tables: `duration`."""
        return type(self).__name__.lower()


def _quantity_schema(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "maxLength": units.LONGEST}


_ZERO: dict[str, Any] = {"const": 0, "type": "number"}
_ZERO_QUANTITY: dict[str, Any] = {"type": "string", "pattern": "^[^1-9]*$"}


@dataclass(frozen=True, slots=True)
class Duration(Kind):
    """Seconds, written with a unit."""

    above_zero: bool = False
    signed: bool = False
    """Negative durations are allowed: `-5m`."""

    def read(self, value: object) -> float:
        if self.signed and isinstance(value, str) and len(value) <= units.LONGEST:
            plain = value.lstrip(" \t\r\n")
            seconds = units.parse_duration(plain[1:] if plain[:1] in ("-", "+") else value)
            return -seconds if plain[:1] == "-" else seconds
        seconds = units.parse_duration(value)
        if self.above_zero and seconds <= 0:
            raise BadValue("out-of-range", f"{shown(value)} is too short; use a duration above 0, such as 20ms")
        return seconds

    def write(self, value: object) -> str:
        seconds = float(value)  # type: ignore[arg-type]  # read() made it a float
        return units.format_duration(seconds) if seconds >= 0 else f"-{units.format_duration(-seconds)}"

    def schema(self) -> dict[str, Any]:
        return _quantity_schema(units.duration_pattern(above_zero=self.above_zero, signed=self.signed))

    def nothing(self) -> list[dict[str, Any]]:
        return [_ZERO_QUANTITY]


@dataclass(frozen=True, slots=True)
class Size(Kind):
    """Bytes, written with a unit."""

    minimum: int = 0

    def read(self, value: object) -> int:
        return units.parse_size(value, self.minimum)

    def write(self, value: object) -> str:
        return units.format_size(int(value))  # type: ignore[call-overload]  # read() made it an int

    def schema(self) -> dict[str, Any]:
        return _quantity_schema(units.size_pattern(self.minimum))

    def nothing(self) -> list[dict[str, Any]]:
        return [_ZERO_QUANTITY]


@dataclass(frozen=True, slots=True)
class Rate(Kind):
    """Bytes per second, written with a unit; above 0."""

    def read(self, value: object) -> float:
        rate = units.parse_rate(value)
        if rate <= 0:
            message = f"{shown(value)} would stop all data; use a rate above 0, such as 10MB/s, or the fault `stall`"
            raise BadValue("out-of-range", message)
        return rate

    def write(self, value: object) -> str:
        return units.format_rate(float(value))  # type: ignore[arg-type]  # read() made it a float

    def schema(self) -> dict[str, Any]:
        return _quantity_schema(units.rate_pattern())


@dataclass(frozen=True, slots=True)
class Share(Kind):
    """A share from 0 to 1, or in percent."""

    def read(self, value: object) -> float:
        return units.parse_share(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, _quantity_schema(units.SHARE_PATTERN)]}

    def nothing(self) -> list[dict[str, Any]]:
        return [_ZERO, _ZERO_QUANTITY]


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """A finite number without a unit."""

    minimum: float = -math.inf
    maximum: float = math.inf

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise BadValue("wrong-type", f"{shown(value)} is not a number; use {self._range()}")
        least, most = max(self.minimum, -_LARGEST_NUMBER), min(self.maximum, _LARGEST_NUMBER)
        if not least <= value <= most:
            beyond = f"below {least:g}" if value < least else f"above {most:g}"
            raise BadValue("out-of-range", f"{shown(value)} is {beyond}; use {self._range()}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "number"} | {key: bound for key, bound in bounds.items() if math.isfinite(bound)}

    def nothing(self) -> list[dict[str, Any]]:
        return [_ZERO]

    def _range(self) -> str:
        if math.isfinite(self.minimum) and math.isfinite(self.maximum):
            return f"{self.minimum:g} to {self.maximum:g}"
        return f"{self.minimum:g} or more" if math.isfinite(self.minimum) else "a number such as 0.5"


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    """A whole number without a unit."""

    minimum: int = 0
    maximum: int = LARGEST_WHOLE

    def read(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:  # JSON has one kind of numbers
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue("wrong-type", f"{shown(value)} is not a whole number; use {self._range()}")
        if value < self.minimum:
            raise BadValue("out-of-range", f"{shown(value)} is below {self.minimum}; use {self._range()}")
        if value > self.maximum:
            message = f"{shown(value)} is above {self.maximum}; use {self.minimum} to {self.maximum}"
            raise BadValue("out-of-range", message)
        return value

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer"} | {key: bound for key, bound in bounds.items() if abs(bound) < LARGEST_WHOLE}

    def nothing(self) -> list[dict[str, Any]]:
        return [_ZERO]

    def _range(self) -> str:
        if self.maximum < LARGEST_WHOLE:
            return f"{self.minimum} to {self.maximum}"
        return f"{self.minimum} or more"

    def __str__(self) -> str:
        return "whole number"


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """true or false."""

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise BadValue("wrong-type", f"{shown(value)} is neither true nor false; use true or false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def nothing(self) -> list[dict[str, Any]]:
        return [{"const": False}]

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Text of at least `shortest` characters, and at most `longest` if that is given; all of it matches `pattern`.

    `refusal` follows the text in the message about one that does not match.
    """

    longest: int | None = None
    shortest: int = 0
    pattern: re.Pattern[str] | None = None
    refusal: str = ""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            way = "use one name or word" if isinstance(value, list | dict) else "put it in quotes to make it text"
            raise BadValue("wrong-type", f"{shown(value)} is not text; {way}")
        if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
            message = f"{shown(value)} contains half of a surrogate pair; use text that UTF-8 can encode"
            raise BadValue("malformed", message)
        if self.longest is not None and len(value) > self.longest:
            raise BadValue("too-large", f"{shown(value)} is too long; use at most {self.longest} characters")
        if len(value) < self.shortest:
            raise BadValue("empty", f"is empty; use at least {self.shortest} character{'s' * (self.shortest > 1)}")
        if self.pattern is not None and not self.pattern.fullmatch(value):
            raise BadValue("malformed", f"{shown(value)} {self.refusal}")
        return value

    def schema(self) -> dict[str, Any]:
        least = {"minLength": self.shortest} if self.shortest else {}
        most = {} if self.longest is None else {"maxLength": self.longest}
        pattern = {} if self.pattern is None else {"pattern": rf"^({self.pattern.pattern})$(?!\n)"}
        return {"type": "string", **least, **most, **pattern}


@dataclass(frozen=True, slots=True)
class TextOrJson(Kind):
    """Text as it is, or a mapping or list that is written as JSON."""

    def read(self, value: object) -> str | dict[str, Any] | list[Any]:
        if isinstance(value, str):
            return Text().read(value)
        if not isinstance(value, dict | list):
            message = f"{shown(value)} is neither text nor JSON; use text in quotes, a mapping or a list"
            raise BadValue("wrong-type", message)
        try:
            json.dumps(value, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            message = f"cannot be written as JSON ({error}); use text, or values that JSON can write"
            raise BadValue("wrong-type", message) from None
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "object", "array"]}

    def __str__(self) -> str:
        return "text or JSON"


@dataclass(frozen=True, slots=True, init=False)
class Choice(Kind):
    """One word of a fixed set."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)

    def read(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.words:
            hint = nearest(value, self.words)
            message = f"{shown(value)} is not known{hint}; use one of: {', '.join(self.words)}"
            raise BadValue("unknown-value", message)
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}

    def __str__(self) -> str:
        return " | ".join(self.words)


@dataclass(frozen=True, slots=True)
class Struct(Kind):
    """A mapping with declared parameters."""

    of: type[Any]  # a frozen dataclass of declared parameters; dataclasses have no common type

    def __str__(self) -> str:
        return "mapping"


@dataclass(frozen=True, slots=True)
class ListOf(Kind):
    """A list of values of one kind; read as a tuple."""

    item: Kind
    most: int = MOST_ITEMS
    unique: bool = False
    """True if the struct refuses equal items."""

    def nothing(self) -> list[dict[str, Any]]:
        return [{"type": "array", "maxItems": 0}]

    def __str__(self) -> str:
        return f"list of {self.item}, at most {self.most}"


@dataclass(frozen=True, slots=True)
class MapOf(Kind):
    """A mapping from names, chosen by the user, to values of one kind."""

    item: Kind
    most: int = MOST_ITEMS
    least: int = 0
    key: Kind | None = None
    """The kind of its names; None for any text."""

    def nothing(self) -> list[dict[str, Any]]:
        return [{"type": "object", "maxProperties": 0}]

    def __str__(self) -> str:
        return f"mapping of {self.item}, at most {self.most}"


def too_many(count: int, most: int, what: str = "items") -> BadValue:
    """Return the error for a list or mapping with more items than its kind takes."""
    return BadValue("too-large", f"has {count} {what}; use at most {most}")
