"""Effects that outlast a window: dead sockets, a herd of new connections, and a load that stays wrong.

Dead sockets: connections open at the heal with an open turn, on which nothing came until the client dropped them. A
client that gives up within the baseline's 99th percentile of the heal left no time for an answer; it does not count.

Herd: the peak of new connections per 100 ms within 10 s of the heal, and that of the baseline. Connections that were
accepted before the heal do not count.

Metastable: 30 s after the heal still more than 1.5 times the baseline's turns, or a success rate more than 5 points
below it, although the fault is gone. Source: Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021.
It must also have been so in the first 5 s, since a load that rises later has another reason, and the difference must
exceed 3 standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chaosproxy.quantiles import quantile
from chaosproxy.reaction.attempts import FailedAttempt, failed_attempts
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.load import after, answered_in, baseline_of, felt_in
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.window import Window

__all__ = ["Aftermath", "aftermath_of"]

_HERD_S, _HERD_WITHIN_S = 0.1, 10.0
_LATER_S, _LOOK_S = 30.0, 5.0
_LOAD, _POINTS = 1.5, 0.05
_SIGMAS = 3
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The effects of a window on one proxy after its end."""

    dead_sockets: int
    dead_for_s: float | None
    """The longest time from the heal until a client dropped a dead socket; None without one."""
    herd_peak: int
    """The most new connections in 100 ms."""
    herd_baseline: int
    """The same in the baseline."""
    metastable: bool | None
    """None if the journal has too little to say."""
    load_ratio: float | None
    """Turns per second 30 s to 35 s after the heal, divided by the baseline's."""
    success_rate: float | None
    """The success rate in the same time."""


def aftermath_of(facts: Facts, proxy: ProxyFacts, window: Window, windows: Sequence[Window] = ()) -> Aftermath | None:
    """Return the effects after a window; None if it has not ended, or has no baseline."""
    baseline = baseline_of(facts, window, [proxy.name], windows)
    seen = after(facts, window, [proxy.name], windows)
    if baseline is None or seen is None:
        return None
    failed = failed_attempts(proxy)
    dead = _dead(failed, proxy, seen, quantile(felt_in(proxy, baseline), 0.99) or 0.0)
    soon = Span(seen.begin, min(seen.end, seen.begin + _HERD_WITHIN_S))
    early = _Load.of(proxy, failed, Span(seen.begin, seen.begin + _LOOK_S))
    late = _Load.of(proxy, failed, Span(seen.begin + _LATER_S, seen.begin + _LATER_S + _LOOK_S))
    usual = _Load.of(proxy, failed, baseline)
    is_seen = seen.seconds >= _LATER_S + _LOOK_S and late.turns >= _FEWEST and usual.turns >= _FEWEST
    return Aftermath(
        len(dead), max(dead.values(), default=None),
        _peak([one.at for one in proxy.opened if one.at - one.dial_s >= seen.begin and soon.has(one.at)]),
        _peak([one.at for one in proxy.opened if baseline.has(one.at)]),
        usual.is_worse(late) and usual.is_worse(early) if is_seen else None,
        late.rate / usual.rate if is_seen else None,
        late.success if is_seen else None,
    )  # fmt: skip


def _dead(failed: list[FailedAttempt], proxy: ProxyFacts, seen: Span, answer_s: float) -> dict[int, float]:
    """Return the seconds from the heal until each dead socket was dropped, by connection."""
    accepted = {one.connection: one.at - one.dial_s for one in proxy.opened}
    return {
        one.connection: one.ended - seen.begin
        for one in failed
        if one.gave_up and one.connection is not None and seen.has(one.ended)
        and one.opened < seen.begin and accepted.get(one.connection, one.opened) < seen.begin
        and one.ended - seen.begin > answer_s
    }  # fmt: skip


def _peak(times: list[float]) -> int:
    """Return the most times within 100 ms."""
    peak, first = 0, 0
    for index, at in enumerate(times):
        while at - times[first] > _HERD_S:
            first += 1
        peak = max(peak, index - first + 1)
    return peak


@dataclass(frozen=True, slots=True)
class _Load:
    seconds: float
    good: float
    failed: int

    @classmethod
    def of(cls, proxy: ProxyFacts, failed: list[FailedAttempt], span: Span) -> _Load:
        return cls(span.seconds, answered_in(proxy, span), sum(one.number for one in failed if span.has(one.ended)))

    @property
    def turns(self) -> float:
        return self.good + self.failed

    @property
    def rate(self) -> float:
        return self.turns / self.seconds

    @property
    def success(self) -> float:
        return self.good / self.turns

    def is_worse(self, other: _Load) -> bool:
        """Return whether another load is higher than this one, or succeeds less often."""
        if not other.turns:
            return False
        expected = self.rate * other.seconds
        if other.turns > max(_LOAD * expected, expected + _SIGMAS * math.sqrt(expected)):
            return True
        chance = math.sqrt(max(self.success * (1 - self.success), 0.01) / other.turns)
        return other.success < self.success - max(_POINTS, _SIGMAS * chance)
