"""What happened, in the past tense, and a small synchronous bus that tells it.

An event is made per connection, dial or change of a fault; never per chunk of data.
Events are not changed once made. They are not frozen dataclasses, because four are made per
connection, and a frozen one takes 3 µs to make where these take 1.
Listeners are called in the order they subscribed, in the loop's own thread; one that
raises is logged and does not keep the others from hearing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosproxy.endings import Cause, How
from chaosproxy.tallies import Side

__all__ = [
    "Bus",
    "ClientEnded",
    "ClientHello",
    "ConnectionAttempt",
    "ConnectionClosed",
    "ConnectionOpened",
    "DialFailed",
    "Event",
    "FaultAdded",
    "FaultChanged",
    "FaultExpired",
    "FaultRemoved",
    "MessageTouched",
    "Met",
    "NotFramed",
    "PartitionAdded",
    "PartitionEvent",
    "PartitionExpired",
    "PartitionFlapped",
    "PartitionRemoved",
    "PeerEnded",
    "ProxyAdded",
    "ProxyChanged",
    "ProxyEvent",
    "ProxyRemoved",
    "ServerEnded",
    "TlsFailed",
]

Met = Literal["refused", "unanswered", "reset"]
"""How a fault answers a connection attempt: with RST, not at all, or with RST once it is accepted."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Event:
    """A past-tense fact."""

    kind: ClassVar[str] = "event"
    at: float = field(default=0.0)
    """Seconds on the data plane's clock."""


@dataclass(slots=True, kw_only=True)
class ProxyEvent(Event):
    """A past-tense fact about one proxy."""

    proxy: str


@dataclass(slots=True, kw_only=True)
class PartitionEvent(Event):
    """A past-tense fact about one partition."""

    partition: str


@dataclass(slots=True, kw_only=True)
class ConnectionOpened(ProxyEvent):
    """A client was accepted and its upstream reached."""

    kind: ClassVar[str] = "connection_opened"
    connection: int
    dial_s: float


@dataclass(slots=True, kw_only=True)
class ConnectionAttempt(ProxyEvent):
    """A fault kept a client from connecting; some per second are published, so that a storm stays readable."""

    kind: ClassVar[str] = "connection_attempt"
    client: str
    """The client's address and port."""
    met: Met
    fault: str
    suppressed: int
    """Attempts before this one that met the same and were not published."""


@dataclass(slots=True, kw_only=True)
class ConnectionClosed(ProxyEvent):
    """Both sockets of a connection are gone."""

    kind: ClassVar[str] = "connection_closed"
    connection: int
    client: str
    """Its address."""
    cause: Cause
    first: Side | None
    """The side that ended first by itself; None where neither did."""
    client_ended_s: float | None
    """Seconds from accept until the client ended by itself; None where it did not."""
    server_ended_s: float | None
    detail: str
    """In words: which side, which fault, which error."""
    lasted_s: float
    bytes_upstream: int
    bytes_downstream: int


@dataclass(slots=True, kw_only=True)
class PeerEnded(ProxyEvent):
    """One side ended by itself; published when the end arrives, even while a fault holds it back.

    A side that resets after its end-of-stream is published twice, with `how` fin and then reset.
    """

    connection: int
    how: How
    after_s: float
    """Seconds since accept."""
    held_by: str | None
    """The fault that holds the end back from the other side; None where none does."""
    error: str
    """The reason in words, where there is one."""
    bytes_upstream: int
    """Bytes that the client had sent by then."""
    bytes_downstream: int


@dataclass(slots=True, kw_only=True)
class ClientEnded(PeerEnded):
    """The client closed its side, or its socket is gone."""

    kind: ClassVar[str] = "client_ended"


@dataclass(slots=True, kw_only=True)
class ServerEnded(PeerEnded):
    """The server closed its side, or its socket is gone."""

    kind: ClassVar[str] = "server_ended"


@dataclass(slots=True, kw_only=True)
class DialFailed(ProxyEvent):
    """The upstream could not be reached; the client was reset."""

    kind: ClassVar[str] = "dial_failed"
    connection: int
    upstream: str
    reason: str
    after_s: float


@dataclass(slots=True, kw_only=True)
class MessageTouched(ProxyEvent):
    """A fault touched an HTTP message; told of some per second, so that a storm of them stays readable."""

    kind: ClassVar[str] = "message_touched"
    fault: str
    type: str
    connection: int
    exchange: int
    method: str
    path: str
    """As sent, without the query, and no longer than a line."""
    suppressed: int
    """Messages that the fault touched since the last event of this kind, and that were not told of."""


@dataclass(slots=True, kw_only=True)
class NotFramed(ProxyEvent):
    """The first connection of a proxy in HTTP mode that carries something else; it goes on as a stream, or is reset."""

    kind: ClassVar[str] = "not_framed"
    reason: str


@dataclass(slots=True, kw_only=True)
class TlsFailed(ProxyEvent):
    """TLS with a client came to nothing, or TLS with either side broke off later."""

    kind: ClassVar[str] = "tls_failed"
    connection: int
    side: str
    """client or server."""
    reason: str
    """In words: `client does not trust our certificate (alert unknown ca)`."""
    fault: str
    """The fault that brought it about; empty where none did."""


@dataclass(slots=True, kw_only=True)
class ClientHello(ProxyEvent):
    """A client asked for a server by name; TLS itself passed through untouched."""

    kind: ClassVar[str] = "client_hello"
    connection: int
    sni: str
    """Empty where it named none."""
    alpn: str
    """The application protocols it offers, with commas between."""


@dataclass(slots=True, kw_only=True)
class FaultAdded(ProxyEvent):
    """A fault began to act."""

    kind: ClassVar[str] = "fault_added"
    fault: str
    type: str
    effective_mode: str
    """packet or stream, where the type has modes: what `auto` has become."""
    mode_reason: str
    """Why `auto` became stream."""
    by: str
    """Who asked: rest, file, cli, scenario, ttl …"""


@dataclass(slots=True, kw_only=True)
class FaultChanged(ProxyEvent):
    """A fault got new settings; what it held was timed anew."""

    kind: ClassVar[str] = "fault_changed"
    fault: str
    type: str
    effective_mode: str
    """packet or stream, where the type has modes: what `auto` has become."""
    mode_reason: str
    """Why `auto` became stream."""
    by: str


@dataclass(slots=True, kw_only=True)
class FaultRemoved(ProxyEvent):
    """A fault ended because somebody asked; what it held was released."""

    kind: ClassVar[str] = "fault_removed"
    fault: str
    type: str
    by: str


@dataclass(slots=True, kw_only=True)
class FaultExpired(ProxyEvent):
    """A fault's ttl ran out; what it held was released."""

    kind: ClassVar[str] = "fault_expired"
    fault: str
    type: str


@dataclass(slots=True, kw_only=True)
class ProxyAdded(ProxyEvent):
    """A proxy began to exist."""

    kind: ClassVar[str] = "proxy_added"
    listen: str
    upstream: str
    by: str


@dataclass(slots=True, kw_only=True)
class ProxyChanged(ProxyEvent):
    """A proxy got a new listen address or upstream, or was enabled or disabled."""

    kind: ClassVar[str] = "proxy_changed"
    listen: str
    upstream: str
    enabled: bool
    by: str


@dataclass(slots=True, kw_only=True)
class ProxyRemoved(ProxyEvent):
    """A proxy and its connections ended because somebody asked."""

    kind: ClassVar[str] = "proxy_removed"
    by: str


@dataclass(slots=True, kw_only=True)
class PartitionAdded(PartitionEvent):
    """A partition began, on all its proxies at once."""

    kind: ClassVar[str] = "partition_added"
    cut: str
    """The pairs that no longer hear each other: `app>db` one way, `app<>db` both."""
    proxies: int
    """How many it goes through."""
    effective_mode: str
    """packet or stream; both, separated by a comma, where proxies differ."""
    mode_reason: str
    """Why `auto` became stream."""
    by: str


@dataclass(slots=True, kw_only=True)
class PartitionFlapped(PartitionEvent):
    """A flaky link came back for a while, or was cut again."""

    kind: ClassVar[str] = "partition_flapped"
    is_cut: bool


@dataclass(slots=True, kw_only=True)
class PartitionRemoved(PartitionEvent):
    """A partition was healed because somebody asked."""

    kind: ClassVar[str] = "partition_removed"
    by: str


@dataclass(slots=True, kw_only=True)
class PartitionExpired(PartitionEvent):
    """A partition's ttl ran out."""

    kind: ClassVar[str] = "partition_expired"


class Bus:
    """Tells every event to every subscriber, at once."""

    def __init__(self) -> None:
        self._subscribers: tuple[Callable[[Event], None], ...] = ()

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Have `subscriber` called with every event from now on; answers how to end that."""
        self._subscribers += (subscriber,)

        def end() -> None:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)

        return end

    def publish(self, event: Event) -> None:
        """Call every subscriber with `event`."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # a subscriber's defect must not end a connection
                logger.exception("a subscriber failed on %s", event.kind)
