"""The gaps between attempts to connect that left no byte to recognise them by.

Such are attempts that a fault refused or reset (`ConnectionAttempt`), dials that failed, and connections that a fault
ended before their first byte. Only the client's host is known. So it must have one client, or else the attempts of
several are mixed up: in the time before the window it never had two connections open at once, and has had one.

A sequence begins with the first attempt that fails in the window, and ends with the first that succeeds. Chains with
bytes are those of `chains`. Nothing is claimed if some attempts have no event of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from statistics import median

from chaosproxy.reaction.backoff import Backoff, backoff_of
from chaosproxy.reaction.facts import Facts, ProxyFacts, host_of
from chaosproxy.reaction.pieces import AT_ONCE_S, are_equal, pieces_of
from chaosproxy.reaction.span import between
from chaosproxy.reaction.window import Window

__all__ = ["kept_out", "refused_backoff"]

_FEWEST = 3
"""Connections of a host before the window that show its usual rhythm."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt to connect."""

    opened: float
    ended: float
    """The time at which it failed; that of its opening if it did not."""
    has_failed: bool


def refused_backoff(proxy: ProxyFacts, window: Window, facts: Facts) -> Backoff | None:
    """Return the law of the gaps between attempts to connect in a window; None if none is claimed."""
    if any(one.suppressed for one in proxy.attempts if window.has(one.at)):
        return None
    sequences: list[list[float]] = []
    for host, attempts in _by_host(proxy, window).items():
        gaps = _gaps(attempts)
        usual = _usual(host, proxy, window)
        if not gaps or usual is None or _is_usual(gaps, usual):
            continue
        sequences += pieces_of(gaps) or _after_a_cut(gaps)
    return backoff_of(sequences)


def kept_out(proxy: ProxyFacts, window: Window) -> int:
    """Return the number of attempts to connect that a fault refused, or ended before the client's first byte."""
    names = {fault.removeprefix(proxy.name + "/") for fault in window.faults}
    end = inf if window.ended is None else window.ended
    refused = sum(
        one.suppressed + 1 for one in between(proxy.attempts, window.started, end)
        if one.met != "unanswered" and one.fault in names
    )  # fmt: skip
    ended = sum(
        one.cause == "injected" and not one.bytes_upstream and one.fault in names
        and window.has(one.at - one.lasted_s)
        for one in between(proxy.closed, window.started, end)
    )  # fmt: skip
    return refused + ended


def _by_host(proxy: ProxyFacts, window: Window) -> dict[str, list[_Attempt]]:
    """Return the attempts since the window's begin by host, in the order in which they began."""
    found: dict[str, list[_Attempt]] = {}
    for host, attempt in (*_failed(proxy, window), *_succeeded(proxy, window)):
        found.setdefault(host, []).append(attempt)
    return {host: sorted(attempts, key=lambda one: one.opened) for host, attempts in found.items()}


def _failed(proxy: ProxyFacts, window: Window) -> Iterator[tuple[str, _Attempt]]:
    for refused in proxy.attempts:
        if window.has(refused.at) and refused.met in ("refused", "reset"):
            yield host_of(refused.client), _Attempt(refused.at, refused.at, True)
    for failed in proxy.failed:
        if window.has(failed.at) and failed.reason == "dial_failed" and not failed.digest:
            yield host_of(failed.client), _Attempt(failed.at - failed.waited_s, failed.at, True)
    for closed in proxy.closed:
        if window.has(closed.at) and closed.cause == "injected" and not closed.bytes_upstream:
            yield host_of(closed.client), _Attempt(closed.at - closed.lasted_s, closed.at, True)


def _succeeded(proxy: ProxyFacts, window: Window) -> Iterator[tuple[str, _Attempt]]:
    silent = {one.connection for one in proxy.closed if one.cause == "injected" and not one.bytes_upstream}
    for opened in proxy.opened:
        at = opened.at - opened.dial_s
        if at >= window.started and opened.connection not in silent:
            yield host_of(opened.client), _Attempt(at, at, False)


def _gaps(attempts: list[_Attempt]) -> list[float]:
    """Return the seconds from the end of each failed attempt to the next, up to the first that succeeds."""
    gaps: list[float] = []
    last: _Attempt | None = None
    for attempt in attempts:
        if last is not None:
            gaps.append(attempt.opened - last.ended)
            if not attempt.has_failed:
                break
        if attempt.has_failed:
            last = attempt
    return gaps if all(gap >= 0 for gap in gaps) else []  # overlapping attempts are of several clients


def _after_a_cut(gaps: list[float]) -> list[list[float]]:
    """Return the pieces after the first, in which the fault began; none if the rest of that one does not fit.

    The attempt before was made on a connection that the fault has ended, so the first piece lacks its first gaps.
    """
    for start in range(1, len(gaps) // 2):
        found, rest = pieces_of(gaps[start:]) or [], gaps[: start - 1]
        if len(found) >= _FEWEST and len(rest) < len(found[0]):
            policy = found[0][len(found[0]) - len(rest) :]
            if all(are_equal(pair) for pair in zip(rest, policy, strict=True)):
                return found
    return []


def _usual(host: str, proxy: ProxyFacts, window: Window) -> list[float] | None:
    """Return the distances of a host's connections before the window; None unless it has one client."""
    opened = [one for one in proxy.opened if one.at <= window.started and host_of(one.client) == host]
    closed_at = {one.connection: one.at for one in proxy.closed}
    for before, after in zip(opened, opened[1:], strict=False):
        if closed_at.get(before.connection, float("inf")) > after.at:
            return None
    times = [one.at for one in opened]
    return [after - before for before, after in zip(times, times[1:], strict=False)] if opened else None


def _is_usual(gaps: list[float], usual: list[float]) -> bool:
    """Return whether equal gaps are the rhythm in which the client connects without a fault."""
    if len(usual) < _FEWEST:
        return False
    gap, period = median(gaps), median(usual)
    return abs(gap - period) <= max(AT_ONCE_S, 0.25 * gap)
