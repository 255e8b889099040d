"""The two ends of a proxy's connections: how an accepted client is met, and how the upstream is dialled.

    client accepted ─▶ TLS with the client ─▶ upstream dialled ─▶ TLS with the server ─▶ bytes flow

A client whose handshake fails gets an alert and never reaches the upstream. A server whose
handshake fails is an upstream that was not reached. Handshakes return outcomes; this module turns
them into tallies, events and endings.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from chaosproxy.endings import Ending
from chaosproxy.events import ClientHello, Event, TlsFailed
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.kernel.sockopts import reset_socket
from chaosproxy.net.placement.active_fault import ActiveFault
from chaosproxy.net.placement.active_faults import ActiveFaults
from chaosproxy.net.sockets.dial import DialError, dial
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.net.tls.handshake import Failed, Secured, accept_tls, dial_tls, peek_hello, reset_peek
from chaosproxy.net.tls.peek import Peek, PeerLeft
from chaosproxy.net.tls.transport import TlsTransport
from chaosproxy.tallies import ProxyTally, Side

__all__ = ["HELLO_WITHIN", "Front"]

HELLO_WITHIN = 2.0
"""Seconds for which a client of a proxy that only reads the ClientHello may send none: in some protocols the server
speaks first."""


class Front:
    """Meets the clients of one proxy and dials its upstream, in TLS where the proxy's settings say so."""

    def __init__(
        self,
        spec: ProxySpec,
        tls: ProxyTls | None,
        faults: ActiveFaults,
        tally: ProxyTally,
        scheduler: Scheduler,
        publish: Callable[[Event], None],
    ) -> None:
        self.spec = spec
        """The settings for connections to come."""
        self.tls = tls
        """None where the proxy speaks no TLS itself."""
        self._faults = faults
        self._tally = tally
        self._scheduler = scheduler
        self._publish = publish
        self._stalled: set[Peek] = set()
        """Clients that wait for a change of faults."""

    def faults_changed(self) -> None:
        """Have clients whose handshake is stalled look at the faults again."""
        for peek in self._stalled:
            peek.changed.set()

    # ── the client ────────────────────────────────────────────────────────────────────

    async def attach_client(self, connection: Connection, accepted: socket.socket, delay: float) -> float:
        """Attach the client's socket, or end the connection; return the seconds of `delay` that are left."""
        tls = self.tls if self.tls is not None and self.tls.terminates else None
        if tls is None and not self._faults.read_hellos:
            await self._attach_plain(connection, accepted)
            return delay
        peek = await self._attach_peek(connection, accepted)
        if peek is None:
            return 0.0
        try:
            if tls is not None:
                await self._meet_with_tls(connection, peek, tls, delay)
                return 0.0
            await self._meet_after_hello(connection, peek)
            return delay
        except BaseException:
            reset_peek(peek)
            raise

    async def _attach_plain(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(connection.upstream.reader, accepted)
        except OSError as error:
            _note_gone(connection, accepted, error)

    async def _attach_peek(self, connection: Connection, accepted: socket.socket) -> Peek | None:
        """Attach the client's socket without reading for the connection yet; None where it is gone."""
        peek = Peek()
        try:
            transport = await peek.accept(accepted)
        except OSError as error:
            _note_gone(connection, accepted, error)
            return None
        if connection.upstream.filter is not None:
            connection.upstream.filter.attach_to(transport, self._scheduler.clock())
        connection.may_cancel(True)
        return peek

    async def _meet_with_tls(self, connection: Connection, peek: Peek, tls: ProxyTls, delay: float) -> None:
        """Wait `delay` seconds, shake hands as the faults say, and begin to serve the client; or end it."""
        within, clock = self.spec.connect_timeout, self._scheduler.clock
        find = partial(self._faults.handshake_fault, connection)
        fault: ActiveFault | None = None
        try:
            if delay:
                await peek.wait_for(lambda: False, delay)
            if self._faults.read_hellos:
                await self._read_hello(connection, peek, within)
            fault = find()
            if fault is not None and _how(fault) == "stall":
                fault.tally.chunks += 1
                await self._until_unstalled(peek, lambda: _how(find()) != "stall")
                fault = find()
            if fault is not None:
                fault.tally.chunks += 1
            if fault is not None and _how(fault) == "reset":
                await peek_hello(peek, within)
                reset_peek(peek)
                connection.note_ending(Ending("injected", "reset", fault.spec.name, during="handshake"))
                return
            if peek.transport is None:
                raise PeerLeft("left")
        except PeerLeft as error:
            self._refuse(connection, f"client {error} before the TLS handshake", fault)
            reset_peek(peek)
            return
        if self.tls is not None and self.tls.terminates:
            tls = self.tls  # a change of the proxy while the client was stalled counts
        match await accept_tls(peek, peek.transport, tls.server(_how(fault), clock()), within, clock):
            case Failed(reason, transport):
                self._refuse(connection, reason, fault)
                peek.transport = None
                await transport.end()
            case Secured(transport, took_s):
                self._tally.tls_handshakes["client", "ok"] += 1
                self._tally.tls_seconds["client"].add(took_s)
                connection.alpn = transport.alpn
                transport.start(connection.upstream.reader(), partial(self._publish_broken, connection, "client"))

    async def _until_unstalled(self, peek: Peek, unstalled: Callable[[], bool]) -> None:
        """Wait until no fault stalls the handshake of this client.

        :raises PeerLeft: it left before.
        """
        self._stalled.add(peek)
        try:
            await peek.wait_for(unstalled)
        finally:
            self._stalled.discard(peek)

    def _refuse(self, connection: Connection, reason: str, fault: ActiveFault | None) -> None:
        """Count, publish and note that there is no TLS with this client."""
        self._tally.tls_handshakes["client", "failed"] += 1
        name = "" if fault is None else fault.spec.name
        self._publish_broken(connection, "client", reason, name)
        connection.note_ending(Ending("injected" if fault else "client", "tls", name, reason, "handshake"))

    async def _meet_after_hello(self, connection: Connection, peek: Peek) -> None:
        """Read the client's ClientHello without answering it, and begin to serve the client."""
        try:
            await self._read_hello(connection, peek, HELLO_WITHIN)
        except PeerLeft:
            pass  # it may have half-closed, which the upstream is to see
        transport = peek.transport
        if transport is None:
            connection.note_ending(Ending("client", "reset", during="dial"))
            return
        reader = connection.upstream.reader()
        transport.set_protocol(reader)
        reader.connection_made(transport)
        if peek.data:
            reader.data_received(peek.data)
        transport.resume_reading()
        if peek.ended:
            reader.eof_received()

    async def _read_hello(self, connection: Connection, peek: Peek, within: float) -> None:
        """Read a client's ClientHello, for faults that are for some server's name only.

        :raises PeerLeft: it left before its hello was complete.
        """
        hello = await peek_hello(peek, within)
        if hello is None:
            return
        connection.sni = hello.sni
        self._publish(
            ClientHello(
                proxy=self.spec.name,
                at=self._scheduler.clock(),
                connection=connection.ordinal,
                sni=hello.sni or "",
                alpn=",".join(hello.alpn),
            )
        )
        connection.owner.arrange(connection)

    # ── the server ────────────────────────────────────────────────────────────────────

    async def dial(self, connection: Connection) -> None:
        """Reach the upstream and attach its socket to the connection.

        :raises DialError: with the reason.
        """
        started = self._scheduler.clock()
        broken = partial(self._publish_broken, connection, "server")
        try:
            await self.dial_for(connection.downstream.reader, connection.alpn, broken)
        except DialError:
            self._tally.dial_failures += 1
            raise
        self._tally.dial.add(self._scheduler.clock() - started)

    async def dial_for(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        alpn: str | None = None,
        on_broken: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Reach the upstream; the protocol that is made gets its transport.

        A server that speaks TLS is offered `alpn`, the protocol a client has chosen; `on_broken` is given the
        reason should TLS fail later.

        :raises DialError: with the reason.
        """
        spec, tls, clock = self.spec, self.tls, self._scheduler.clock
        reach = partial(dial, spec.upstream, spec.connect_timeout)
        if tls is None or not tls.originates:
            await reach(make_protocol)
            return

        def secure(raw: asyncio.Transport) -> TlsTransport:
            return tls.secure_server(raw, alpn, clock())

        match await dial_tls(reach, secure, spec.connect_timeout, clock):
            case None:
                raise DialError(spec.upstream, "it left at once", "server", "fin")
            case Failed(reason, transport):
                self._tally.tls_handshakes["server", "failed"] += 1
                await transport.end()
                raise DialError(spec.upstream, reason, "server", "tls")
            case Secured(transport, took_s):
                self._tally.tls_handshakes["server", "ok"] += 1
                self._tally.tls_seconds["server"].add(took_s)
                transport.start(make_protocol(), on_broken)

    def _publish_broken(self, connection: Connection, side: Side, reason: str, fault: str = "") -> None:
        now = self._scheduler.clock()
        self._publish(
            TlsFailed(
                proxy=self.spec.name, at=now, connection=connection.ordinal, side=side, reason=reason, fault=fault
            )
        )


def _how(fault: ActiveFault | None) -> Handshake | None:
    return None if fault is None or fault.admission is None else fault.admission.handshake


def _note_gone(connection: Connection, accepted: socket.socket, error: OSError) -> None:
    reset_socket(accepted)
    connection.note_ending(Ending("client", "reset", error=error.strerror or str(error), during="accept"))
