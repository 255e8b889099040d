"""What is quoted of several rounds: the median, and how far the rounds lay apart."""

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
    """A figure that is not one per round: a count over all of them."""
    return Spread(value, value, value)


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """`of` / `to`, round by round.

    What drifts slowly (clock speed, neighbours on the host) touches both halves of a round alike and
    cancels; it would not in a ratio of medians.

    :raises ValueError: if the two were not measured in the same rounds, or a divisor is 0.
    """
    if len(of) != len(to):
        raise ValueError(f"a ratio needs the same rounds on both sides, not {len(of)} and {len(to)}")
    if not all(to):
        raise ValueError("a ratio to 0 was asked for")
    return spread(a / b for a, b in zip(of, to, strict=True))
