"""Whether equal gaps after failures are the client's own rhythm, which it keeps without a fault.

A client that sends the same bytes every second also does after a failure. Its next turn looks like a retry after a
constant gap. Gaps equal to the usual pause between two turns, or times from one start to the next equal to the usual
period, are not a reaction. The pause is the period less the time of a turn. Periods are those of the connections that
failed, from the number of their turns and their age; and that of the host in the baseline, if its workers, of which as
many failed turns were open together, are alike. A host without a baseline shows nothing, so its rhythm is not known to
differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from chaosproxy.events import ClientGaveUp, TurnFailed
from chaosproxy.reaction.backoff import Backoff
from chaosproxy.reaction.chains import Chain
from chaosproxy.reaction.facts import Facts, ProxyFacts, host_of
from chaosproxy.reaction.pieces import AT_ONCE_S
from chaosproxy.reaction.span import Span, seconds_in
from chaosproxy.reaction.turns import turns_in
from chaosproxy.reaction.window import Window, unfaulted_before

__all__ = ["is_rhythm"]

_FEWEST = 3
"""Turns of a connection that show its period."""


def is_rhythm(backoff: Backoff, chains: Sequence[Chain], proxy: ProxyFacts, window: Window, facts: Facts) -> bool:
    """Return whether equal gaps may be those of a client that sends the same bytes all the time."""
    if backoff.law not in ("none", "constant"):
        return False
    spans = unfaulted_before(window, proxy.name, facts)
    hosts = {chain.host for chain in chains if chain.gaps}
    return any(_is_rhythm_of(host, [one for one in chains if one.host == host], proxy, spans) for host in hosts)


def _is_rhythm_of(host: str, chains: Sequence[Chain], proxy: ProxyFacts, spans: Sequence[Span]) -> bool:
    inside = [one for one in proxy.counted if any(begin < one.at <= end for begin, end in spans)]
    answered = sum(one.clients[host][0] for one in inside if host in one.clients)
    if not answered:
        return True
    active = sum(one.seconds for one in inside if host in one.clients)  # it may have begun shortly before
    periods = [_workers(chains) * seconds / answered for seconds in (seconds_in(spans), active)]
    periods += _periods(host, proxy)
    felt = turns_in(proxy, spans).felt_p50_s or 0.0
    gap = median(gap for chain in chains for gap in chain.gaps)
    waited = median(one.failure.waited_s for chain in chains for one in chain.turns if one.failure is not None)
    return any(
        abs(gap - max(0.0, period - felt)) <= max(AT_ONCE_S, 0.25 * gap)
        or abs(gap + waited - period) <= max(AT_ONCE_S, 0.1 * period)
        for period in periods
    )


def _periods(host: str, proxy: ProxyFacts) -> Iterator[float]:
    """Yield the seconds per turn of the connections that failed after some turns."""
    opened = {one.connection: one.at for one in proxy.opened}
    failed: list[ClientGaveUp | TurnFailed] = [*proxy.gave_up, *proxy.failed]
    for one in failed:
        if one.turn >= _FEWEST and one.connection in opened and host_of(one.client) == host:
            yield (one.at - one.waited_s - opened[one.connection]) / (one.turn - 1)


def _workers(chains: Sequence[Chain]) -> int:
    """Return the most failed turns that were open at a time."""
    changes: list[tuple[float, int]] = []
    for chain in chains:
        for one in chain.turns:
            if one.failure is not None:
                changes += [(one.failure.at - one.failure.waited_s, 1), (one.failure.at, -1)]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return max(1, most)
