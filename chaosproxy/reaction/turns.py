"""How the turns of a proxy went in a time: answered, failed and open ones, the times that clients felt, and rates.

Source: the counts of each second (`TurnsCounted`). One is in a time if its end is. A journal has none for a second
without turns, so rates are per second of the time, not of the counts. A turn on which the client gave up has failed.
Failed turns are those with an event, which has their exact time: a give-up is counted when it is certain, and a fault
that holds back the end of a connection can delay that until the heal.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaosproxy.events import TurnEvent, TurnsCounted
from chaosproxy.quantiles import quantile
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.span import Span, seconds_in
from chaosproxy.reaction.window import Window

__all__ = ["Turns", "counts_in", "span_of", "turns_in", "turns_of"]


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of one proxy in a time."""

    seconds: float
    """The length of the time."""
    answered: int
    failed: int
    """With those on which the client gave up."""
    open: int
    """Turns open at the end."""
    most_open: int
    """The most turns that were open at the end of a second."""
    longest_open_s: float
    """The highest age of an open turn."""
    felt_p50_s: float | None
    """Seconds from the opening of an answered turn to its answer; None if no turn was answered."""
    felt_p99_s: float | None
    opened: int
    """Clients accepted."""


def span_of(window: Window, facts: Facts) -> Span:
    """Return the time of a window; one that is active ends with the journal."""
    return Span(window.started, facts.end if window.ended is None else window.ended)


def counts_in(proxy: ProxyFacts, spans: Sequence[Span]) -> Iterator[TurnsCounted]:
    """Yield the counts of a proxy that end within one of these times."""
    for counted in proxy.counted:
        if any(begin < counted.at <= end for begin, end in spans):
            yield counted


def turns_in(proxy: ProxyFacts, spans: Sequence[Span]) -> Turns:
    """Return how the turns of a proxy went in these times together."""
    felt: Counter[int] = Counter()
    answered = opened = still_open = most_open = 0
    longest = 0.0
    for counted in counts_in(proxy, spans):
        felt.update(counted.felt)
        answered += counted.answered
        opened += counted.opened
        still_open = counted.open
        most_open = max(most_open, counted.open)
        longest = max(longest, counted.longest_open_s)
    failed = sum(_number_in(events, span) for events in (proxy.gave_up, proxy.failed) for span in spans)
    return Turns(
        seconds_in(spans), answered, failed, still_open, most_open, longest,
        quantile(felt, 0.5), quantile(felt, 0.99), opened,
    )  # fmt: skip


def _number_in(events: Sequence[TurnEvent], span: Span) -> int:
    begin, end = (bisect_right(events, at, key=lambda one: one.at) for at in span)
    return end - begin


def turns_of(proxy: ProxyFacts, facts: Facts, window: Window | None = None) -> Turns:
    """Return how the turns of a proxy went in a window, or in the whole journal."""
    span = Span(facts.begin - 1.0, facts.end) if window is None else span_of(window, facts)
    return turns_in(proxy, (span,))
