"""Failover: clients that move from an alternative of a service that a fault acts on to another one.

Definition. `detect_s`: from the window's start to the end of the first failed attempt at the old one. `after_s`: from
the window's start to the first good turn at another one, by a host that had used the old one (`moves`). `share`: the
part of the old one's load that moved. `flaps`: changes of the place of the majority after the first. `split`: both
carry more than 10 % of the load for more than 2 s. `failed_back_after_s`: from the heal to the first good turn at the
old one from which the host carries at least half of its load there for 1 s. These are the times by which failure
detectors and failovers are judged: Chen, Toueg and Aguilera, On the Quality of Service of Failure Detectors, 2002.

Assumptions. A host has one client of the service, or several that move together. Only hosts with 5 good turns in the
baseline at the old one are told of. Moves after the heal are not: the fault no longer is their reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.load import after, answered_in, answers, baseline_of, hosts_of
from chaosproxy.reaction.moves import HostMove, first_failures, in_trouble, move_of
from chaosproxy.reaction.returning import first_good_turn
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.window import Window

__all__ = ["Failover", "failovers_of"]

_FEWEST_BEFORE = 5
_PART, _SPLIT_S = 0.1, 2.0
_MAJORITY, _FEWEST_IN_SECOND = 0.6, 3
_HALF, _STAYS_S = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Failover:
    """A move of load from one proxy of a service to another, in one window. Times in seconds."""

    service: str
    old: str
    new: str
    detect_s: float | None
    """None if no attempt failed: the old one was silent."""
    after_s: float
    is_exact: bool
    """False if the time is that of an interval, since the hosts had used the new one before, or if it is the opening of
    a connection, since the new one had turned them away before."""
    share: float
    """0 to 1."""
    flaps: int
    """Of the service, in this window."""
    split_s: float | None
    """The longest time in which both carried more than 10 %; None if it is 2 s or less, or was so in the baseline."""
    failed_back_after_s: float | None
    moved: tuple[str, ...]
    stayed: tuple[str, ...]
    """Hosts with trouble at the old one that never moved."""


def failovers_of(facts: Facts, window: Window, windows: Sequence[Window] = ()) -> list[Failover]:
    """Return the failovers of all services in a window, from each proxy that its faults act on."""
    found: list[Failover] = []
    for service, members in facts.services().items():
        for old in members:
            if old.name in window.proxies:
                found += _from(facts, service, old, members, window, windows)
    return found


def _from(
    facts: Facts, service: str, old: ProxyFacts, members: list[ProxyFacts], window: Window, windows: Sequence[Window]
) -> Iterator[Failover]:
    names = [one.name for one in members]
    baseline = baseline_of(facts, window, names, windows)
    if baseline is None:
        return
    others = [one for one in members if one is not old]
    seen = Span(window.started, facts.end if window.ended is None else window.ended)
    used = {host: number for host, number in hosts_of(old, baseline).items() if number >= _FEWEST_BEFORE}
    failed = first_failures(old, seen)
    moves = [
        one for host in used if (one := move_of(host, old, others, baseline, seen, failed.get(host))) is not None
    ]  # fmt: skip
    moved = {one.host for one in moves}
    stayed = tuple(
        sorted(host for host in used if host not in moved and in_trouble(host, old, baseline, seen, failed.get(host)))
    )
    tail = after(facts, window, names, windows)
    lost = answered_in(old, baseline) / baseline.seconds
    for new in others:
        here = sorted((one for one in moves if one.to is new), key=lambda one: one.at)
        if not here:
            continue
        failures = [one.first_failure for one in here if one.first_failure is not None]
        yield Failover(
            service, old.name, new.name, min(failures) - seen.begin if failures else None, here[0].at - seen.begin,
            here[0].is_exact, min(1.0, sum(one.gained for one in here) / lost),
            _flaps(members, Span(here[0].at, seen.end)),
            _split(old, new, baseline, Span(here[0].at, seen.end)),
            _failed_back(old, here, baseline, tail), tuple(sorted(one.host for one in here)), stayed,
        )  # fmt: skip


def _seconds(proxies: Sequence[ProxyFacts], span: Span) -> Iterator[list[float]]:
    """Yield the good turns of each proxy in each second of a span; the last may be half as long."""
    for number in range(round(span.seconds)):
        second = Span(span.begin + number, min(span.begin + number + 1, span.end))
        yield [answered_in(one, second) for one in proxies]


def _flaps(members: list[ProxyFacts], span: Span) -> int:
    """Return how often the place of the majority changed after the move."""
    places: list[int] = []
    for numbers in _seconds(members, span):
        most = max(numbers)
        if sum(numbers) >= _FEWEST_IN_SECOND and most > _MAJORITY * sum(numbers):
            places += [numbers.index(most)]
    return sum(a != b for a, b in zip(places, places[1:], strict=False))


def _split(old: ProxyFacts, new: ProxyFacts, baseline: Span, span: Span) -> float | None:
    before = [answered_in(one, baseline) for one in (old, new)]
    if before[1] > _PART * sum(before):
        return None
    longest = row = 0
    for numbers in _seconds((old, new), span):
        row = row + 1 if min(numbers) > _PART * sum(numbers) else 0
        longest = max(longest, row)
    return float(longest) if longest > _SPLIT_S else None


def _failed_back(old: ProxyFacts, moves: list[HostMove], baseline: Span, tail: Span | None) -> float | None:
    """Return the seconds from the heal until the first of the hosts that moved carried load at the old one."""
    times = [at for one in moves if tail and (at := _back(old, one.host, baseline, tail)) is not None]
    return min(times) - tail.begin if tail and times else None


def _back(old: ProxyFacts, host: str, baseline: Span, tail: Span) -> float | None:
    first = first_good_turn(old, tail, host)
    rate = answered_in(old, baseline, host) / baseline.seconds
    if first is None:
        return None
    later = [one.first for one in answers(old.counted, host) if one.first > first.at and tail.has(one.first)]
    for at in (first.at, *later):
        span = Span(at, at + _STAYS_S)
        if span.end <= tail.end and answered_in(old, span, host) >= _HALF * rate * _STAYS_S:
            return at
    return None
