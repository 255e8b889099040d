"""TLS handshakes with a client or a server, which return an outcome.

This module knows no connection, proxy or fault: a handshake is given a socket and a context, and
returns `Secured` or `Failed`. The caller counts it, publishes events and ends the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaosproxy.endings import How
from chaosproxy.net.kernel.sockopts import abort_with_reset
from chaosproxy.net.timer.scheduler import Clock
from chaosproxy.net.tls.client_hello import MORE, Hello, read_hello
from chaosproxy.net.tls.peek import Peek
from chaosproxy.net.tls.transport import HandshakeFailed, TlsTransport

__all__ = ["Failed", "Secured", "accept_tls", "dial_tls", "peek_hello", "reset_peek"]


@dataclass(frozen=True, slots=True)
class Secured:
    """The handshake is complete; `transport.start` passes the data that follows to a protocol."""

    transport: TlsTransport
    took_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The handshake with this peer failed."""

    reason: str
    """The reason, in words."""
    transport: TlsTransport
    """The transport; the caller ends it with `end()`, so that the TLS alert with the reason reaches the peer."""
    how_left: How | None
    """How the peer ended the connection; None if the end is on this side."""


async def peek_hello(peek: Peek, within: float) -> Hello | None:
    """Wait for a client's first message; return None if it is not a ClientHello, or incomplete after `within` seconds.

    :raises PeerLeft: the client left before.
    """
    await peek.wait_for(lambda: read_hello(peek.data) is not MORE, within)
    found = read_hello(peek.data)
    return found if isinstance(found, Hello) else None


async def accept_tls(
    peek: Peek, transport: asyncio.Transport, context: ssl.SSLContext, within: float, remaining: float, clock: Clock
) -> Secured | Failed:
    """Perform the handshake with a client, whose first bytes `peek` may hold; `remaining` of `within` seconds."""
    return await _handshake(peek, TlsTransport(transport, context, server_side=True), within, remaining, clock)


async def dial_tls(
    dial: Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]],
    secure: Callable[[asyncio.Transport], TlsTransport],
    within: float,
    clock: Clock,
) -> Secured | Failed | None:
    """Dial a server and perform the handshake, both within `within` seconds; return None if it left at once.

    :raises DialError: from `dial`.
    """
    peek = Peek()
    started = clock()
    try:
        await dial(lambda: peek)
    except BaseException:
        reset_peek(peek)
        raise
    if peek.transport is None:
        return None
    return await _handshake(peek, secure(peek.transport), within, within - (clock() - started), clock)


async def _handshake(
    peek: Peek, transport: TlsTransport, within: float, remaining: float, clock: Clock
) -> Secured | Failed:
    began = clock()
    try:
        async with asyncio.timeout(max(0.001, remaining)):
            await transport.handshake(peek.data, peek.ended)
    except TimeoutError:
        return Failed(f"no TLS handshake within {within:g} s", transport, None)
    except HandshakeFailed as error:
        return Failed(str(error), transport, error.how_left)
    except BaseException:
        peek.transport = None
        abort_with_reset(transport)
        raise
    return Secured(transport, clock() - began)


def reset_peek(peek: Peek) -> None:
    """Reset a socket whose protocol is still `peek`."""
    transport, peek.transport = peek.transport, None  # uvloop may close it by itself, without calling the protocol
    if transport is not None:
        abort_with_reset(transport)
