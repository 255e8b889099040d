"""The load of a proxy in a span of time, from the counts of its turns.

`TurnsCounted` says for each host how many turns were answered in an interval, and when the first and the last of them
were. The answers are taken as spread evenly between these two times, so a span that begins within an interval gets
its share. Failed attempts have exact times.

The baseline of a window is the time before it without a fault on its proxies, from the first turn on, and at most the
last 60 s. A fault that is part of the usual (`window.background_of`) is active in all of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from chaosproxy.events import TurnsCounted
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.span import TOUCH_S, Span
from chaosproxy.reaction.window import AFTER_S, Window, background_of, first_turn

__all__ = [
    "Answers",
    "after",
    "answered_in",
    "answers",
    "baseline_of",
    "felt_in",
    "hosts_of",
    "intervals_around",
    "intervals_in",
    "service_in",
]

_LONGEST_BASELINE_S = 60.0
_SHORTEST_BASELINE_S = 1.0


@dataclass(frozen=True, slots=True)
class Answers:
    """Turns answered to one host in one interval."""

    host: str
    number: int
    first: float
    last: float
    """The times of the first and the last answer."""
    counted: TurnsCounted

    def within(self, span: Span) -> float:
        """Return the expected number of the answers in a span."""
        if span.begin < self.first and self.last <= span.end:
            return self.number
        length = self.last - self.first
        if length <= TOUCH_S:
            return self.number if span.begin < self.last <= span.end else 0
        return self.number * max(0.0, min(self.last, span.end) - max(self.first, span.begin)) / length


def baseline_of(facts: Facts, window: Window, proxies: Iterable[str], windows: Iterable[Window] = ()) -> Span | None:
    """Return the baseline of a window on these proxies; None if it is shorter than 1 s or has no turn.

    `windows` are all windows of the journal; those on other proxies do not matter.
    """
    names = set(proxies)
    here = [one for one in windows if one.proxies & names and len(one.faults) == 1]  # a set adds no time
    usual = background_of(window, here, first_turn(names, facts))
    others = [one for one in here if one.started < window.started and one not in usual]
    end = window.started
    for one in sorted(others, key=lambda one: -one.started):
        if one.ended is None or one.ended > end:
            end = min(end, one.started)
    ends = [one.ended for one in others if one.ended is not None and one.ended <= end]
    begin = max([end - _LONGEST_BASELINE_S, *ends, *(one.started for one in usual)])
    counted = [one for name in names & facts.proxies.keys() for one in facts.proxies[name].counted]
    began = [
        one.at - one.seconds
        for one in counted
        if one.answered + one.failed + one.gave_up and one.at - one.seconds >= begin - TOUCH_S
    ]
    if not began or end - min(began) < _SHORTEST_BASELINE_S - TOUCH_S:
        return None
    return Span(min(began), end)


def after(facts: Facts, window: Window, proxies: Iterable[str], windows: Iterable[Window] = ()) -> Span | None:
    """Return the time after a window, until another begins on these proxies, at most 60 s; None if it has not ended."""
    if window.ended is None:
        return None
    healed, names = window.ended, set(proxies)
    next_ones = [one.started for one in windows if one.proxies & names and one.started >= healed and one != window]
    return Span(healed, max(healed, min([healed + AFTER_S, facts.end, *next_ones])))


def answers(counted: Sequence[TurnsCounted], host: str | None = None) -> Iterator[Answers]:
    """Yield the answers of each interval by host, or those to one host.

    Answers without a host are spread over their interval, under the empty name.
    """
    for one in counted:
        if host:
            if host in one.clients:
                number, first_s, last_s = one.clients[host]
                yield Answers(host, number, one.at - first_s, one.at - last_s, one)
            continue
        known = 0
        for name, (number, first_s, last_s) in one.clients.items():
            known += number
            yield Answers(name, number, one.at - first_s, one.at - last_s, one)
        if one.answered > known:
            yield Answers("", one.answered - known, one.at - one.seconds, one.at, one)


def answered_in(proxy: ProxyFacts, span: Span, host: str | None = None) -> float:
    """Return the expected number of turns answered in a span, to all hosts or to one."""
    return sum(one.within(span) for one in answers(intervals_around(proxy, span), host))


def hosts_of(proxy: ProxyFacts, span: Span) -> dict[str, float]:
    """Return the turns answered in a span by host, without the hosts that have no name of their own."""
    found: dict[str, float] = {}
    for one in answers(intervals_around(proxy, span)):
        found[one.host] = found.get(one.host, 0.0) + one.within(span)
    return {host: number for host, number in found.items() if host and number > 0}


def felt_in(proxy: ProxyFacts, span: Span) -> dict[int, int]:
    """Return the felt durations of the turns answered in the intervals that lie within a span."""
    return _summed(one.felt for one in intervals_in(proxy, span))


def service_in(proxy: ProxyFacts, span: Span) -> dict[int, int]:
    """Return the service times of the turns answered in the intervals that lie within a span."""
    return _summed(one.service for one in intervals_in(proxy, span))


def intervals_in(proxy: ProxyFacts, span: Span) -> list[TurnsCounted]:
    """Return the intervals that lie within a span."""
    return [one for one in intervals_around(proxy, span) if span.has(one.at) and span.has(one.at - one.seconds)]


def intervals_around(proxy: ProxyFacts, span: Span) -> list[TurnsCounted]:
    """Return the intervals that overlap with a span. A journal may be an hour long, and a span a second."""
    first = bisect_left(proxy.counted, span.begin, key=_end)
    return list(takewhile(lambda one: one.at - one.seconds <= span.end, islice(proxy.counted, first, None)))


def _end(counted: TurnsCounted) -> float:
    return counted.at


def _summed(counts: Iterable[dict[int, int]]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
