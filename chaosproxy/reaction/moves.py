"""Moves of single hosts from one alternative of a service to others, in a window.

A host that used the old alternative in the baseline has moved if

- it had trouble there: a failed attempt, or a silence of at least 0.5 s in which 5 good turns were expected;
- after that, its good turns at the old one are at most half the baseline's rate;
- and its rate at the others rose by at least half of it, from the move to the end of the window. A single good turn
  elsewhere may be another program on the same host.

The time of the move is exact if the host had not used the new alternative before: the first good turn there. If it
had (read replicas), it is the begin of the first interval, of 1 s at most, in which the rate had risen. If the new one
first turned it away, it is the opening of the first connection that it kept (`turned_away`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chaosproxy.reaction.attempts import failed_attempts
from chaosproxy.reaction.facts import ProxyFacts
from chaosproxy.reaction.load import answered_in, answers
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.turned_away import let_in_at

__all__ = ["HostMove", "first_failures", "in_trouble", "move_of"]

_SILENT_S = 0.5
_FEWEST_EXPECTED = 5
_FEWEST_MOVED = 3
_HALF = 0.5
_PART = 0.1
_SIGMAS = 3
_SHORTEST_S = 0.2
_JUST_S = 1.0
"""Seconds before a window in which a host has moved already if it has answers there."""


@dataclass(frozen=True, slots=True)
class HostMove:
    """A host that moved its load to another alternative."""

    host: str
    to: ProxyFacts
    at: float
    is_exact: bool
    first_failure: float | None
    """The end of its first failed attempt at the old one; None if that was merely silent."""
    gained: float
    """Good turns per second that the new one gained."""


def first_failures(proxy: ProxyFacts, span: Span) -> dict[str, float]:
    """Return the end of the first failed attempt of each host in a span."""
    found: dict[str, float] = {}
    for one in failed_attempts(proxy):
        if span.has(one.ended):
            found.setdefault(one.host, one.ended)
    return found


def move_of(
    host: str, old: ProxyFacts, others: Sequence[ProxyFacts], baseline: Span, window: Span, failure: float | None
) -> HostMove | None:
    """Return where a host moved in a window, first; None if it did not, or if there is too little to say.

    `failure` is the end of its first failed attempt at the old alternative in the window.
    """
    lost = answered_in(old, baseline, host) / baseline.seconds
    found: list[HostMove] = []
    for new in others:
        usual = answered_in(new, baseline, host)
        if usual < 1:
            if answered_in(new, Span(window.begin - _JUST_S, window.begin), host) >= 1:
                continue  # it has moved before, under another fault
            at, is_exact = _first_good(new, Span(window.begin if failure is None else failure, window.end), host), True
            let_in = None if at is None else let_in_at(host, old, new, baseline, window)
            if at is not None and (let_in is None or let_in > at):
                at, is_exact = let_in, False
        else:
            at, is_exact = _first_risen(new, window, host, usual / baseline.seconds + _HALF * lost), False
        if at is None or window.end - at < _SHORTEST_S or not _is_trouble(old, window.begin, at, host, failure, lost):
            continue
        then = Span(at, window.end)
        before = usual / baseline.seconds
        now = answered_in(new, then, host)
        gained = now / then.seconds - before
        chance = _SIGMAS * math.sqrt(before * then.seconds * (1 + then.seconds / baseline.seconds))
        if gained >= _PART * lost and gained * then.seconds >= max(_FEWEST_MOVED, chance):
            found.append(HostMove(host, new, at, is_exact, failure, gained))
    if not found:
        return None
    first = min(found, key=lambda one: one.at)
    left = Span(first.at, window.end)
    if answered_in(old, left, host) / left.seconds > _HALF * lost or sum(one.gained for one in found) < _HALF * lost:
        return None
    return first


def in_trouble(host: str, old: ProxyFacts, baseline: Span, window: Span, failure: float | None) -> bool:
    """Return whether a host had a failed attempt, or a silence, at an alternative in a window."""
    lost = answered_in(old, baseline, host) / baseline.seconds
    return _is_trouble(old, window.begin, window.end, host, failure, lost)


def _first_good(proxy: ProxyFacts, span: Span, host: str) -> float | None:
    """Return the first answer in a span that is known by its time."""
    for one in answers(proxy.counted, host):
        for at in (one.first, one.last):
            if span.has(at):
                return at
    return None


def _first_risen(proxy: ProxyFacts, span: Span, host: str, rate: float) -> float | None:
    """Return the begin of the first interval in a span with at least this rate, if later ones have it too."""
    for one in proxy.counted:
        begin = max(span.begin, one.at - one.seconds)
        inner, rest = Span(begin, min(one.at, span.end)), Span(begin, span.end)
        if inner.seconds < _SHORTEST_S:
            continue
        if answered_in(proxy, inner, host) >= rate * inner.seconds:
            return begin if answered_in(proxy, rest, host) >= rate * rest.seconds else None
    return None


def _is_trouble(old: ProxyFacts, begin: float, end: float, host: str, failure: float | None, rate: float) -> bool:
    if failure is not None and failure <= end:
        return True
    last = max((t for one in answers(old.counted, host) for t in (one.first, one.last) if t < end), default=begin)
    silent_s = end - max(begin, last)
    return silent_s >= _SILENT_S and rate * silent_s >= _FEWEST_EXPECTED
