"""The reactions to every fault of a journal, put together from the modules that infer one thing each."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from chaosproxy.reaction.advice import Advice, FalseDeaths, advice_for, false_deaths
from chaosproxy.reaction.aftermath import Aftermath, aftermath_of
from chaosproxy.reaction.breaker import Breaker, breaker_of
from chaosproxy.reaction.bulkhead import Bulkhead, bulkhead_of
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.failover import Failover, failovers_of
from chaosproxy.reaction.gave_up import GaveUp, gave_up_of
from chaosproxy.reaction.load import baseline_of
from chaosproxy.reaction.recovery import Recovery, recovery_of
from chaosproxy.reaction.refused import kept_out
from chaosproxy.reaction.retries import Retries, retries_of
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.turns import Turns, turns_of
from chaosproxy.reaction.window import Window, touched, windows_of

__all__ = ["ProxyReaction", "Reactions", "WindowReaction", "reactions_of"]


_SAME_S = 1e-6
"""Seconds within which two moments are one."""
_NEAR_S = 1.0
"""The same, if they were read from the counts of a second."""


@dataclass(frozen=True, slots=True)
class ProxyReaction:
    """The reactions on one proxy while a fault was on, and after it."""

    proxy: str
    turns: Turns
    """Of the window."""
    kept_out: int
    """The attempts to connect in the window that a fault ended before the client could ask."""
    gave_up: GaveUp
    retries: Retries
    breaker: Breaker | None
    bulkhead: Bulkhead | None
    recovery: Recovery | None
    aftermath: Aftermath | None
    false_deaths: FalseDeaths
    advice: Advice | None


@dataclass(frozen=True, slots=True)
class WindowReaction:
    """The reactions in one window, and after it."""

    window: Window
    connections: int
    """The connections that its faults touched."""
    messages: int
    proxies: tuple[ProxyReaction, ...]
    failovers: tuple[Failover, ...]


@dataclass(frozen=True, slots=True)
class Reactions:
    """The reactions in every window of a journal."""

    facts: Facts
    proxies: frozenset[str]
    """The proxies that are told of."""
    windows: tuple[WindowReaction, ...]
    """In the order in which they began."""
    left_out: int = 0
    """The windows that began before these, and are not among them since there are too many."""

    def latest_of(self, proxy: str) -> ProxyReaction | None:
        """Return the reaction in the latest window in which something happened on a proxy, or else in the latest."""
        found = [one for window in self.windows for one in window.proxies if one.proxy == proxy]
        told = [one for one in found if one.gave_up.count or one.turns.failed or one.retries.retries]
        return next(reversed(told or found), None)

    def failovers(self) -> dict[str, list[Failover]]:
        """Return the failovers of each service, each told once.

        A move may lie in two windows: in a fault's own, and in one of several faults, which may begin at another time.
        """
        found: dict[str, list[Failover]] = {service: [] for service in self.facts.services()}
        seen: dict[tuple[str, str], list[float]] = {}
        for window in self.windows:
            for one in window.failovers:
                moments, at = seen.setdefault((one.old, one.new), []), window.window.started + one.after_s
                apart = _SAME_S if one.is_exact else _NEAR_S
                if all(abs(at - other) > apart for other in moments):
                    moments.append(at)
                    found.setdefault(one.service, []).append(one)
        return found


def reactions_of(
    facts: Facts, proxies: Collection[str] = (), since: float = -math.inf, most: int | None = None
) -> Reactions:
    """Return the reactions to the faults of a journal.

    `proxies` leaves out the windows of others; none means all. `since` leaves out windows that ended before, and `most`
    all but that number of windows, those that began last.
    """
    windows = windows_of(facts)
    wanted = frozenset(proxies or facts.proxies)
    told = [one for one in windows if wanted & one.proxies and (one.ended is None or one.ended >= since)]
    left_out = 0 if most is None else max(0, len(told) - most)
    told = told[left_out:]
    return Reactions(facts, wanted, tuple(_in_window(window, windows, facts, wanted) for window in told), left_out)


def _in_window(window: Window, windows: list[Window], facts: Facts, wanted: frozenset[str]) -> WindowReaction:
    connections, messages = touched(window, facts)
    proxies = [facts.proxies[name] for name in facts.proxies if name in window.proxies & wanted]
    return WindowReaction(
        window,
        connections,
        messages,
        tuple(_on_proxy(proxy, window, windows, facts) for proxy in proxies),
        tuple(failovers_of(facts, window, windows)),
    )


def _on_proxy(proxy: ProxyFacts, window: Window, windows: list[Window], facts: Facts) -> ProxyReaction:
    gave_up = gave_up_of(proxy, window, facts)
    baseline = baseline_of(facts, window, [proxy.name], windows)
    during = Span(window.started, facts.end if window.ended is None else window.ended)
    return ProxyReaction(
        proxy=proxy.name,
        turns=turns_of(proxy, facts, window),
        kept_out=kept_out(proxy, window),
        gave_up=gave_up,
        retries=retries_of(proxy, window, facts, gave_up.closed_late_s),
        breaker=breaker_of(facts, proxy, window, windows),
        bulkhead=bulkhead_of(facts, proxy, window, windows),
        recovery=recovery_of(facts, proxy, window, windows),
        aftermath=aftermath_of(facts, proxy, window, windows),
        false_deaths=false_deaths(proxy, during),
        advice=None if baseline is None else advice_for(proxy, baseline, gave_up.inferred_timeout_s),
    )
