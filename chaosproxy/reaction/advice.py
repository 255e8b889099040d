"""False deaths, and advice on time-outs.

A false death is an answer that arrived after its client had given up on it (`AnswerLate`).

The advice compares time-outs with the good turns of a time without faults: the share of good answers that each would
have cut, and the time for which a true death would go unnoticed, which is the time-out and the mean time until the
next turn opens. Three time-outs:

- `today`: the one in use, and the quantile of the felt durations at which it stands;
- `rfc6298`: SRTT + 4 RTTVAR of RFC 6298, section 2, with alpha 1/8 and beta 1/4, without its minimum of 1 s, which is
  for retransmissions in the Internet. The order of the answers in an interval is not recorded. So each of its n steps
  takes the expected values over all its answers: their mean for SRTT, and their mean distance from SRTT for RTTVAR.
  With one answer per interval this is the RFC's own recursion. Durations are the middles of their buckets (2.5 %);
- `2d+r`: twice the longest delay d, and the longest processing time r: the time-out of a perfect failure detector
  (Chandra and Toueg, JACM 1996, section 1; Cachin, Guerraoui and Rodrigues, 2011, section 2.6). 2d is the longest
  dial, which takes one round trip between proxy and server; r the longest service time, which includes one more. The
  path from the client to the proxy is not measured. It holds only as far as the measured bounds do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from chaosproxy.quantiles import seconds_of, share_above
from chaosproxy.reaction.facts import ProxyFacts
from chaosproxy.reaction.load import answered_in, felt_in, intervals_in, service_in
from chaosproxy.reaction.span import Span

__all__ = ["Advice", "FalseDeaths", "TimeoutRow", "advice_for", "false_deaths", "rfc6298_s"]

_FEWEST = 20
_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4
_STEPS = 100
"""Steps of the recursion in one interval. After these, nothing before the interval counts: (7/8)^100 is 2e-6."""


@dataclass(frozen=True, slots=True)
class FalseDeaths:
    """Answers that arrived after their clients had given up; times in seconds, None without one."""

    count: int
    gave_up: int
    """Turns on which clients gave up in the same time, these included."""
    late_s_min: float | None
    late_s_p50: float | None
    late_s_max: float | None


@dataclass(frozen=True, slots=True)
class TimeoutRow:
    """A time-out and its two prices."""

    name: Literal["today", "rfc6298", "2d+r"]
    seconds: float
    cut_share: float
    """The share of good answers that took longer."""
    unnoticed_s: float
    """The time for which a true death would go unnoticed, on average."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The table of time-outs of one proxy."""

    turns: int
    """The good turns that it is based on; at least 20."""
    quantile_today: float | None
    """The share of good turns that today's time-out lets pass; None without one."""
    rows: tuple[TimeoutRow, ...]


def false_deaths(proxy: ProxyFacts, span: Span) -> FalseDeaths:
    """Return the late answers to clients that had given up, as far as they arrived in a span of time."""
    late = sorted(one.late_s for one in proxy.late if span.has(one.at))
    gave_up = sum(span.has(one.at) for one in proxy.gave_up)
    if not late:
        return FalseDeaths(0, gave_up, None, None, None)
    return FalseDeaths(len(late), max(gave_up, len(late)), late[0], median(late), late[-1])


def advice_for(proxy: ProxyFacts, baseline: Span, timeout_s: float | None) -> Advice | None:
    """Return the table for a baseline and today's time-out; None if there are fewer than 20 good turns."""
    felt = felt_in(proxy, baseline)
    turns = sum(felt.values())
    if turns < _FEWEST:
        return None
    gap_s = baseline.seconds / answered_in(proxy, baseline)
    found: list[tuple[Literal["today", "rfc6298", "2d+r"], float | None]] = [
        ("today", timeout_s), ("rfc6298", rfc6298_s(proxy, baseline)), ("2d+r", _perfect_s(proxy, baseline)),
    ]  # fmt: skip
    rows = [
        TimeoutRow(name, seconds, share_above(felt, seconds), seconds + gap_s)
        for name, seconds in found
        if seconds is not None
    ]
    return Advice(turns, None if timeout_s is None else 1 - share_above(felt, timeout_s), tuple(rows))


def rfc6298_s(proxy: ProxyFacts, baseline: Span) -> float | None:
    """Return RFC 6298's estimate after the last good turn of a baseline, in seconds; None without one."""
    srtt: float | None = None
    rttvar = 0.0
    for one in intervals_in(proxy, baseline):
        number = sum(one.felt.values())
        if not number:
            continue
        samples = [(seconds_of(bucket), count / number) for bucket, count in one.felt.items()]
        mean = sum(seconds * share for seconds, share in samples)
        if srtt is None:
            srtt, rttvar = mean, mean / 2
            number -= 1
        for _ in range(min(number, _STEPS)):
            deviation = sum(abs(seconds - srtt) * share for seconds, share in samples)
            rttvar += _BETA * (deviation - rttvar)
            srtt += _ALPHA * (mean - srtt)
    return None if srtt is None else srtt + _K * rttvar


def _perfect_s(proxy: ProxyFacts, baseline: Span) -> float | None:
    dials: Sequence[float] = [one.dial_s for one in proxy.opened if one.at <= baseline.end]
    service = service_in(proxy, baseline)
    return max(dials) + max(map(seconds_of, service)) if dials and service else None
