"""Circuit breakers of clients: after failures in a row a client pauses all its attempts, then tries single ones.

Definition. After n failures in a row, a host makes no attempt for `open_s`, then a few (trials), and so on, until a
trial succeeds and the load returns. Source: M. Nygard, Release It!, 2nd ed. 2018, chapter 5; the states are closed,
open and half-open. That clients have one is checked in Gremlin (Heorhiadi et al., ICDCS 2016) against known values.

Assumptions. One host is one client, or several with one breaker. A silence alone shows nothing: the client may have
ended, wait, sleep between retries, or work elsewhere. So a claim needs all of these:

- 3 failures in a row at least, and then a silence of at least 1 s, 5 times the longest idle time among the failures:
  exponential back-off grows by steps, a breaker opens at once;
- at least 5 attempts expected in the silence at the baseline's rate, and no silence half as long in the baseline;
- no open turn in the silence, no fault that hides attempts, no more load at another alternative of the service;
- 2 failed trials or more: single attempts after equal silences (within 5 %, and the time of two attempts). Several
  workers that each sleep for the same time make several attempts; so a breaker that lets several trials through
  is not recognised;
- the load returns (at least half the baseline's rate over 5 s), or the host works at other proxies meanwhile;
- several attempts at a time, else a pace of failures that equals the baseline's: a single client that tries 3 times
  at once and then every 5 s looks the same.

The equal silences tell a breaker from a client that ends and is started again, while a health check of the same host
goes on: the first and the last of its silences depend on chance. A fault shorter than 2 `open_s` thus shows none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median
from typing import Literal

from chaosproxy.quantiles import quantile
from chaosproxy.reaction.attempts import FailedAttempt, failed_attempts
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.load import after, answered_in, answers, baseline_of, felt_in, hosts_of, intervals_around
from chaosproxy.reaction.row import Row
from chaosproxy.reaction.silence import SILENT_S, Cluster, clusters, hides_clients, is_waiting
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.window import Window

__all__ = ["Breaker", "breaker_of"]

_FEWEST_EXPECTED = 5
_FEWEST_TRIALS = 2
_FEWEST_UNCLOSED = 3
_FEWEST_SURE = 3
_SPREAD = 0.05
_RETURNED, _RETURNED_S = 0.5, 5.0
_MOVED = 0.2


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker that one host showed at one proxy in one window."""

    host: str
    opened_after: int | None
    """Failures in a row; None if attempts at the same time leave a range, or if answers came between failures."""
    opened_after_range: tuple[int, int] | None
    """The least and the most; None if answers came between failures."""
    opened_at: float
    """The end of the last failure before the silence."""
    open_s: float
    """The median of the silences, in seconds."""
    trials: int
    """The times at which it let attempts through, the successful one included."""
    closed: bool
    """Whether a trial succeeded and the load returned."""
    closed_at: float | None
    confidence: Literal["sure", "likely"]


def breaker_of(facts: Facts, proxy: ProxyFacts, window: Window, windows: Sequence[Window] = ()) -> Breaker | None:
    """Return the breaker that opened first in a window; None if none did, or if there is too little to say."""
    baseline = baseline_of(facts, window, [proxy.name], windows)
    if baseline is None or hides_clients(facts, window, proxy):
        return None
    tail = after(facts, window, [proxy.name], windows)
    seen = Span(baseline.begin, facts.end if tail is None else tail.end)
    failed: dict[str, list[FailedAttempt]] = {}
    for one in failed_attempts(proxy):
        if seen.has(one.ended):
            failed.setdefault(one.host, []).append(one)
    hosts = [_Host(facts, proxy, window, baseline, seen, name) for name in hosts_of(proxy, baseline) if name in failed]
    found = [breaker for host in hosts if (breaker := host.breaker(failed[host.host])) is not None]
    return min(found, key=lambda one: one.opened_at, default=None)


@dataclass(frozen=True, slots=True)
class _Host:
    """One host at one proxy, around one window."""

    facts: Facts
    proxy: ProxyFacts
    window: Window
    baseline: Span
    seen: Span
    """The baseline, the window and the time after it."""
    host: str

    @property
    def rate(self) -> float:
        """Turns per second in the baseline."""
        return answered_in(self.proxy, self.baseline, self.host) / self.baseline.seconds

    def breaker(self, failed: list[FailedAttempt]) -> Breaker | None:
        """Return the first breaker; `failed` are the host's failed attempts."""
        good = [one for one in answers(intervals_around(self.proxy, self.seen), self.host) if self.seen.has(one.first)]
        every = clusters(failed, good)
        pairs = zip(every, every[1:], strict=False)
        usual = max((b.begin - a.end for a, b in pairs if b.begin <= self.baseline.end), default=0.0)
        for index, run in enumerate(every):
            if any(self.window.has(one.ended) for one in run.failed):
                breaker = self._after(run, every[index + 1 :], usual)
                if breaker is not None:
                    return breaker
        return None

    def _after(self, run: Cluster, rest: list[Cluster], usual: float) -> Breaker | None:
        """Return the breaker that opened at the end of a cluster; `usual` is the longest silence of the baseline."""
        trials = list(takewhile(lambda one: not one.good, rest))
        closing = rest[len(trials)] if len(trials) < len(rest) else None
        steps = [run, *trials, *([closing] if closing else [])]
        quiet = [(a.end, b.begin) for a, b in zip(steps, steps[1:], strict=False)]
        silences = [end - begin for begin, end in quiet]
        if len(trials) < _FEWEST_TRIALS or any(one.failures > 1 for one in trials):
            return None
        if self.rate * silences[0] < _FEWEST_EXPECTED or usual > silences[0] / 2:
            return None
        if max(silences) - min(silences) > _SPREAD * median(silences) + 2 / self.rate:
            return None
        row = Row.of(run, self.window)
        if row is None or not row.jumps_to(silences[0]):
            return None
        # The last trial may wait until the heal answers it.
        calm = quiet[:-1] if closing is not None and len(trials) >= _FEWEST_UNCLOSED else quiet
        if any(is_waiting(self.proxy, *one) for one in calm) or self._moved(quiet):
            return None
        closed = closing is not None and self._returned(closing)
        if not closed and (len(trials) < _FEWEST_UNCLOSED or not self._works_elsewhere(quiet)):
            return None
        together = row.together or _pool(self.proxy, run, self.window)
        felt_s = quantile(felt_in(self.proxy, self.baseline), 0.5) or 0.0
        if not together and not row.keeps_pace(1 / self.rate - felt_s):
            return None
        is_sure = together and closed and len(trials) >= _FEWEST_SURE
        return Breaker(
            self.host, row.exact, row.range, run.end, median(silences), len(trials) + (closing is not None), closed,
            closing.begin if closed and closing else None, "sure" if is_sure else "likely",
        )  # fmt: skip

    def _returned(self, closing: Cluster) -> bool:
        """Return whether at least half the load returned."""
        span = Span(closing.begin, min(closing.begin + _RETURNED_S, self.seen.end))
        return span.seconds > SILENT_S and self._in(self.proxy, span) >= _RETURNED * self.rate * span.seconds

    def _moved(self, quiet: list[tuple[float, float]]) -> bool:
        """Return whether another alternative of the service got a part of the host's load in the silences."""
        service, seconds = self.proxy.service, sum(end - begin for begin, end in quiet)
        others = [one for one in self.facts.proxies.values() if service and one.service == service]
        return any(
            sum(self._in(one, Span(*times)) for times in quiet) / seconds
            > self._in(one, self.baseline) / self.baseline.seconds + _MOVED * self.rate
            for one in others
            if one is not self.proxy
        )

    def _works_elsewhere(self, quiet: list[tuple[float, float]]) -> bool:
        """Return whether the host keeps half its rate at the other proxies of the same node."""
        node, seconds = self.proxy.from_node, sum(end - begin for begin, end in quiet)
        others = [one for one in self.facts.proxies.values() if one.from_node == node and one is not self.proxy]
        usual = sum(self._in(one, self.baseline) for one in others) / self.baseline.seconds
        now = sum(self._in(one, Span(*times)) for one in others for times in quiet) / seconds
        return usual > 0 and now >= _RETURNED * usual

    def _in(self, proxy: ProxyFacts, span: Span) -> float:
        return answered_in(proxy, span, self.host)


def _pool(proxy: ProxyFacts, run: Cluster, window: Window) -> bool:
    """Return whether two of the connections with failures were open when the window started."""
    before = {one.connection for one in proxy.opened if one.at <= window.started}
    before -= {one.connection for one in proxy.closed if one.at < window.started}
    return len(before & {one.connection for one in run.failed}) > 1
