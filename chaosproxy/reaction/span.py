"""A time from its begin to its end, in seconds of the journal's clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

__all__ = ["TOUCH_S", "Span", "between", "seconds_in"]

TOUCH_S = 1e-6
"""Times nearer than this are equal: `at - seconds` is rounded."""


class Span(NamedTuple):
    """The time after `begin`, up to `end`."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def has(self, at: float) -> bool:
        """Return whether a time is in the span or at an end of it, apart from rounding."""
        return self.begin - TOUCH_S <= at <= self.end + TOUCH_S


def seconds_in(spans: Iterable[Span]) -> float:
    """Return the length of several times together."""
    return sum(one.seconds for one in spans)


class _Timed(Protocol):
    at: float


_T = TypeVar("_T", bound=_Timed)


def between(events: Sequence[_T], begin: float, end: float) -> Sequence[_T]:
    """Return the events from `begin` on and before `end`; they are in the order of `at`. A journal may be long."""
    first, last = (bisect_left(events, at, key=lambda one: one.at) for at in (begin, end))
    return events[first:last]
