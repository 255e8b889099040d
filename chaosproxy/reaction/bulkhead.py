"""Bulkheads: whether a fault on one proxy slowed the other proxies of the same node.

Definition. In the window, each other proxy with the same `from` keeps at least 90 % of its baseline's rate, and at
most 1.5 times its 99th percentile. Else the fault spread to it, for example because all threads of the client wait.
Source: M. Nygard, Release It!, 2nd ed. 2018, chapter 5; HasBulkhead in Gremlin (Heorhiadi et al., ICDCS 2016).

Assumptions. The load would have stayed as it was, so a difference must exceed chance: 3 standard deviations of a
Poisson count for the rate; for the percentile, 3 above the 1 % of turns that are slower by definition, and 1 ms. The
percentile needs 100 turns before and in the window. Proxies of the window itself are skipped.

A fault spreads because a client waits. Nothing is said where the client did not:
- the node had no open connection for 0.2 s in the window, but some at its start: it was restarted or has ended;
- a proxy had no turn in the last 2 s of the baseline;
- a proxy had none, and none open, from some time in the window to the end of the journal: its load ended. Then the
  time before that counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chaosproxy.quantiles import quantile, share_above
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.load import answered_in, answers, baseline_of, felt_in
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.window import Window

__all__ = ["Bulkhead", "Spread", "bulkhead_of"]

_KEPT_RATE = 0.9
_SLOWER = 1.5
_FEWEST_EXPECTED = 20
_FEWEST_FELT = 100
_SIGMAS = 3
_NOTICED_S = 0.001
_RESTART_S = 0.2
_JUST_S = 2.0
_SHORTEST_S = 0.5


@dataclass(frozen=True, slots=True)
class Spread:
    """The load of one other proxy before and in the window; rates in answered turns per second."""

    proxy: str
    rate_before: float
    rate_during: float
    p99_before_s: float | None
    """None, as below, if there are fewer than 100 turns."""
    p99_during_s: float | None
    slowed: bool
    """Whether its 99th percentile rose."""
    thinned: bool
    """Whether its rate fell."""


@dataclass(frozen=True, slots=True)
class Bulkhead:
    """The other proxies of the node: those to which the fault spread, and those that kept their load."""

    spread: tuple[Spread, ...]
    kept: tuple[Spread, ...]

    @property
    def held(self) -> bool:
        return not self.spread


def bulkhead_of(facts: Facts, proxy: ProxyFacts, window: Window, windows: Sequence[Window] = ()) -> Bulkhead | None:
    """Return the effect of a fault on the other proxies of the node; None if there are none with enough load."""
    if proxy.from_node is None:
        return None
    node = [one for one in facts.proxies.values() if one.from_node == proxy.from_node]
    others = [one for one in node if one.name not in window.proxies and one is not proxy]
    end = min(facts.end if window.ended is None else window.ended, max(map(_last_sign, node)))
    if end <= window.started or _had_no_connection(node, Span(window.started, end)):
        return None
    found = [
        spread
        for one in others
        if _has_load(one, window.started)
        and (baseline := baseline_of(facts, window, [one.name, proxy.name], windows)) is not None
        and (spread := _compare(one, _own(one, baseline), Span(window.started, min(end, _last_sign(one))))) is not None
    ]
    if not found:
        return None
    is_hit = [one.slowed or one.thinned for one in found]
    return Bulkhead(
        tuple(one for one, hit in zip(found, is_hit, strict=True) if hit),
        tuple(one for one, hit in zip(found, is_hit, strict=True) if not hit),
    )


def _last_sign(proxy: ProxyFacts) -> float:
    """Return the last time at which a proxy answered a turn, or had one open or failing."""
    for one in reversed(proxy.counted):
        if one.open or one.failed or one.gave_up:
            return one.at
        if one.answered:
            return max(answer.last for answer in answers([one]))
    return -math.inf


def _has_load(proxy: ProxyFacts, started: float) -> bool:
    """Return whether a proxy had load just before a window."""
    return answered_in(proxy, Span(started - _JUST_S, started)) > 0


def _had_no_connection(node: list[ProxyFacts], span: Span) -> bool:
    """Return whether the node had connections at the start of a window, and for a while in it none."""
    changes = [(one.at, 1) for proxy in node for one in proxy.opened]
    changes += [(one.at, -1) for proxy in node for one in proxy.closed]
    open_now, since = 0, -math.inf
    had_any = False
    for at, change in [*sorted(changes), (span.end, 0)]:
        if at > span.begin:
            had_any = had_any or open_now > 0
            if had_any and open_now <= 0 and min(at, span.end) - max(since, span.begin) >= _RESTART_S:
                return True
        if at > span.end:
            break
        open_now, since = open_now + change, at
    return False


def _own(proxy: ProxyFacts, baseline: Span) -> Span:
    """Return the part of a baseline from the first turn of this proxy on."""
    begins = [c.at - c.seconds for c in proxy.counted if c.answered and baseline.has(c.at - c.seconds)]
    return Span(min(begins, default=baseline.begin), baseline.end)


def _compare(proxy: ProxyFacts, baseline: Span, window: Span) -> Spread | None:
    usual, now = answered_in(proxy, baseline), answered_in(proxy, window)
    if baseline.seconds <= 0 or window.seconds < _SHORTEST_S:
        return None
    expected = usual / baseline.seconds * window.seconds
    if min(expected, usual) < _FEWEST_EXPECTED:
        return None
    # Both counts vary: the baseline's by its own length.
    chance = _SIGMAS * math.sqrt(expected * (1 + window.seconds / baseline.seconds))
    before, during = felt_in(proxy, baseline), felt_in(proxy, window)
    p99_before, p99_during = _p99(before), _p99(during)
    slowed = False
    if p99_before is not None and p99_during is not None:
        limit = max(_SLOWER * p99_before, p99_before + _NOTICED_S)
        number = sum(during.values())
        slowed = share_above(during, limit) * number > 0.01 * number + _SIGMAS * math.sqrt(0.01 * number)
    return Spread(
        proxy.name, usual / baseline.seconds, now / window.seconds, p99_before, p99_during,
        slowed=slowed, thinned=now < min(_KEPT_RATE * expected, expected - chance),
    )  # fmt: skip


def _p99(felt: dict[int, int]) -> float | None:
    return quantile(felt, 0.99) if sum(felt.values()) >= _FEWEST_FELT else None
