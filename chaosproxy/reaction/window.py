"""The times in which faults were active, and the times without faults before and after them.

A window is the time from the start of one fault to its end, or the time of several faults of which each overlaps
with another. A fault of which the journal has no start has been active since the journal's begin. Thus the time
before its first mention is never taken for a time without faults.

Unfaulted are the times before a window in which no fault was active on a proxy. A fault that outlasts the window, and
has been active since the first turn or for `SETTLED_S`, such as the latency of a far zone, is part of the usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import cast

from chaosproxy.events import (
    FaultAdded,
    FaultChanged,
    FaultExpired,
    FaultRemoved,
    PartitionAdded,
    PartitionExpired,
    PartitionRemoved,
    ProxyRemoved,
)
from chaosproxy.reaction.facts import Facts
from chaosproxy.reaction.span import Span

__all__ = [
    "AFTER_S", "SETTLED_S", "Window", "background_of", "first_turn", "touched", "unfaulted_before", "windows_of",
]  # fmt: skip

AFTER_S = 60.0
"""Seconds after the end of a window in which the recovery from it is observed."""

SETTLED_S = 30.0
"""Seconds after which clients have become used to a fault that stays."""

_PARTITION = "partition"


@dataclass(frozen=True, slots=True)
class Window:
    """The time from the start of a fault to its end; or of several faults, each of which overlaps with another."""

    faults: tuple[str, ...]
    """`proxy/fault`, or `partition/id`; in the order in which they began."""
    types: tuple[str, ...]
    """The type of each; `partition` for a partition."""
    proxies: frozenset[str]
    """The proxies on which they act."""
    started: float
    ended: float | None
    """None while one is active."""

    def has(self, at: float) -> bool:
        """Return whether a time is in the window."""
        return self.started <= at and (self.ended is None or at < self.ended)


def windows_of(facts: Facts) -> list[Window]:
    """Return the windows of a journal in the order of their starts: one per fault, and one per overlapping set."""
    if facts.windows is None:
        single = sorted(_single(facts), key=lambda window: window.started)
        facts.windows = sorted([*single, *_sets(single)], key=lambda window: (window.started, len(window.faults)))
    return cast(list[Window], facts.windows)


def _single(facts: Facts) -> Iterator[Window]:
    active: dict[str, tuple[str, float]] = {}
    seen: set[str] = set()

    def end(key: str, kind: str, at: float | None) -> Window:
        kind, started = active.pop(key, (kind, facts.begin))
        owner = key.partition("/")[0]
        proxies = frozenset(_cut_by(key, facts)) if kind == _PARTITION and key not in own else frozenset({owner})
        return Window((key,), (kind,), proxies, started, at)

    own: set[str] = set()
    for event in facts.changes:
        match event:
            case FaultAdded() | FaultChanged():
                key = f"{event.proxy}/{event.fault}"
                own.add(key)
                if key in active and isinstance(event, FaultAdded):
                    yield end(key, event.type, event.at)
                is_new = isinstance(event, FaultAdded) or key in seen
                active.setdefault(key, (event.type, event.at if is_new else facts.begin))
                seen.add(key)
            case FaultRemoved() | FaultExpired():
                key = f"{event.proxy}/{event.fault}"
                own.add(key)
                if key in active or key not in seen:
                    seen.add(key)
                    yield end(key, event.type, event.at)
            case PartitionAdded():
                key = f"{_PARTITION}/{event.partition}"
                if key in active:
                    yield end(key, _PARTITION, event.at)
                active[key] = _PARTITION, event.at
                seen.add(key)
            case PartitionRemoved() | PartitionExpired():
                key = f"{_PARTITION}/{event.partition}"
                if key in active or key not in seen:
                    seen.add(key)
                    yield end(key, _PARTITION, event.at)
            case ProxyRemoved():
                for key in [key for key in active if key in own and key.startswith(event.proxy + "/")]:
                    yield end(key, "", event.at)
    for key, proxy in _unannounced(facts, seen):
        if proxy is not None:
            own.add(key)
        active[key] = "" if proxy is not None else _PARTITION, facts.begin
    for key in list(active):
        yield end(key, "", None)


def _unannounced(facts: Facts, seen: set[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the faults that only the counts name, with their proxy; None for a partition."""
    found: dict[str, str | None] = {}
    for name, proxy in facts.proxies.items():
        for counted in proxy.counted:
            for fault in counted.faults:
                is_partition = fault.startswith(_PARTITION + "/")
                key = fault if is_partition else f"{name}/{fault}"
                if key not in seen:
                    found[key] = None if is_partition else name
    yield from found.items()


def _cut_by(key: str, facts: Facts) -> Iterator[str]:
    """Yield the proxies that a partition cuts."""
    for name, proxy in facts.proxies.items():
        if any(key in counted.faults for counted in proxy.counted):
            yield name


def _sets(single: Sequence[Window]) -> Iterator[Window]:
    """Yield each largest set of two windows or more in which each overlaps with another."""
    together: list[Window] = []
    end = 0.0
    for window in [*single, None]:
        if together and (window is None or window.started >= end):
            if len(together) > 1:
                yield _joined(together)
            together = []
        if window is not None:
            ended = float("inf") if window.ended is None else window.ended
            end = max(end, ended) if together else ended
            together.append(window)


def _joined(windows: Sequence[Window]) -> Window:
    ends = [window.ended for window in windows if window.ended is not None]
    return Window(
        tuple(fault for window in windows for fault in window.faults),
        tuple(kind for window in windows for kind in window.types),
        frozenset().union(*(window.proxies for window in windows)),
        windows[0].started,
        max(ends) if len(ends) == len(windows) else None,
    )


def touched(window: Window, facts: Facts) -> tuple[int, int]:
    """Return the connections and the messages on which the faults of a window have acted.

    A connection on which several faults of one proxy act is counted once, so that the result is not above the truth.
    """
    connections = messages = 0
    for name in window.proxies:
        if name not in facts.proxies:
            continue
        of_faults = [
            _increase(window, facts, name, fault.removeprefix(name + "/"))
            for fault in dict.fromkeys(window.faults)
            if fault.startswith((name + "/", _PARTITION + "/"))
        ]
        connections += max((one for one, _ in of_faults), default=0)
        messages += max((one for _, one in of_faults), default=0)
    return connections, messages


def _increase(window: Window, facts: Facts, proxy: str, fault: str) -> tuple[int, int]:
    """Return the increase of a fault's counts. They may begin at 0 or go on when it is added again."""
    last, total = (0, 0), [0, 0]
    for counted in facts.proxies[proxy].counted:
        now = counted.faults.get(fault)
        if now is None or (window.ended is not None and counted.at > window.ended):
            continue  # the counts at the end of a fault are published when it ends
        if counted.at <= window.started:
            last = now
            continue
        for index in (0, 1):
            total[index] += now[index] - last[index] if now[index] >= last[index] else now[index]
        last = now
    return total[0], total[1]


def first_turn(proxies: Iterable[str], facts: Facts) -> float:
    """Return the time from which on these proxies have turns; infinity if they have none."""
    counted = [facts.proxies[name].counted for name in proxies if name in facts.proxies]
    firsts = [next((one for one in counts if one.answered + one.failed + one.gave_up), None) for counts in counted]
    return min((one.at - one.seconds for one in firsts if one is not None), default=inf)


def background_of(window: Window, windows: Iterable[Window], since: float) -> list[Window]:
    """Return the windows that outlast one, and began before the first turn (`since`) or `SETTLED_S` before it."""
    latest = max(since if since < window.started else -inf, window.started - SETTLED_S)
    return [
        one for one in windows
        if one.started <= latest and one.started < window.started
        and (one.ended is None or (window.ended is not None and one.ended >= window.ended))
    ]  # fmt: skip


def unfaulted_before(window: Window, proxy: str, facts: Facts) -> tuple[Span, ...]:
    """Return all times before a window in which no fault was active on a proxy, but for those that are usual.

    `load.baseline_of` is the latest of them, of one minute at most, with which a load is compared.
    """
    spans: list[Span] = []
    windows = [one for one in windows_of(facts) if proxy in one.proxies and len(one.faults) == 1]  # a set adds no time
    usual = background_of(window, windows, first_turn([proxy], facts))
    begin = max([facts.begin, *(one.started for one in usual)])
    for other in windows:
        if other.started >= window.started or other in usual or (other.ended is not None and other.ended <= begin):
            continue
        if other.started > begin:
            spans.append(Span(begin, other.started))
        begin = window.started if other.ended is None else max(begin, other.ended)
    if begin < window.started:
        spans.append(Span(begin, window.started))
    return tuple(spans)
