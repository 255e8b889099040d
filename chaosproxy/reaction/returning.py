"""Turns after the end of a window, without those that opened before it.

When a fault ends, the bytes that it held leave, and answer turns that opened long before. That is not recovery. The
time at which an answered turn opened is not recorded, but the felt durations of its interval are: an answer in an
interval that ends `d` after the heal, and that was felt for more than `d`, belongs to an older turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chaosproxy.events import TurnsCounted
from chaosproxy.quantiles import seconds_of
from chaosproxy.reaction.facts import ProxyFacts
from chaosproxy.reaction.load import Answers, answers, intervals_around
from chaosproxy.reaction.span import TOUCH_S, Span

__all__ = ["Counted", "Sighting", "counted_since", "first_good_turn"]

_WITHIN = 0.02
"""Half the width of a bucket of durations, as a share of its middle."""
_RELEASED_S = 0.02
"""Held bytes leave this much before the event of the heal, at most."""
_SHORT_S = 0.1
"""A turn that opened this little before the heal was not held."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A time at which something happened: exact, or an estimate."""

    at: float
    spread_s: float = 0.0
    """The length of the time in which it must have been; 0 if `at` is exact."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The answered turns of one interval that opened after the heal."""

    interval: TurnsCounted
    good: int
    felt: dict[int, int]


def first_good_turn(proxy: ProxyFacts, seen: Span, host: str | None = None) -> Sighting | None:
    """Return when the first turn that opened after `seen.begin` was answered, to any host or to one.

    The time is exact, except in an interval that also has answers to older turns: there the answers to new turns are
    taken as spread evenly from the first possible time to the last answer.
    """
    healed = seen.begin
    for counted in proxy.counted:
        if counted.at <= healed or counted.at - counted.seconds > seen.end:
            continue
        new = _young(counted.felt, counted.at - healed)
        old = sum(counted.felt.values()) - sum(new.values())
        if counted.answered - old <= 0:
            continue
        found = [
            sighting
            for one in answers([counted], host)
            if seen.has(one.last) and (sighting := _first_of(one, healed, new, old)) is not None
        ]
        if found:
            return min(found, key=lambda one: one.at)
    return None


def _first_of(one: Answers, healed: float, new: Mapping[int, int], old: int) -> Sighting | None:
    longest = max(map(seconds_of, new), default=0.0) * (1 + _WITHIN)
    shortest = min(map(seconds_of, new), default=0.0)
    if one.first >= healed and not old and one.first - healed >= longest - _SHORT_S:
        return Sighting(one.first, max(0.0, longest - (one.first - healed)))
    if one.last - healed < shortest:
        return None
    earliest = min(one.last, max(one.first, healed + shortest))
    young = max(1, min(one.number, sum(new.values())))
    return Sighting(earliest + (one.last - earliest) / young, one.last - earliest)


def counted_since(proxy: ProxyFacts, seen: Span) -> list[Counted]:
    """Return the intervals after `seen.begin` with the turns that opened since.

    An interval may begin before: counting stops a moment before a fault ends, and is skipped while nothing happens. It
    belongs to the time after the heal if all its answers do.
    """
    found = []
    for one in intervals_around(proxy, seen):
        if one.at > seen.end + TOUCH_S or one.at <= seen.begin:
            continue
        if one.at - one.seconds < seen.begin - TOUCH_S and not _is_later(one, seen.begin):
            continue
        felt = _young(one.felt, one.at - seen.begin)
        good = one.answered - (sum(one.felt.values()) - sum(felt.values()))
        found.append(Counted(one, max(0, good), felt))
    return found


def _is_later(counted: TurnsCounted, healed: float) -> bool:
    """Return whether there are answers in an interval, and all of them came after the heal, or were released by it."""
    times = [one.first for one in answers([counted])]
    return bool(times) and min(times) >= healed - _RELEASED_S


def _young(felt: Mapping[int, int], seconds: float) -> dict[int, int]:
    """Return the durations that are at most `seconds`, without those that are certainly longer."""
    return {bucket: number for bucket, number in felt.items() if seconds_of(bucket) * (1 - _WITHIN) <= seconds}
