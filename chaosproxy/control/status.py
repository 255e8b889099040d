"""The running state as plain values, which are made from the live objects and used by the views of REST.

    Proxy, ActiveFault, Connection, ActivePartition ─▶ ProxyStatus, FaultStatus, ConnectionStatus, PartitionStatus

A status is frozen, compares by value and holds no socket, task or live object, so that it can be
sent to another process. Times are on the data plane's clock; a view converts them to dates. The counts
for metrics are in `control.counts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from chaosproxy.control.listeners import real_address, reason_not_listening
from chaosproxy.control.origin import Origin
from chaosproxy.control.partitions import ActivePartition
from chaosproxy.endings import How
from chaosproxy.events import Shape
from chaosproxy.faults.base import Direction, Mode
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.partition import PartitionSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.topology import Cut, Pair
from chaosproxy.net.kernel.sockopts import tcp_info_of
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.arrivals import SideEnd
from chaosproxy.net.stream.connection import Connection
from chaosproxy.tallies import Side, TcpInfo

__all__ = [
    "ConnectionStatus", "FaultStatus", "PartStatus", "PartitionStatus", "ProxyStatus", "SideStatus",
    "connection_status", "fault_status", "partition_status", "proxy_status",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class FaultStatus:
    """A fault on one proxy."""

    spec: FaultSpec
    mode: Mode | None
    """The mode in which it acts; None if its type has no modes."""
    why: str
    """The reason why `auto` became stream; empty otherwise."""
    attempts_obstacle: str | None
    """The reason why attempts that the fault hides are not visible; empty if they are, None if it hides none."""
    origin: Origin


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """A proxy, its faults and its traffic."""

    spec: ProxySpec
    listen: Address
    """The address for clients: the desired one, with the port that the kernel has chosen if port 0 was given."""
    listening_on: tuple[Address, ...]
    """Every address that clients can use, with its real port; empty if the proxy is disabled."""
    not_listening: str
    """The reason why the proxy does not listen; empty if it does, or if a fault refuses its clients."""
    connections: int
    bytes_upstream: int
    bytes_downstream: int
    turns: Mapping[str, int]
    """Turns `answered`, `failed`, on which the client `gave_up`, and `open`; counted once a second."""
    severed: frozenset[Direction]
    """The directions in which nothing passes."""
    partitions: tuple[str, ...]
    """The ids of the partitions that cut it."""
    faults: tuple[FaultStatus, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class SideStatus:
    """The end of one side of an open connection."""

    how: How
    after_s: float
    """Seconds from accept to its arrival."""
    held_by: str | None
    """The fault that now keeps it from the other side; None if none does."""


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """An open connection."""

    proxy: str
    ordinal: int
    client_address: str
    """The address of the client."""
    open_for_s: float
    bytes_upstream: int
    bytes_downstream: int
    first: Side | None
    """The side that ended first; None if neither has, or if the network failed first."""
    client: SideStatus | None
    """The end of the client's side; None if it has not ended."""
    server: SideStatus | None
    """The end of the server's side; None if it has not ended."""
    shape: Shape
    """The shape of the conversation so far."""
    turns: int
    """Turns that the client has opened."""
    turn_open_for_s: float | None
    """The age of the open turn; None if none is open."""
    held: Mapping[Direction, int]
    """Bytes that faults hold."""
    faults: tuple[str, ...]
    """The faults that touch the connection."""
    tcp: Mapping[Side, TcpInfo | None]
    """The kernel's statistics of both sockets; None where it has none."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The part of a partition in one proxy."""

    proxy: str
    mode: Mode | None
    why: str
    """The reason why `auto` became stream; empty otherwise."""
    attempts_obstacle: str
    """The reason why connection attempts that it hides are not visible; empty if they are."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """A partition."""

    spec: PartitionSpec
    cut: Cut
    """The pairs of nodes (sender, receiver) that it cuts."""
    pairs: tuple[Pair, ...]
    """The same pairs in order."""
    is_cut: bool
    """False while a flaky link is up."""
    parts: tuple[PartStatus, ...]
    origin: Origin
    lasts: float | None
    """Seconds from its beginning to its end; None if it stays until it is removed."""

    @property
    def modes(self) -> list[Mode]:
        """The modes in which it acts: one, or both if proxies differ."""
        return sorted({part.mode for part in self.parts if part.mode is not None})

    @property
    def why(self) -> str:
        """The reason why `auto` became stream, on the first proxy where it did; empty if it did on none."""
        return next((part.why for part in self.parts if part.why), "")


_TURNS = ("answered", "failed", "gave_up")


def proxy_status(proxy: Proxy, origin: Origin, of_fault: Callable[[str], Origin]) -> ProxyStatus:
    """Return the status of a proxy; `of_fault` returns the origin of a fault by its name."""
    return ProxyStatus(
        spec=proxy.spec,
        listen=real_address(proxy),
        listening_on=tuple(proxy.listening_on),
        not_listening=reason_not_listening(proxy),
        connections=len(proxy.connections),
        bytes_upstream=proxy.bytes("upstream"),
        bytes_downstream=proxy.bytes("downstream"),
        turns={**{one: proxy.tally.turns[one] for one in _TURNS}, "open": proxy.tally.open_turns},
        severed=frozenset(direction for direction in get_args(Direction) if proxy.severed(direction)),
        partitions=tuple(proxy.partitions),
        faults=tuple(fault_status(proxy, fault, of_fault(fault.name)) for fault in proxy.spec.faults),
        origin=origin,
    )


def fault_status(proxy: Proxy, fault: FaultSpec, origin: Origin) -> FaultStatus:
    """Return the status of a fault on a proxy."""
    active = proxy.active_fault(fault.name)
    mode, why = (None, "") if active is None else (active.resolved.mode, active.resolved.why)
    hides = active is not None and active.hides is not None
    return FaultStatus(fault, mode, why, proxy.attempts_obstacle() if hides else None, origin)


def connection_status(connection: Connection) -> ConnectionStatus:
    """Return the status of an open connection."""
    now, turns = connection.scheduler.clock(), connection.turns
    return ConnectionStatus(
        proxy=connection.owner.name,
        ordinal=connection.ordinal,
        client_address=connection.client_address,
        open_for_s=now - connection.accepted_at,
        bytes_upstream=connection.upstream.bytes,
        bytes_downstream=connection.downstream.bytes,
        first=connection.arrivals.first_side,
        client=_side_status(connection, connection.arrivals.client),
        server=_side_status(connection, connection.arrivals.server),
        shape=turns.shape,
        turns=turns.number,
        turn_open_for_s=None if turns.open_since is None else now - turns.open_since,
        held={"upstream": connection.upstream.held, "downstream": connection.downstream.held},
        faults=turns.faults,
        tcp={
            "client": tcp_info_of(connection.upstream.source), "server": tcp_info_of(connection.downstream.source)
        },
    )  # fmt: skip


def _side_status(connection: Connection, end: SideEnd | None) -> SideStatus | None:
    return None if end is None else SideStatus(end.ending.how, end.after_s, connection.held_by(end.side))


def partition_status(active: ActivePartition, proxies: Iterable[Proxy]) -> PartitionStatus:
    """Return the status of a partition; `proxies` are all running proxies."""
    obstacles = {proxy.spec.name: proxy.attempts_obstacle() for proxy in proxies if proxy.spec.name in active.parts}
    return PartitionStatus(
        spec=active.spec,
        cut=active.cut,
        pairs=active.pairs,
        is_cut=active.is_cut,
        parts=tuple(
            PartStatus(name, part.mode, part.why, obstacles.get(name, "")) for name, part in active.parts.items()
        ),
        origin=Origin(active.by, active.since),
        lasts=active.lasts,
    )
