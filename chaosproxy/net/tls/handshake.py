"""TLS on a proxy's connections: how it begins, and how it fails.

    client accepted ─▶ TLS with the client ─▶ upstream dialled ─▶ TLS with the server ─▶ flow

A client whose handshake fails is told with an alert, and never reaches the upstream. A server
whose handshake fails is an upstream that was not reached.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from chaosproxy.events import ClientHello, TlsFailed
from chaosproxy.faults.base import Handshake
from chaosproxy.net.kernel.sockopts import abort_with_reset, reset_socket
from chaosproxy.net.sockets.dial import DialError, dial
from chaosproxy.net.tls.client_hello import MORE, Hello, read_hello
from chaosproxy.net.tls.peek import Peek, PeerLeft
from chaosproxy.net.tls.transport import HandshakeFailed, TlsTransport
from chaosproxy.tallies import Side as Whose

if TYPE_CHECKING:
    from chaosproxy.net.placement.active_fault import ActiveFault
    from chaosproxy.net.proxy import Proxy
    from chaosproxy.net.stream.connection import Connection
    from chaosproxy.net.stream.readers import Reader
    from chaosproxy.net.tls.endpoint import ProxyTls

__all__ = ["dial_tls", "accept_peeked", "publish_tls_failure", "accept_tls"]

HELLO_WITHIN = 2.0
"""Seconds for which a client of a proxy that only looks may say no hello: some protocols let the server begin."""


async def accept_tls(
    connection: Connection, client: socket.socket, delay: float, make_reader: Callable[[], Reader]
) -> None:
    """Wait `delay` seconds, shake hands with an accepted client, and begin to serve it; or end it."""
    proxy, clock = connection.proxy, connection.scheduler.clock
    tls = proxy.tls
    assert tls is not None
    peek = await _attach(connection, client)
    if peek is None:
        return
    fault: ActiveFault | None = None
    secure: TlsTransport | None = None
    try:
        if delay:
            await peek.until(lambda: False, delay)
        if proxy.looks_at_hellos:
            await _look(connection, peek, proxy.spec.connect_timeout)
        fault = proxy.handshake_fault(connection)
        if fault is not None and _how(fault) == "stall":
            fault.tally.chunks += 1
            await _while_stalled(connection, tls, peek)
            fault = proxy.handshake_fault(connection)
        if fault is not None:
            fault.tally.chunks += 1
        how = _how(fault)
        if fault is not None and how == "reset":
            await peek.until(lambda: read_hello(peek.data) is not MORE, proxy.spec.connect_timeout)
            _reset(peek)
            connection.note("injected", f"reset by fault {fault.spec.name} during the TLS handshake")
            return
        if peek.transport is None:
            raise PeerLeft("left")
        began = clock()
        secure = TlsTransport(peek.transport, tls.server(how, began), server_side=True)
        await secure.handshake(peek.data, peek.ended, proxy.spec.connect_timeout)
    except (HandshakeFailed, PeerLeft) as error:
        reason = str(error) if isinstance(error, HandshakeFailed) else f"client {error} before the TLS handshake"
        _failed(connection, reason, fault)
        if secure is not None:
            await secure.end()
        else:
            _reset(peek)
        return
    except BaseException:
        _reset(peek, secure)
        raise
    proxy.tally.tls_handshakes["client", "ok"] += 1
    proxy.tally.tls_seconds["client"].add(clock() - began)
    connection.alpn = secure.alpn
    secure.start(make_reader(), partial(publish_tls_failure, connection, "client"))


async def _attach(connection: Connection, client: socket.socket) -> Peek | None:
    """The client's socket, watched by the filter that it has; None, and the connection noted as over, if it is gone."""
    peek = Peek()
    try:
        transport = await peek.accept(client)
    except OSError as error:
        reset_socket(client)
        connection.note("peer", f"client gone while it was accepted ({error})")
        return None
    if connection.upstream.filter is not None:
        connection.upstream.filter.watch(transport, connection.scheduler.clock())
    connection.may_cancel(True)
    return peek


def _how(fault: ActiveFault | None) -> Handshake | None:
    return None if fault is None or fault.admission is None else fault.admission.handshake


async def _while_stalled(connection: Connection, tls: ProxyTls, peek: Peek) -> None:
    """Wait until no fault stalls this handshake any more.

    :raises PeerLeft: the client did not.
    """
    proxy = connection.proxy
    tls.waits(peek, True)
    try:
        await peek.until(lambda: _how(proxy.handshake_fault(connection)) != "stall")
    finally:
        tls.waits(peek, False)


def _reset(peek: Peek, secure: TlsTransport | None = None) -> None:
    transport = secure or peek.transport
    peek.transport = None  # uvloop may have closed it on its own, and then tells no protocol
    if transport is not None:
        abort_with_reset(transport)


def _failed(connection: Connection, reason: str, fault: ActiveFault | None) -> None:
    """The client's handshake came to nothing."""
    connection.proxy.tally.tls_handshakes["client", "failed"] += 1
    name = "" if fault is None else fault.spec.name
    publish_tls_failure(connection, "client", reason, name)
    if fault is None:
        connection.note("peer", reason)
    else:
        connection.note("injected", f"{reason} (fault {name})")


def publish_tls_failure(connection: Connection, side: Whose, reason: str, fault: str = "") -> None:
    proxy = connection.proxy
    proxy.bus.publish(
        TlsFailed(
            proxy=proxy.spec.name,
            at=connection.scheduler.clock(),
            connection=connection.ordinal,
            side=side,
            reason=reason,
            fault=fault,
        )
    )


async def dial_tls(
    proxy: Proxy, alpn: str | None, make_reader: Callable[[], asyncio.Protocol], broke_off: Callable[[str], None]
) -> None:
    """Reach the upstream and shake hands with it, all within the proxy's connect_timeout.

    It is offered what the client and we have agreed on; `broke_off` is told in words why TLS ends badly later.

    :raises DialError: with the reason in words.
    """
    tls, clock = proxy.tls, proxy.scheduler.clock
    assert tls is not None
    peek = Peek()
    secure: TlsTransport | None = None
    started = clock()
    try:
        await dial(proxy.spec.upstream, proxy.spec.connect_timeout, lambda: peek)
        if peek.transport is None:
            raise DialError("it left at once")
        began = clock()
        secure = tls.handshake_with_server(peek.transport, alpn, began)
        left = max(0.001, proxy.spec.connect_timeout - (began - started))
        await secure.handshake(peek.data, peek.ended, left)
    except HandshakeFailed as failed:
        proxy.tally.tls_handshakes["server", "failed"] += 1
        assert secure is not None
        await secure.end()
        raise DialError(str(failed)) from None
    except BaseException:
        _reset(peek, secure)
        raise
    proxy.tally.tls_handshakes["server", "ok"] += 1
    proxy.tally.tls_seconds["server"].add(clock() - began)
    secure.start(make_reader(), broke_off)


async def accept_peeked(connection: Connection, client: socket.socket, make_reader: Callable[[], Reader]) -> None:
    """Look at what a client says first, without answering, and begin to serve it."""
    peek = await _attach(connection, client)
    if peek is None:
        return
    try:
        await _look(connection, peek, HELLO_WITHIN)
    except PeerLeft:
        pass  # it may have half-closed: the upstream hears of it
    except BaseException:
        _reset(peek)
        raise
    if peek.transport is None:
        connection.note("peer", "client left before its upstream was reached")
        return
    side = make_reader()
    transport = peek.transport
    transport.set_protocol(side)
    side.connection_made(transport)
    if peek.data:
        side.data_received(peek.data)
    transport.resume_reading()
    if peek.ended:
        side.eof_received()


async def _look(connection: Connection, peek: Peek, within: float) -> None:
    """Read a client's hello, for faults that are for some server's name only.

    :raises PeerLeft: it left before its hello was complete.
    """
    proxy = connection.proxy
    await peek.until(lambda: read_hello(peek.data) is not MORE, within)
    found = read_hello(peek.data)
    if isinstance(found, Hello):
        connection.sni = found.sni
        proxy.bus.publish(
            ClientHello(
                proxy=proxy.spec.name,
                at=connection.scheduler.clock(),
                connection=connection.ordinal,
                sni=found.sni or "",
                alpn=",".join(found.alpn),
            )
        )
        proxy.arrange(connection)
