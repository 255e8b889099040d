"""The events of a journal, by proxy and kind, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chaosproxy.events import (
    AnswerCut,
    AnswerLate,
    ClientGaveUp,
    ConnectionAttempt,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    Event,
    FaultAdded,
    FaultChanged,
    FaultExpired,
    FaultRemoved,
    HalfClosed,
    PartitionAdded,
    PartitionExpired,
    PartitionRemoved,
    PeerEnded,
    ProxyAdded,
    ProxyChanged,
    ProxyEvent,
    ProxyRemoved,
    TurnEvent,
    TurnFailed,
    TurnRepeated,
    TurnsCounted,
)

__all__ = ["CHANGES", "Facts", "ProxyFacts", "facts_of", "host_of"]


@dataclass(slots=True)
class ProxyFacts:
    """The events of one proxy, by kind, each list in the order of `at`."""

    name: str
    protocol: str = "tcp"
    service: str | None = None
    from_node: str | None = None
    to_node: str | None = None
    counted: list[TurnsCounted] = field(default_factory=list)
    gave_up: list[ClientGaveUp] = field(default_factory=list)
    half_closed: list[HalfClosed] = field(default_factory=list)
    failed: list[TurnFailed] = field(default_factory=list)
    repeated: list[TurnRepeated] = field(default_factory=list)
    late: list[AnswerLate] = field(default_factory=list)
    cut: list[AnswerCut] = field(default_factory=list)
    opened: list[ConnectionOpened] = field(default_factory=list)
    closed: list[ConnectionClosed] = field(default_factory=list)
    dial_failed: list[DialFailed] = field(default_factory=list)
    attempts: list[ConnectionAttempt] = field(default_factory=list)
    ended: list[PeerEnded] = field(default_factory=list)

    @property
    def failures(self) -> list[TurnEvent]:
        """The failed attempts: turns on which the client gave up, and those that failed for another reason."""
        return sorted([*self.gave_up, *self.failed], key=lambda event: event.at)


@dataclass(slots=True)
class Facts:
    """A journal, or the part of it that is told of."""

    proxies: dict[str, ProxyFacts]
    events: list[Event]
    """All events but inferred ones, in the order of `at`."""
    changes: list[Event]
    """Those of them that are changes of proxies, faults and partitions: a few of a hundred thousand."""
    begin: float
    """The time of the first event."""
    end: float
    """The time at which the journal was read, or of its last event."""
    windows: object = None
    """The windows of faults once `windows_of` has found them, since each inference asks for them."""
    _last_seen: dict[str, float] = field(default_factory=dict, repr=False)

    def last_seen(self) -> Mapping[str, float]:
        """Return the last time at which each host did something, which is found once for all windows."""
        if not self._last_seen:
            for proxy in self.proxies.values():
                for events in (proxy.opened, proxy.gave_up, proxy.failed):
                    for one in events:
                        self._note(host_of(one.client), one.at)
                for counted in proxy.counted:
                    for host, (_, _, since) in counted.clients.items():
                        self._note(host, counted.at - since)
        return self._last_seen

    def _note(self, host: str, at: float) -> None:
        self._last_seen[host] = max(self._last_seen.get(host, 0.0), at)

    def services(self) -> dict[str, list[ProxyFacts]]:
        """Return the proxies of each service that has two or more."""
        found: dict[str, list[ProxyFacts]] = {}
        for proxy in self.proxies.values():
            if proxy.service is not None:
                found.setdefault(proxy.service, []).append(proxy)
        return {name: proxies for name, proxies in found.items() if len(proxies) > 1}


CHANGES = (
    ProxyAdded, ProxyChanged, ProxyRemoved, FaultAdded, FaultChanged, FaultRemoved, FaultExpired,
    PartitionAdded, PartitionRemoved, PartitionExpired,
)  # fmt: skip
"""The kinds of events of which windows are made, and the state of proxies."""

_LISTS: dict[type[Event], str] = {
    TurnsCounted: "counted", TurnFailed: "failed", TurnRepeated: "repeated",
    AnswerLate: "late", AnswerCut: "cut", ConnectionOpened: "opened", ConnectionClosed: "closed",
    DialFailed: "dial_failed", ConnectionAttempt: "attempts",
}  # fmt: skip


def facts_of(events: Iterable[Event], end: float | None = None) -> Facts:
    """Sort the events of a journal; `end` is the time at which it was read, else that of its last event."""
    ordered = sorted((one for one in events if not one.is_inferred), key=lambda event: event.at)
    proxies: dict[str, ProxyFacts] = {}
    pending: dict[tuple[str, int, int], ClientGaveUp] = {}
    for event in ordered:
        if not isinstance(event, ProxyEvent):
            continue
        proxy = proxies.setdefault(event.proxy, ProxyFacts(event.proxy))
        if isinstance(event, ProxyAdded | ProxyChanged):
            proxy.protocol, proxy.service = event.protocol, event.service
            proxy.from_node, proxy.to_node = event.from_node, event.to_node
        elif isinstance(event, PeerEnded):
            proxy.ended.append(event)
        elif isinstance(event, ClientGaveUp | HalfClosed):
            turn = event.proxy, event.connection, event.turn
            if (old := pending.pop(turn, None)) is not None:  # each turn is given up once, or not at all
                proxy.gave_up.remove(old)
            if isinstance(event, HalfClosed):
                proxy.half_closed.append(event)
            else:
                proxy.gave_up.append(event)
                if event.is_pending:
                    pending[turn] = event
        elif (name := _LISTS.get(type(event))) is not None:
            getattr(proxy, name).append(event)
    begin = ordered[0].at if ordered else 0.0
    last = ordered[-1].at if ordered else 0.0
    changes: list[Event] = [one for one in ordered if isinstance(one, CHANGES)]
    return Facts(proxies, ordered, changes, begin, last if end is None else max(last, end))


def host_of(client: str) -> str:
    """Return the host of a client's address, which is `host:port`, `[host]:port` or `unix`."""
    return client.rpartition(":")[0] or client
