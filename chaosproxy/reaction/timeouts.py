"""Time-outs of clients and servers, inferred from the waits after which they gave up.

Definition: a time-out is a wait that ends turns again and again, at different moments. The waits of one proxy and
window are sorted, and split where a gap exceeds `tolerance`. The earliest tight part of each group is the time-out:
some clients close a dead socket long after they have stopped to wait for it.

Assumptions, each against a false claim; `waits` has others:
- Waits that end within `MOMENT_S` are one observation, however many they are; in a tight part, those within ten times
  its spread, since turns that opened further apart and lasted equally long have no common end. Three moments are
  needed for `sure`, two for `likely`. One moment is enough for `likely` if half of its turns were repeated within
  `ALIVE_S`: the client lives on. A later turn of the same host is not such evidence, since a client that was started
  again has one too.
- Waits may be equal by chance, and each different wait of a moment is one more chance, be it evidence or not. Waits
  that end at random are taken as log-uniform over a factor of 30; and over a factor of 1.5 to either side, if there
  are other waits. The expected number of chance groups (a scan statistic: Naus, JASA 1965) must be below `_CHANCE`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb, log
from statistics import median
from typing import Literal

from chaosproxy.reaction.waits import MOMENT_S, Wait, moments, tight, tolerance

__all__ = ["Confidence", "Kind", "TimeOut", "clusters", "inferred"]

Confidence = Literal["sure", "likely"]
Kind = Literal["connect", "read", "total", "idle", "unknown"]
"""`connect`: before the first byte; `read`: silence; `total`: a deadline; `unknown`: one of these two."""

_RANGE = 3.4
"""Natural logarithm of the factor over which waits that end at random spread: 30."""
_NEAR = 1.5
"""Factor within which other waits show how dense those are that end at random."""
_APART_S = 0.015
"""Seconds between the ends of equal waits, at least, that are not one moment."""
_NOISE_S = 0.002
"""Spread of equal waits, in seconds; a smaller one is not better evidence."""
_CHANCE: dict[Confidence, float] = {"sure": 1e-4, "likely": 1e-3}
_MOMENTS: dict[Confidence, int] = {"sure": 3, "likely": 2}


@dataclass(frozen=True, slots=True)
class TimeOut:
    """A wait after which clients, or a server, give up."""

    kind: Kind
    s: float
    """Seconds: the median of the waits."""
    spread_s: float
    """The longest of them less the shortest."""
    count: int
    confidence: Confidence


def clusters(waits: Sequence[Wait], kind: Kind = "unknown") -> list[TimeOut]:
    """Return the time-outs that these waits show, the shortest first."""
    left = sorted(waits, key=lambda wait: wait.waited_s)
    found: list[TimeOut] = []
    while True:
        groups = list(_groups([wait for wait in left if not wait.is_doubtful]))
        claims = [_earliest(group, left, _chances(left), kind) for group in groups]
        best = max((one for one in claims if one is not None), key=lambda one: (one.count, -one.s), default=None)
        if best is None:
            return sorted(found, key=lambda one: one.s)
        found.append(best)
        explained = {id(wait) for wait in groups[claims.index(best)]}
        left = [wait for wait in left if id(wait) not in explained]


def _chances(waits: Sequence[Wait]) -> int:
    return sum(_different(together) for together in moments(waits))


def _different(waits: Sequence[Wait]) -> int:
    """Return the number of different waits; each of them may equal others by chance."""
    number, limit = 0, -1.0
    for waited in sorted(wait.waited_s for wait in waits):
        if waited > limit:
            number, limit = number + 1, waited + tight(waited)
    return number


def _groups(waits: Sequence[Wait]) -> Iterator[list[Wait]]:
    """Yield the waits, which are sorted, in groups between which there are gaps."""
    group: list[Wait] = []
    for wait in waits:
        if group and wait.waited_s - group[-1].waited_s > tolerance(group[-1].waited_s):
            yield group
            group = []
        group.append(wait)
    if group:
        yield group


def _earliest(group: Sequence[Wait], waits: Sequence[Wait], chances: int, kind: Kind) -> TimeOut | None:
    """Return the earliest tight part of a group that is not there by chance; None if there is none."""
    end = 0
    for index, first in enumerate(group):
        limit = first.waited_s + tight(first.waited_s)
        if end == (end := bisect_right(group, limit, key=lambda wait: wait.waited_s)) and index:
            continue  # a part of the one before
        part = group[index:end]
        confidence = _confidence(part, waits, chances)
        if confidence is not None:
            times = [wait.waited_s for wait in part]
            return TimeOut(kind, median(times), times[-1] - times[0], len(part), confidence)
    return None


def _confidence(part: Sequence[Wait], waits: Sequence[Wait], chances: int) -> Confidence | None:
    """Return the confidence in a part of these waits, which are sorted; None if it is below `likely`."""
    shortest, longest = part[0].waited_s, part[-1].waited_s
    spread = longest - shortest
    own = sum(1 for _ in moments(part, max(min(MOMENT_S, max(_APART_S, 10 * spread)), 3 * spread)))
    if own == 1:
        repeated = sum(wait.is_repeated for wait in part)
        return "likely" if len(part) >= 3 and 2 * repeated >= len(part) else None
    share = max(spread, _NOISE_S) / max(shortest, _NOISE_S)
    expected = _expected(own, chances, share / _RANGE)
    if expected < _CHANCE["likely"]:
        near = waits[_place(waits, shortest / _NEAR) : _place(waits, longest * _NEAR)]
        if len(near) > len(part):
            expected = max(expected, _expected(own, _chances(near), share / (2 * log(_NEAR))))
    for confidence in ("sure", "likely"):
        if own >= _MOMENTS[confidence] and expected < _CHANCE[confidence]:
            return confidence
    return None


def _expected(own: int, chances: int, share: float) -> float:
    """Return the expected number of groups of `own` waits that random ones form within a share of their range."""
    chances = max(chances, own)
    return chances * comb(chances - 1, own - 1) * min(1.0, share) ** (own - 1)


def _place(waits: Sequence[Wait], waited_s: float) -> int:
    return bisect_right(waits, waited_s, key=lambda wait: wait.waited_s)


def inferred(timeouts: Sequence[TimeOut]) -> float | None:
    """Return the time-out that explains most give-ups, in seconds; None if there is none."""
    best = max(timeouts, key=lambda one: (one.count, one.confidence == "sure", -one.s), default=None)
    return None if best is None else best.s
