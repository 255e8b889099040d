"""TLS handshakes with a client or a server, as outcomes.

Nothing here knows a connection, a proxy or a fault: a handshake is given a socket and a context,
and returns `Secured` or `Failed`. Tallies, events and endings are the caller's work.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaosproxy.net.kernel.sockopts import abort_with_reset
from chaosproxy.net.timer.scheduler import Clock
from chaosproxy.net.tls.client_hello import MORE, Hello, read_hello
from chaosproxy.net.tls.peek import Peek
from chaosproxy.net.tls.transport import HandshakeFailed, TlsTransport

__all__ = ["Failed", "Secured", "accept_tls", "dial_tls", "peek_hello", "reset_peek"]


@dataclass(frozen=True, slots=True)
class Secured:
    """Both sides have agreed; `transport.start` feeds a protocol with what follows."""

    transport: TlsTransport
    took_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no TLS with this peer."""

    reason: str
    """In words."""
    transport: TlsTransport
    """To be ended with `end()`, so that the alert that says why reaches the peer."""


async def peek_hello(peek: Peek, within: float) -> Hello | None:
    """Wait for a client's first message; None where it is no ClientHello, or not whole in `within` seconds.

    :raises PeerLeft: it left before.
    """
    await peek.until(lambda: read_hello(peek.data) is not MORE, within)
    found = read_hello(peek.data)
    return found if isinstance(found, Hello) else None


async def accept_tls(
    peek: Peek, transport: asyncio.Transport, context: ssl.SSLContext, within: float, clock: Clock
) -> Secured | Failed:
    """Shake hands with a client, whose first bytes `peek` may hold."""
    return await _shake(peek, TlsTransport(transport, context, server_side=True), within, clock)


async def dial_tls(
    dial: Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]],
    secure: Callable[[asyncio.Transport], TlsTransport],
    within: float,
    clock: Clock,
) -> Secured | Failed | None:
    """Dial a server and shake hands with it, all within `within` seconds; None where it left at once.

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
    left = max(0.001, within - (clock() - started))
    return await _shake(peek, secure(peek.transport), left, clock)


async def _shake(peek: Peek, transport: TlsTransport, within: float, clock: Clock) -> Secured | Failed:
    began = clock()
    try:
        await transport.handshake(peek.data, peek.ended, within)
    except HandshakeFailed as error:
        return Failed(str(error), transport)
    except BaseException:
        peek.transport = None
        abort_with_reset(transport)
        raise
    return Secured(transport, clock() - began)


def reset_peek(peek: Peek) -> None:
    """End a socket that nobody has taken over with RST."""
    transport, peek.transport = peek.transport, None  # uvloop may have closed it by itself, which calls no protocol
    if transport is not None:
        abort_with_reset(transport)
