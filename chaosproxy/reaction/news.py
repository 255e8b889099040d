"""The claims that are published as events, each once.

A claim is known by its subject, not by its numbers, which may change a little as more is seen. Overlapping faults have
a window each and one together, and all of them may show the same reaction. So the subject of a failover and of a
breaker has the start of the widest of these windows (the episode), and that of a recovery has the time of the heal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from chaosproxy.events import CircuitClosed, CircuitOpened, Event, ServiceFailedOver, ServiceRecovered
from chaosproxy.reaction.facts import CHANGES, facts_of
from chaosproxy.reaction.reactions import ProxyReaction, Reactions, WindowReaction
from chaosproxy.reaction.window import Window, windows_of

__all__ = ["Subject", "claims_of", "episode_of", "news", "recent", "retries_by_episode"]

Subject = tuple[str | float, ...]
"""The kind of a claim, its proxies or hosts, and a time: equal for the same claim of a later telling."""

_BEFORE_S = 61.0
"""The longest baseline, and an interval."""
_SETTLED_S = 4.2
"""Seconds after the begin of the first second that is as before: the three in a row, and the counts of the last."""


def recent(events: Iterable[Event], now: float, over_s: float) -> list[Event]:
    """Return the events that the claims of windows need which are on, or ended at most `over_s` seconds ago.

    These are the changes of proxies, faults and partitions, which are few, and all others since 60 s before the
    earliest of these windows. A fault that was on from the begin has no baseline, so no claim needs the older ones.
    """
    every = list(events)
    facts = facts_of((one for one in every if isinstance(one, CHANGES)), now)
    starts = [
        one.started
        for one in windows_of(facts)
        if one.started > facts.begin and (one.ended is None or one.ended >= now - over_s)
    ]
    since = min(starts, default=now) - _BEFORE_S
    return [one for one in every if one.at >= since or isinstance(one, CHANGES)]


def news(told: Collection[Subject], claims: Mapping[Subject, Event]) -> list[Event]:
    """Return the claims that were not told before, in the order of their times."""
    return sorted((event for subject, event in claims.items() if subject not in told), key=lambda event: event.at)


def claims_of(reactions: Reactions) -> dict[Subject, Event]:
    """Return every claim of these reactions, by subject; of windows that show the same one, the smallest tells it."""
    found: dict[Subject, Event] = {}
    for window in sorted(reactions.windows, key=lambda one: len(one.window.faults)):
        episode = episode_of(window.window, reactions)
        for subject, event in (*_failovers(window, episode), *_on_proxies(window, episode, reactions)):
            found.setdefault(subject, event)
    return found


def episode_of(window: Window, reactions: Reactions) -> float:
    """Return the start of the widest window that the given one is a part of."""
    return min((one.window.started for one in reactions.windows if _holds(one.window, window)), default=window.started)


def retries_by_episode(reactions: Reactions) -> dict[tuple[str, float], int]:
    """Return the retries of each proxy in each episode; faults that overlap share them."""
    found: dict[tuple[str, float], int] = {}
    for window in reactions.windows:
        episode = episode_of(window.window, reactions)
        for one in window.proxies:
            key = one.proxy, episode
            found[key] = max(found.get(key, 0), one.retries.retries)
    return found


def _holds(outer: Window, inner: Window) -> bool:
    if outer.started > inner.started or not set(inner.faults) <= set(outer.faults):
        return False
    return outer.ended is None or (inner.ended is not None and inner.ended <= outer.ended)


def _failovers(told: WindowReaction, episode: float) -> Iterator[tuple[Subject, Event]]:
    for one in told.failovers:
        yield (
            (ServiceFailedOver.kind, one.service, one.old, one.new, episode),
            ServiceFailedOver(
                at=told.window.started + one.after_s, service=one.service, from_proxy=one.old, to_proxy=one.new,
                detect_s=_rounded(one.detect_s), after_s=round(one.after_s, 6), share=round(one.share, 6),
                faults=told.window.faults,
            ),
        )  # fmt: skip


def _on_proxies(told: WindowReaction, episode: float, reactions: Reactions) -> Iterator[tuple[Subject, Event]]:
    for one in told.proxies:
        yield from _breaker(one, told.window, episode)
        recovery = one.recovery
        if recovery is None or recovery.recovered_after_s is None:
            continue
        after_s = recovery.recovered_after_s
        if reactions.facts.end - recovery.healed < after_s + _SETTLED_S:
            continue
        yield (
            (ServiceRecovered.kind, one.proxy, recovery.healed),
            ServiceRecovered(
                at=recovery.healed + after_s, proxy=one.proxy, service=reactions.facts.proxies[one.proxy].service,
                recovered_after_s=round(after_s, 6), faults=told.window.faults,
            ),
        )  # fmt: skip


def _breaker(told: ProxyReaction, window: Window, episode: float) -> Iterator[tuple[Subject, Event]]:
    breaker = told.breaker
    if breaker is None:
        return
    yield (
        (CircuitOpened.kind, told.proxy, breaker.host, episode),
        CircuitOpened(
            at=breaker.opened_at, proxy=told.proxy, host=breaker.host, opened_after=breaker.opened_after,
            open_s=round(breaker.open_s, 6), trials=breaker.trials, confidence=breaker.confidence,
            faults=window.faults,
        ),
    )  # fmt: skip
    if breaker.closed_at is not None:
        yield (
            (CircuitClosed.kind, told.proxy, breaker.host, episode),
            CircuitClosed(
                at=breaker.closed_at, proxy=told.proxy, host=breaker.host,
                after_s=round(breaker.closed_at - breaker.opened_at, 6), trials=breaker.trials, faults=window.faults,
            ),
        )  # fmt: skip


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
