"""Events of connections, and of the messages on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.endings import Cause, How
from chaosproxy.events.base import ProxyEvent
from chaosproxy.tallies import Side

__all__ = [
    "ClientEnded",
    "ClientHello",
    "ConnectionAttempt",
    "ConnectionClosed",
    "ConnectionOpened",
    "DialFailed",
    "MessageTouched",
    "Met",
    "NotFramed",
    "PeerEnded",
    "ServerEnded",
    "TlsFailed",
    "TooManyConnections",
]

Met = Literal["refused", "unanswered", "reset"]
"""The result of an attempt that a fault keeps out: RST in response to the SYN, no response, or RST after the accept."""


@dataclass(slots=True, kw_only=True)
class ConnectionOpened(ProxyEvent):
    """A client was accepted, and the upstream was connected."""

    kind: ClassVar[str] = "connection_opened"
    connection: int
    client: str
    """The address of the client."""
    dial_s: float


@dataclass(slots=True, kw_only=True)
class ConnectionAttempt(ProxyEvent):
    """A fault kept a client from connecting; published for some attempts per second, so that the log stays readable."""

    kind: ClassVar[str] = "connection_attempt"
    client: str
    """The client's address and port."""
    met: Met
    fault: str
    suppressed: int
    """Attempts before this one with the same fault and result, without an event of their own."""


@dataclass(slots=True, kw_only=True)
class TooManyConnections(ProxyEvent):
    """A client was reset at once, because the limit of connections was reached; published once per second at most."""

    kind: ClassVar[str] = "too_many_connections"
    client: str
    """The client's address and port."""
    most: int
    """The most connections that can be open in the process."""
    suppressed: int
    """Clients reset before this one without an event of their own."""


@dataclass(slots=True, kw_only=True)
class ConnectionClosed(ProxyEvent):
    """Both sockets of a connection are gone."""

    kind: ClassVar[str] = "connection_closed"
    connection: int
    client: str
    """The address of the client."""
    cause: Cause
    how: How
    """The way in which it ended, or in which the first side ended it."""
    fault: str
    """The fault that ended it, or that kept a client waiting until it left; empty if there is none."""
    error: str
    """The reason in words, if the kernel, TLS or a setting gives one; else empty."""
    first: Side | None
    """The side that ended first; None if neither side has ended the connection."""
    client_ended_s: float | None
    """Seconds from accept until the client ended; None if it has not."""
    server_ended_s: float | None
    """Seconds from accept until the server ended; None if it has not."""
    detail: str
    """The ending in words, with the side, fault or error that caused it."""
    lasted_s: float
    bytes_upstream: int
    bytes_downstream: int


@dataclass(slots=True, kw_only=True)
class PeerEnded(ProxyEvent):
    """One side ended; published when the end arrives, even while a fault holds it back.

    If a side resets after its end-of-stream, the event is published twice, with `how` fin and then reset.
    """

    connection: int
    how: How
    after_s: float
    """Seconds since accept."""
    held_by: str | None
    """The fault that holds the end back from the other side; None if none does."""
    error: str
    """The reason in words; empty if there is none."""
    bytes_upstream: int
    """Bytes received from the client so far."""
    bytes_downstream: int
    """Bytes received from the server so far."""


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
    code: str = ""
    """A code of `errors.Code`, if the reason has one; else empty."""
    after_s: float


@dataclass(slots=True, kw_only=True)
class MessageTouched(ProxyEvent):
    """A fault acted on an HTTP message; published for some messages per second, so that the log stays readable."""

    kind: ClassVar[str] = "message_touched"
    fault: str
    type: str
    connection: int
    exchange: int
    method: str
    path: str
    """The requested path without its query, cut to the length of a line."""
    suppressed: int
    """Messages on which the fault acted since its last event of this kind, without an event of their own."""


@dataclass(slots=True, kw_only=True)
class NotFramed(ProxyEvent):
    """The first connection of a proxy in HTTP mode was not HTTP/1; it continues as a byte stream, or was reset."""

    kind: ClassVar[str] = "not_framed"
    reason: str


@dataclass(slots=True, kw_only=True)
class TlsFailed(ProxyEvent):
    """The TLS handshake with a client failed, or TLS with either side failed later."""

    kind: ClassVar[str] = "tls_failed"
    connection: int
    side: str
    """client or server."""
    reason: str
    """The reason in words, such as `client does not trust the proxy's certificate (alert unknown ca)`."""
    fault: str
    """The fault that caused it; empty if none did."""


@dataclass(slots=True, kw_only=True)
class ClientHello(ProxyEvent):
    """A client sent a ClientHello, which a fault may match."""

    kind: ClassVar[str] = "client_hello"
    connection: int
    sni: str
    """The requested server name; empty if there is none."""
    alpn: str
    """The offered application protocols, separated by commas."""
