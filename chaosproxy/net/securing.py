"""TLS on a proxy's connections: what hands are shaken with, and how that begins and fails.

    client accepted ─▶ TLS with the client ─▶ upstream dialled ─▶ TLS with the server ─▶ flow

A client whose handshake fails is told with an alert, and never reaches the upstream. A server
whose handshake fails is an upstream that was not reached.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from chaosproxy.errors import ChaosproxyError, InvalidInput, Problem
from chaosproxy.events import ClientHello, TlsFailed
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.client_hello import MORE, Hello, read_hello
from chaosproxy.net.dial import DialError, dial
from chaosproxy.net.greeting import Greeting, PeerLeft
from chaosproxy.net.sockets import abort_with_reset, reset_socket
from chaosproxy.net.tls import HandshakeFailed, TlsTransport
from chaosproxy.net.tls_faults import faulty_context
from chaosproxy.net.tls_files import Renewed, client_context, server_context
from chaosproxy.tallies import Side as Whose

if TYPE_CHECKING:
    from chaosproxy.net.connection import Connection
    from chaosproxy.net.pipe import Side
    from chaosproxy.net.placed import Placed

__all__ = ["ProxyTls", "dial_secure", "greet_plain", "tls_problems", "welcome"]

HELLO_WITHIN = 2.0
"""Seconds for which a client of a proxy that only looks may say no hello: some protocols let the server begin."""


class ProxyTls:
    """What one proxy shakes hands with, as files and settings are now."""

    def __init__(self, spec: ProxySpec, now: float) -> None:
        """
        :raises InvalidInput: files cannot be used; `listen_tls.cert` … say which.
        :raises Unsupported: one of the proxy's faults needs what is not there.
        """
        self.asked = self.asks(spec)
        """What it was made for."""
        self._name = spec.name
        self._listen, self._upstream = spec.listen_tls, spec.upstream_tls
        self._server_name = spec.upstream.host if spec.upstream_tls is None else spec.upstream_tls.server_name
        if self._server_name is None and not spec.upstream.is_unix:
            self._server_name = spec.upstream.host
        self._faulty: dict[Handshake, Renewed[ssl.SSLContext]] = {}
        self._clients: dict[str | None, Renewed[ssl.SSLContext]] = {}
        self._waiting: set[Greeting] = set()
        problems: list[Problem] = []
        try:
            self._server = self._made_server(now)
        except InvalidInput as invalid:
            problems += _under("listen_tls", invalid)
        try:
            self.client(None, now)
        except InvalidInput as invalid:
            problems += _under("upstream_tls", invalid)
        if problems:
            raise InvalidInput(problems)
        for fault in spec.faults:
            door = fault.settings.door()
            if door is not None and door.handshake is not None:
                self.prepare(door.handshake, now)

    @staticmethod
    def asks(spec: ProxySpec) -> tuple[object, ...]:
        """What of a proxy's settings it depends on."""
        return (spec.listen_tls, spec.upstream_tls, spec.upstream.host)

    @classmethod
    def of(cls, spec: ProxySpec, now: float) -> ProxyTls | None:
        """None where the proxy speaks no TLS itself.

        :raises InvalidInput:
        :raises Unsupported: as the class does.
        """
        return None if spec.listen_tls is None and spec.upstream_tls is None else cls(spec, now)

    @property
    def terminates(self) -> bool:
        """Clients are met with TLS."""
        return self._listen is not None

    @property
    def originates(self) -> bool:
        """The server is spoken to in TLS."""
        return self._upstream is not None

    def server(self, how: Handshake | None, now: float) -> ssl.SSLContext:
        """What a client meets; with a fault, one that is wrong in that way."""
        if how is not None and how in self._faulty:
            return self._faulty[how].get(now)
        assert self._server is not None
        return self._server.get(now)

    def client(self, alpn: str | None, now: float) -> ssl.SSLContext | None:
        """What the server meets; the protocol that the client chose is the one to offer."""
        tls = self._upstream
        if tls is None:
            return None
        if alpn not in self._clients:
            make = partial(client_context, tls, () if alpn is None else (alpn,))
            what = f"upstream_tls of proxy {self._name}"
            self._clients[alpn] = Renewed(make, (tls.ca, tls.cert, tls.key), what, now)
        return self._clients[alpn].get(now)

    def prepare(self, how: Handshake, now: float) -> None:
        """Have what that fault shakes hands with.

        :raises InvalidInput:
        :raises Unsupported: it cannot be had.
        """
        tls = self._listen
        if tls is None or how in self._faulty or how in ("stall", "reset"):
            return
        what = f"listen_tls of proxy {self._name} under tls_handshake, how: {how}"
        self._faulty[how] = Renewed(partial(faulty_context, tls, how), (tls.cert, tls.key, tls.client_ca), what, now)

    def handshake_with_server(self, raw: asyncio.Transport, alpn: str | None, now: float) -> TlsTransport:
        context = self.client(alpn, now)
        assert context is not None
        return TlsTransport(raw, context, server_side=False, server_name=self._server_name)

    def look_now(self) -> None:
        """Have the next connection look at the files, however shortly after the last."""
        for one in (self._server, *self._clients.values(), *self._faulty.values()):
            if one is not None:
                one.look_now()

    def waits(self, greeting: Greeting, on: bool) -> None:
        """Whether a client waits for a change of faults."""
        (self._waiting.add if on else self._waiting.discard)(greeting)

    def take_over(self, before: ProxyTls) -> None:
        """Those who wait there wait here."""
        self._waiting = before._waiting

    def faults_changed(self) -> None:
        """Those who wait look again."""
        for greeting in self._waiting:
            greeting.news.set()

    def _made_server(self, now: float) -> Renewed[ssl.SSLContext] | None:
        tls = self._listen
        if tls is None:
            return None
        what = f"listen_tls of proxy {self._name}"
        return Renewed(partial(server_context, tls), (tls.cert, tls.key, tls.client_ca), what, now)


def tls_problems(spec: ProxySpec) -> Iterator[Problem]:
    """What of a proxy's TLS cannot be had, by field, as it would be found when the proxy is made."""
    try:
        tls = ProxyTls.of(replace(spec, faults=()), 0.0)
    except InvalidInput as invalid:
        yield from invalid.problems
        return
    for fault in spec.faults:
        door = fault.settings.door()
        if tls is not None and door is not None and door.handshake is not None:
            try:
                tls.prepare(door.handshake, 0.0)
            except ChaosproxyError as error:
                yield Problem(("faults", fault.name, "how"), str(error))


def _under(field: str, invalid: InvalidInput) -> list[Problem]:
    return [problem.under(field) for problem in invalid.problems]


async def welcome(connection: Connection, client: socket.socket, delay: float, make_side: Callable[[], Side]) -> None:
    """Wait `delay` seconds, shake hands with an accepted client, and begin to serve it; or end it."""
    proxy, clock = connection.proxy, connection.emitter.clock
    tls = proxy.tls
    assert tls is not None
    greeting = await _attach(connection, client)
    if greeting is None:
        return
    fault: Placed | None = None
    secure: TlsTransport | None = None
    try:
        if delay:
            await greeting.until(lambda: False, delay)
        if proxy.looks_at_hellos:
            await _look(connection, greeting, proxy.spec.connect_timeout)
        fault = proxy.handshake_fault(connection)
        if fault is not None and _how(fault) == "stall":
            fault.tally.segments += 1
            await _while_stalled(connection, tls, greeting)
            fault = proxy.handshake_fault(connection)
        if fault is not None:
            fault.tally.segments += 1
        how = _how(fault)
        if fault is not None and how == "reset":
            await greeting.until(lambda: read_hello(greeting.data) is not MORE, proxy.spec.connect_timeout)
            _reset(greeting)
            connection.note("injected", f"reset by fault {fault.spec.name} during the TLS handshake")
            return
        if greeting.transport is None:
            raise PeerLeft("left")
        began = clock()
        secure = TlsTransport(greeting.transport, tls.server(how, began), server_side=True)
        await secure.handshake(greeting.data, proxy.spec.connect_timeout)
    except (HandshakeFailed, PeerLeft) as error:
        reason = str(error) if isinstance(error, HandshakeFailed) else f"client {error} before the TLS handshake"
        _failed(connection, reason, fault)
        if secure is not None:
            await secure.end()
        else:
            _reset(greeting)
        return
    except BaseException:
        _reset(greeting, secure)
        raise
    proxy.tally.tls_handshakes["client", "ok"] += 1
    proxy.tally.tls_seconds["client"].add(clock() - began)
    connection.alpn = secure.alpn
    secure.start(make_side(), partial(_tell, connection, "client"))


async def _attach(connection: Connection, client: socket.socket) -> Greeting | None:
    """The client's socket, watched by the filter that it has; None, and the connection noted as over, if it is gone."""
    greeting = Greeting()
    try:
        transport = await greeting.accept(client)
    except OSError as error:
        reset_socket(client)
        connection.note("peer", f"client gone while it was accepted ({error})")
        return None
    if connection.upstream.filter is not None:
        connection.upstream.filter.watch(transport, connection.emitter.clock())
    connection.may_cancel(True)
    return greeting


def _how(fault: Placed | None) -> Handshake | None:
    return None if fault is None or fault.door is None else fault.door.handshake


async def _while_stalled(connection: Connection, tls: ProxyTls, greeting: Greeting) -> None:
    """Wait until no fault stalls this handshake any more.

    :raises PeerLeft: the client did not.
    """
    proxy = connection.proxy
    tls.waits(greeting, True)
    try:
        await greeting.until(lambda: _how(proxy.handshake_fault(connection)) != "stall")
    finally:
        tls.waits(greeting, False)


def _reset(greeting: Greeting, secure: TlsTransport | None = None) -> None:
    transport = secure or greeting.transport
    greeting.transport = None  # uvloop may have closed it on its own, and then tells no protocol
    if transport is not None:
        abort_with_reset(transport)


def _failed(connection: Connection, reason: str, fault: Placed | None) -> None:
    """The client's handshake came to nothing."""
    connection.proxy.tally.tls_handshakes["client", "failed"] += 1
    name = "" if fault is None else fault.spec.name
    _tell(connection, "client", reason, name)
    if fault is None:
        connection.note("peer", reason)
    else:
        connection.note("injected", f"{reason} (fault {name})")


def _tell(connection: Connection, side: Whose, reason: str, fault: str = "") -> None:
    proxy = connection.proxy
    proxy.bus.tell(
        TlsFailed(
            proxy=proxy.spec.name,
            at=connection.emitter.clock(),
            connection=connection.ordinal,
            side=side,
            reason=reason,
            fault=fault,
        )
    )


async def dial_secure(connection: Connection, make_side: Callable[[], Side]) -> None:
    """Reach the upstream and shake hands with it, all within the proxy's connect_timeout.

    :raises DialError: with the reason in words.
    """
    proxy, clock = connection.proxy, connection.emitter.clock
    tls = proxy.tls
    assert tls is not None
    greeting = Greeting()
    secure: TlsTransport | None = None
    started = clock()
    try:
        await dial(proxy.spec.upstream, proxy.spec.connect_timeout, lambda: greeting)
        if greeting.transport is None:
            raise DialError("it left at once")
        began = clock()
        secure = tls.handshake_with_server(greeting.transport, connection.alpn, began)
        await secure.handshake(greeting.data, max(0.001, proxy.spec.connect_timeout - (began - started)))
    except HandshakeFailed as failed:
        proxy.tally.tls_handshakes["server", "failed"] += 1
        assert secure is not None
        await secure.end()
        raise DialError(str(failed)) from None
    except BaseException:
        _reset(greeting, secure)
        raise
    proxy.tally.tls_handshakes["server", "ok"] += 1
    proxy.tally.tls_seconds["server"].add(clock() - began)
    secure.start(make_side(), partial(_tell, connection, "server"))


async def greet_plain(connection: Connection, client: socket.socket, make_side: Callable[[], Side]) -> None:
    """Look at what a client says first, without answering, and begin to serve it."""
    greeting = await _attach(connection, client)
    if greeting is None:
        return
    try:
        await _look(connection, greeting, HELLO_WITHIN)
    except PeerLeft:
        pass  # it may have half-closed: the upstream hears of it
    except BaseException:
        _reset(greeting)
        raise
    if greeting.transport is None:
        connection.note("peer", "client left before its upstream was reached")
        return
    side = make_side()
    transport = greeting.transport
    transport.set_protocol(side)
    side.connection_made(transport)
    if greeting.data:
        side.data_received(greeting.data)
    transport.resume_reading()
    if greeting.ended:
        side.eof_received()


async def _look(connection: Connection, greeting: Greeting, within: float) -> None:
    """Read a client's hello, for faults that are for some server's name only.

    :raises PeerLeft: it left before its hello was complete.
    """
    proxy = connection.proxy
    await greeting.until(lambda: read_hello(greeting.data) is not MORE, within)
    found = read_hello(greeting.data)
    if isinstance(found, Hello):
        connection.sni = found.sni
        proxy.bus.tell(
            ClientHello(
                proxy=proxy.spec.name,
                at=connection.emitter.clock(),
                connection=connection.ordinal,
                sni=found.sni or "",
                alpn=",".join(found.alpn),
            )
        )
        proxy.arrange(connection)
