"""The times in which a host tried something at a proxy, and the silences between them.

Turns whose times are known or bounded are joined to clusters: an idle time of less than 1 s within one says nothing,
since the answers of an interval are known by their first and last only. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaosproxy.events import FaultAdded, FaultChanged, PartitionAdded
from chaosproxy.reaction.attempts import FailedAttempt
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.load import Answers
from chaosproxy.reaction.window import Window

__all__ = ["Cluster", "clusters", "hides_clients", "is_waiting"]

SILENT_S = 1.0
"""The shortest idle time that is a silence."""

_HIDING = {"unreachable", "slow_accept", "pause"}
"""Faults under which clients wait for a connection, and the proxy sees nothing of it."""
_MAY_HIDE = {"partition", "packet_loss"}
"""Faults that drop packets where the mode is packet, so that neither bytes nor ends arrive."""


@dataclass(slots=True)
class Cluster:
    """Attempts with less than 1 s of idle time between each and the next."""

    begin: float
    end: float
    failed: list[FailedAttempt] = field(default_factory=list)
    good: list[Answers] = field(default_factory=list)
    idle: list[tuple[float, float]] = field(default_factory=list)
    """The idle times within it: when each began, and its seconds."""

    @property
    def failures(self) -> int:
        return sum(one.number for one in self.failed)


def clusters(failed: Sequence[FailedAttempt], good: Sequence[Answers]) -> list[Cluster]:
    """Join failed attempts and answers of one host to clusters, in the order of time."""
    items: list[tuple[float, float, FailedAttempt | Answers]] = [(one.opened, one.ended, one) for one in failed]
    items += [(one.first, one.last, one) for one in good]
    found: list[Cluster] = []
    for begin, end, item in sorted(items, key=lambda one: one[:2]):
        if not found or begin - found[-1].end >= SILENT_S:
            found.append(Cluster(begin, end))
        last = found[-1]
        if begin > last.end:
            last.idle.append((last.end, begin - last.end))
        last.end = max(last.end, end)
        if isinstance(item, Answers):
            last.good.append(item)
        else:
            last.failed.append(item)
    return found


def is_waiting(proxy: ProxyFacts, begin: float, end: float) -> bool:
    """Return whether a turn was open at the end of an interval that ended between two times."""
    return any(one.open for one in proxy.counted if begin < one.at < end)


def hides_clients(facts: Facts, window: Window, proxy: ProxyFacts) -> bool:
    """Return whether a fault of the window may keep the attempts of clients from being seen."""
    if _HIDING & set(window.types):
        return True
    if any(one.met == "unanswered" and window.has(one.at) for one in proxy.attempts):
        return True
    if not _MAY_HIDE & set(window.types):
        return False
    changes = [one for one in facts.events if isinstance(one, FaultAdded | FaultChanged | PartitionAdded)]
    modes = [one.effective_mode for one in changes if one.at <= window.started or window.has(one.at)]
    return not modes or any("packet" in mode for mode in modes)
