"""How the turns of a proxy went in a time: answered, failed and open ones, the times that clients felt, and rates.

Source: the counts of each second (`TurnsCounted`). One is in a time if its end is. A journal has none for a second
without turns, so rates are per second of the time, not of the counts. A turn on which the client gave up has failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaosproxy.events import TurnsCounted
from chaosproxy.quantiles import quantile
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.window import Span, Window, seconds_in

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

    @property
    def answered_per_s(self) -> float | None:
        """Answered turns per second; None for a time without length."""
        return self._rate(self.answered)

    @property
    def failed_per_s(self) -> float | None:
        """Failed turns per second; None for a time without length."""
        return self._rate(self.failed)

    @property
    def opened_per_s(self) -> float | None:
        """Clients accepted per second; None for a time without length."""
        return self._rate(self.opened)

    def _rate(self, number: int) -> float | None:
        return number / self.seconds if self.seconds > 0 else None


def span_of(window: Window, facts: Facts) -> Span:
    """Return the time of a window; one that is active ends with the journal."""
    return window.started, facts.end if window.ended is None else window.ended


def counts_in(proxy: ProxyFacts, spans: Sequence[Span]) -> Iterator[TurnsCounted]:
    """Yield the counts of a proxy that end within one of these times."""
    for counted in proxy.counted:
        if any(begin < counted.at <= end for begin, end in spans):
            yield counted


def turns_in(proxy: ProxyFacts, spans: Sequence[Span]) -> Turns:
    """Return how the turns of a proxy went in these times together."""
    felt: Counter[int] = Counter()
    answered = failed = opened = still_open = most_open = 0
    longest = 0.0
    for counted in counts_in(proxy, spans):
        felt.update(counted.felt)
        answered += counted.answered
        failed += counted.failed + counted.gave_up
        opened += counted.opened
        still_open = counted.open
        most_open = max(most_open, counted.open)
        longest = max(longest, counted.longest_open_s)
    return Turns(
        seconds_in(spans), answered, failed, still_open, most_open, longest,
        quantile(felt, 0.5), quantile(felt, 0.99), opened,
    )  # fmt: skip


def turns_of(proxy: ProxyFacts, facts: Facts, window: Window | None = None) -> Turns:
    """Return how the turns of a proxy went in a window, or in the whole journal."""
    span = (facts.begin - 1.0, facts.end) if window is None else span_of(window, facts)
    return turns_in(proxy, (span,))
