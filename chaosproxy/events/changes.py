"""Events of changes of proxies, faults and partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.events.base import PartitionEvent, ProxyEvent

__all__ = [
    "FaultAdded",
    "FaultChanged",
    "FaultExpired",
    "FaultRemoved",
    "ListenFailed",
    "ListenRecovered",
    "PartitionAdded",
    "PartitionExpired",
    "PartitionFlapped",
    "PartitionRemoved",
    "ProxyAdded",
    "ProxyChanged",
    "ProxyRemoved",
]


@dataclass(slots=True, kw_only=True)
class FaultAdded(ProxyEvent):
    """A fault was added."""

    kind: ClassVar[str] = "fault_added"
    fault: str
    type: str
    effective_mode: str
    """The mode in which the fault acts, packet or stream; empty if its type has no modes."""
    mode_reason: str
    """The reason why `auto` became stream; empty otherwise."""
    by: str
    """The origin of the change: rest, file, cli, scenario, ttl …"""


@dataclass(slots=True, kw_only=True)
class FaultChanged(ProxyEvent):
    """A fault got new settings, which also apply to everything that it holds."""

    kind: ClassVar[str] = "fault_changed"
    fault: str
    type: str
    effective_mode: str
    """The mode in which the fault acts, packet or stream; empty if its type has no modes."""
    mode_reason: str
    """The reason why `auto` became stream; empty otherwise."""
    by: str


@dataclass(slots=True, kw_only=True)
class FaultRemoved(ProxyEvent):
    """A fault was removed on request; everything that it held was released."""

    kind: ClassVar[str] = "fault_removed"
    fault: str
    type: str
    by: str


@dataclass(slots=True, kw_only=True)
class FaultExpired(ProxyEvent):
    """A fault was removed because its ttl ended; everything that it held was released."""

    kind: ClassVar[str] = "fault_expired"
    fault: str
    type: str


@dataclass(slots=True, kw_only=True)
class ProxyAdded(ProxyEvent):
    """A proxy was added."""

    kind: ClassVar[str] = "proxy_added"
    listen: str
    upstream: str
    by: str
    protocol: str = "tcp"
    service: str | None = None
    """The service whose alternatives the proxy is one of."""
    from_node: str | None = None
    to_node: str | None = None


@dataclass(slots=True, kw_only=True)
class ProxyChanged(ProxyEvent):
    """A proxy got a new listen address or upstream, or was enabled or disabled."""

    kind: ClassVar[str] = "proxy_changed"
    listen: str
    upstream: str
    enabled: bool
    by: str
    protocol: str = "tcp"
    service: str | None = None
    """The service whose alternatives the proxy is one of."""
    from_node: str | None = None
    to_node: str | None = None


@dataclass(slots=True, kw_only=True)
class ProxyRemoved(ProxyEvent):
    """A proxy was removed on request, and its connections were closed."""

    kind: ClassVar[str] = "proxy_removed"
    by: str


@dataclass(slots=True, kw_only=True)
class ListenFailed(ProxyEvent):
    """The proxy cannot listen again on an address after it has refused clients; it tries until it can."""

    kind: ClassVar[str] = "listen_failed"
    listen: str
    reason: str


@dataclass(slots=True, kw_only=True)
class ListenRecovered(ProxyEvent):
    """The proxy listens again on an address that it had lost."""

    kind: ClassVar[str] = "listen_recovered"
    listen: str


@dataclass(slots=True, kw_only=True)
class PartitionAdded(PartitionEvent):
    """A partition was added, on all its proxies at once."""

    kind: ClassVar[str] = "partition_added"
    cut: str
    """The pairs of nodes that are cut: `app>db` in one direction, `app<>db` in both."""
    proxies: int
    """The number of proxies that it cuts."""
    effective_mode: str
    """The mode, packet or stream; both, separated by a comma, if the proxies differ."""
    mode_reason: str
    """The reason why `auto` became stream; empty otherwise."""
    by: str


@dataclass(slots=True, kw_only=True)
class PartitionFlapped(PartitionEvent):
    """A partition that flaps was restored for a while, or cut again."""

    kind: ClassVar[str] = "partition_flapped"
    is_cut: bool


@dataclass(slots=True, kw_only=True)
class PartitionRemoved(PartitionEvent):
    """A partition was removed on request."""

    kind: ClassVar[str] = "partition_removed"
    by: str


@dataclass(slots=True, kw_only=True)
class PartitionExpired(PartitionEvent):
    """A partition was removed because its ttl ended."""

    kind: ClassVar[str] = "partition_expired"
