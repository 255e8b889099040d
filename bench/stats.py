"""Statistics over several rounds: the median and the range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Spread", "exactly", "ratio", "spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure measured in several rounds."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """:raises ValueError: if there is no value."""
    values = list(values)
    if not values:
        raise ValueError("a spread needs at least one value")
    return Spread(median(values), min(values), max(values))


def exactly(value: float) -> Spread:
    """Return a spread for one figure over all rounds, such as a count."""
    return Spread(value, value, value)


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Divide `of` by `to`, round by round.

    Slow changes (clock speed, other load on the host) affect both halves of a round equally and cancel
    out. In a ratio of medians they would not.

    :raises ValueError: if the two were not measured in the same rounds, or a divisor is 0.
    """
    if len(of) != len(to):
        raise ValueError(f"a ratio needs the same rounds on both sides, not {len(of)} and {len(to)}")
    if not all(to):
        raise ValueError("a ratio to 0 was asked for")
    return spread(a / b for a, b in zip(of, to, strict=True))
