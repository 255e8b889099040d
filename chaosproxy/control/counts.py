"""The counts for metrics, as plain values that are made from the live objects when metrics are collected.

As in `control.status`, a value holds no live object. Histograms are copied, so that the counts of one
collection belong together and can be sent to another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from chaosproxy.control.listeners import reason_not_listening
from chaosproxy.faults.base import Direction
from chaosproxy.net.attempts import SharedTap
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.held import HeldBytes
from chaosproxy.tallies import FaultTally, Histogram, RouteTally, Side, TcpInfo

__all__ = ["Counts", "FaultCounts", "ProxyCounts", "RouteCounts", "counts_of", "proxy_counts"]

_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
_SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True, slots=True)
class FaultCounts:
    """The counts of one fault, which may have been removed."""

    name: str
    is_on: bool
    """False after the fault was removed."""
    connections: int
    messages: int
    chunks: int
    delay: Histogram


@dataclass(frozen=True, slots=True)
class RouteCounts:
    """The exchanges of one method and route."""

    method: str
    route: str
    statuses: tuple[int, ...]
    """Ended exchanges by the class of their status: number 5 counts 5xx, number 0 those without a response."""
    first_byte: Histogram
    last_byte: Histogram


@dataclass(frozen=True, slots=True)
class ProxyCounts:
    """The counts of one proxy."""

    name: str
    protocol: str
    is_listening: bool
    """True if clients can use its address, faults aside."""
    opened: int
    attempts: Mapping[str, int]
    """Connection attempts that a fault refused, left unanswered or reset, by result."""
    syn_retransmits: int
    too_many: int
    """Clients reset at once because the limit of connections was reached."""
    connections: int
    half_ended: int
    closed: Mapping[str, int]
    """Ended connections, by cause."""
    dial_failures: int
    dial: Histogram
    tls_handshakes: Mapping[tuple[Side, str], int]
    """TLS handshakes, by side and result."""
    tls_seconds: Mapping[Side, Histogram]
    bytes: Mapping[Direction, int]
    held: Mapping[Direction, int]
    dropped: Mapping[Direction, int]
    faults: tuple[FaultCounts, ...]
    modes: Mapping[str, str]
    """The mode of each active fault whose type has modes, by name."""
    tcp: Mapping[Side, tuple[TcpInfo, ...]]
    """The kernel's statistics for a sample of the open connections."""
    turns: Mapping[str, int]
    """Turns by result."""
    turn_seconds: Histogram
    open_turns: int
    routes: tuple[RouteCounts, ...]
    in_flight: int
    """HTTP requests without a complete response."""
    not_framed: int
    """Connections in HTTP mode that were not HTTP/1."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of the whole process."""

    proxies: tuple[ProxyCounts, ...]
    partitions: int
    cut: frozenset[tuple[str, str]]
    """The pairs of nodes (sender, receiver) that are cut now."""
    attempts_visible: bool
    """True if connection attempts that faults hide are visible on this machine."""
    missed: int
    """Packets of connection attempts that arrived too fast to be counted."""
    max_held: int
    """Bytes that faults may hold in the process."""
    times_full: int
    """How often they held that many."""


def counts_of(
    proxies: tuple[ProxyCounts, ...],
    partitions: int,
    cut: frozenset[tuple[str, str]],
    tap: SharedTap,
    held: HeldBytes,
) -> Counts:
    """Return the counts of the process; `partitions` is the number of partitions, `cut` the pairs cut now."""
    return Counts(proxies, partitions, cut, tap.capability.available, tap.missed, held.limit, held.times_full)


def proxy_counts(proxy: Proxy) -> ProxyCounts:
    """Return the counts of one proxy."""
    tally = proxy.tally
    active = {one.spec.name for one in proxy.faults} | proxy.http.caller_tallies().keys()
    return ProxyCounts(
        name=proxy.spec.name,
        protocol=proxy.spec.protocol,
        is_listening=not reason_not_listening(proxy),
        opened=tally.opened,
        attempts=dict(tally.attempts),
        syn_retransmits=tally.syn_retransmits,
        too_many=tally.too_many,
        connections=len(proxy.connections),
        half_ended=proxy.registry.half_ended(),
        closed=dict(tally.closed),
        dial_failures=tally.dial_failures,
        dial=tally.dial.copy(),
        tls_handshakes=dict(tally.tls_handshakes),
        tls_seconds={side: seconds.copy() for side, seconds in tally.tls_seconds.items()},
        bytes={direction: proxy.bytes(direction) for direction in _DIRECTIONS},
        held={direction: proxy.registry.held(direction) for direction in _DIRECTIONS},
        dropped={direction: proxy.dropped(direction) for direction in _DIRECTIONS},
        faults=tuple(_fault(name, name in active, counted) for name, counted in proxy.fault_tallies().items()),
        modes=proxy.fault_modes(),
        tcp={side: tuple(proxy.tcp(side)) for side in _SIDES},
        turns=dict(tally.turns),
        turn_seconds=tally.turn_seconds.copy(),
        open_turns=tally.open_turns,
        routes=tuple(_route(*where, counted) for where, counted in tally.routes.items() if any(counted.statuses)),
        in_flight=proxy.exchanges_in_flight(),
        not_framed=tally.not_framed,
    )


def _fault(name: str, is_on: bool, counted: FaultTally) -> FaultCounts:
    return FaultCounts(name, is_on, counted.connections, counted.messages, counted.chunks, counted.delay.copy())


def _route(method: str, route: str, counted: RouteTally) -> RouteCounts:
    return RouteCounts(method, route, tuple(counted.statuses), counted.first_byte, counted.last_byte)
