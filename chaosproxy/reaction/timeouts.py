"""Time-outs of clients and servers, inferred from the waits after which they gave up.

Definition: a time-out is a wait that ends turns again and again, at different moments. The waits of one proxy and
window are sorted, and split where a gap exceeds `tolerance`. The earliest tight part of each group is the time-out:
some clients close a dead socket long after they have stopped to wait for it.

Assumptions, each against a false claim; `waits` has others:
- Waits that end within `MOMENT_S` are one observation, however many they are. Three moments are needed for `sure`,
  two for `likely`. One moment is enough for `likely` if half of its turns were repeated within `ALIVE_S`: the client
  lives on. A later turn of the same host is not such evidence, since a client that was started again has one too.
- Waits may be equal by chance. The waits of clients that leave at random are taken as log-uniform over a factor of
  30. The expected number of chance groups (a scan statistic: Naus, JASA 1965) must be below `_CHANCE`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Literal

from chaosproxy.reaction.waits import MOMENT_S, Wait, moments, tolerance

__all__ = ["Confidence", "Kind", "TimeOut", "clusters", "inferred"]

Confidence = Literal["sure", "likely"]
Kind = Literal["connect", "read", "total", "idle", "unknown"]
"""`connect`: before the first byte; `read`: silence; `total`: a deadline; `unknown`: one of these two."""

_RANGE = 3.4
"""Natural logarithm of the factor over which waits that end at random spread: 30."""
_NOISE_S = 0.003
"""Spread of equal waits, in seconds; a smaller one is not better evidence."""
_CHANCE: dict[Confidence, float] = {"sure": 1e-4, "likely": 2e-3}
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
        number = sum(1 for _ in moments(left))
        groups = list(_groups(left))
        claims = [_earliest(group, number, kind) for group in groups]
        best = max((one for one in claims if one is not None), key=lambda one: (one.count, -one.s), default=None)
        if best is None:
            return sorted(found, key=lambda one: one.s)
        found.append(best)
        left = [wait for claim, group in zip(claims, groups, strict=True) if claim is not best for wait in group]


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


def _earliest(group: Sequence[Wait], number: int, kind: Kind) -> TimeOut | None:
    """Return the earliest tight part of a group that is not there by chance; None if there is none."""
    end = 0
    for index, first in enumerate(group):
        limit = first.waited_s + max(0.02, 0.02 * first.waited_s)
        if end == (end := bisect_right(group, limit, key=lambda wait: wait.waited_s)) and index:
            continue  # a part of the one before
        part = group[index:end]
        confidence = _confidence(part, number)
        if confidence is not None:
            waits = [wait.waited_s for wait in part]
            return TimeOut(kind, median(waits), waits[-1] - waits[0], len(part), confidence)
    return None


def _confidence(part: Sequence[Wait], number: int) -> Confidence | None:
    spread = part[-1].waited_s - part[0].waited_s
    own = sum(1 for _ in moments(part, max(MOMENT_S, 3 * spread)))
    if own == 1:
        repeated = sum(wait.is_repeated for wait in part)
        return "likely" if len(part) >= 3 and 2 * repeated >= len(part) else None
    share = min(1.0, max(spread, _NOISE_S) / part[0].waited_s / _RANGE) if part[0].waited_s > 0 else 1.0
    chance = number * comb(max(number, own) - 1, own - 1) * share ** (own - 1)
    for confidence in ("sure", "likely"):
        if own >= _MOMENTS[confidence] and chance < _CHANCE[confidence]:
            return confidence
    return None


def inferred(timeouts: Sequence[TimeOut]) -> float | None:
    """Return the time-out that explains most give-ups, in seconds; None if there is none."""
    best = max(timeouts, key=lambda one: (one.count, one.confidence == "sure", -one.s), default=None)
    return None if best is None else best.s
