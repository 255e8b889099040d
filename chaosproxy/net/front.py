"""Attach accepted clients and dial the upstream of one proxy, with TLS where its settings say so.

    client accepted ─▶ TLS with the client ─▶ upstream dialled ─▶ TLS with the server ─▶ bytes flow

A proxy owns one `Front`. A new connection calls its proxy, and so `attach_client`, which attaches the
client's socket to the connection's reader: at once, or after a TLS handshake, or after the ClientHello
was read for faults that match a server name. Until then a `Peek` is the protocol of the socket, and
keeps its bytes. Then the connection calls `dial`. `net.tls.handshake` performs the handshakes and returns
outcomes; this module turns them into tallies, events and endings.

Invariants:
- A socket is either handed to the connection or closed, also when the task is cancelled.
- A client whose handshake fails gets a TLS alert, and the upstream is not dialled.
- A failed handshake with the server is a DialError, as if the upstream had refused.
- A fault that stalls a handshake or delays a connection is looked up again when faults change:
  healing lets the client continue at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from chaosproxy.endings import Cause, Ending
from chaosproxy.errors import InvalidInput
from chaosproxy.events import ClientHello, Event, TlsFailed
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.intake import SharedIntake
from chaosproxy.net.kernel.sockopts import reset_socket
from chaosproxy.net.placement.active_fault import ActiveFault
from chaosproxy.net.placement.active_faults import ActiveFaults
from chaosproxy.net.sockets.dial import DialError, dial, sized
from chaosproxy.net.sockets.hops import MakeSocket
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.timer.alarm import Alarm
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.tls.client_hello import Hello, read_hello
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.net.tls.handshake import Failed, Secured, accept_tls, dial_tls, peek_hello, reset_peek
from chaosproxy.net.tls.peek import Peek, PeerLeft
from chaosproxy.tallies import ProxyTally, Side

__all__ = ["HELLO_WITHIN", "Front"]

HELLO_WITHIN = 2.0
"""Seconds to wait for a ClientHello on a proxy that forwards TLS: in some protocols the server sends first."""


class Front:
    """Attaches the clients of one proxy and dials its upstream."""

    def __init__(
        self,
        spec: ProxySpec,
        tls: ProxyTls | None,
        faults: ActiveFaults,
        tally: ProxyTally,
        scheduler: Scheduler,
        publish: Callable[[Event], None],
        intake: SharedIntake,
    ) -> None:
        self.spec = spec
        """The settings for new connections."""
        self.tls = tls
        """None if the proxy uses no TLS itself."""
        self._faults = faults
        self._tally = tally
        self._scheduler = scheduler
        self._publish = publish
        self._hops, self._descriptors = intake.hops, intake.descriptors
        self._waiting: set[asyncio.Event] = set()
        """An event for each client whose handshake a fault stalls, or which a fault delays."""

    def faults_changed(self) -> None:
        """Look up the faults again for clients that a fault stalls or delays."""
        for changed in self._waiting:
            changed.set()

    # ── the client ────────────────────────────────────────────────────────────────────

    async def attach_client(self, connection: Connection, accepted: socket.socket, is_delayed: bool) -> None:
        """Attach the client's socket, and wait while faults delay it, if `is_delayed`; or end the connection."""
        if is_delayed:
            self._update_delay(connection)  # before an end can arrive
        tls = self.tls if self.tls is not None and self.tls.terminates else None
        if tls is None and not self._faults.read_hellos:
            try:
                await asyncio.get_running_loop().connect_accepted_socket(connection.upstream.reader, accepted)
            except OSError as error:
                _end_accept(connection, accepted, error)
                return
        else:
            peek = await self._attach_peek(connection, accepted)
            if peek is None:
                return
            try:
                if tls is not None:
                    await self._attach_with_tls(connection, peek, tls, is_delayed)
                    return
                await self._attach_after_hello(connection, peek, is_delayed)
            except BaseException:
                reset_peek(peek)
                raise
        if is_delayed:
            connection.may_cancel(True)
            await self._delay(connection)

    async def _attach_peek(self, connection: Connection, accepted: socket.socket) -> Peek | None:
        """Attach the client's socket to a Peek, not to the connection; return None if the client is gone."""
        peek = Peek()
        try:
            transport = await peek.accept(accepted)
        except OSError as error:
            _end_accept(connection, accepted, error)
            return None
        if connection.upstream.filter is not None:
            connection.upstream.filter.attach_to(transport, self._scheduler.clock())
        connection.may_cancel(True)
        return peek

    async def _delay(self, connection: Connection, peek: Peek | None = None) -> None:
        """Wait while faults delay the connection; `peek` is the protocol of its client, if that is not attached yet.

        :raises PeerLeft: the client of `peek` left before.
        """
        changed = asyncio.Event() if peek is None else peek.changed
        alarm = Alarm(self._scheduler, changed.set)
        self._waiting.add(changed)
        try:
            while (due := self._update_delay(connection)) is not None:
                if peek is not None:
                    peek.raise_if_left()
                alarm.set(due)
                changed.clear()
                await changed.wait()
        finally:
            alarm.cancel()
            self._waiting.discard(changed)

    def _update_delay(self, connection: Connection) -> float | None:
        """Note the fault that delays the connection now, and return when its delay ends; None if none delays it."""
        seconds, fault = self._faults.accept_delay(connection.ordinal)
        due = connection.accepted_at + seconds
        is_over = due <= self._scheduler.clock()
        connection.delayed_by = None if is_over else fault
        return None if is_over else due

    async def _attach_with_tls(self, connection: Connection, peek: Peek, tls: ProxyTls, is_delayed: bool) -> None:
        """Wait while faults delay the client, perform the handshake as they say, then attach it or end it."""
        within, clock = self.spec.connect_timeout, self._scheduler.clock
        try:
            if is_delayed:
                await self._delay(connection, peek)
            if self._faults.read_hellos:
                await self._read_hello(connection, peek, within)
            fault, remaining = await self._acting_fault(connection, peek, within)
            if self.tls is not None and self.tls.terminates:
                tls = self.tls  # the proxy may have been changed while the client was stalled
            context = await tls.server(_handshake_of(fault), clock())
            if peek.lost:
                peek.raise_if_left()
        except PeerLeft as error:
            self._note_left(connection, peek, error)
            return
        if fault is not None:
            fault.tally.chunks += 1
        if fault is not None and _handshake_of(fault) == "reset":
            reset_peek(peek)
            connection.note_ending(Ending("injected", "reset", fault.spec.name, during="handshake"))
            return
        assert peek.transport is not None  # or else PeerLeft was raised
        match await accept_tls(peek, peek.transport, context, within, remaining, clock):
            case Failed(reason, transport, how_left):
                if how_left is not None:
                    connection.note_leaving("client", how_left, error=reason if how_left == "tls" else "")
                self._fail_handshake(connection, reason, fault)
                peek.transport = None
                await transport.end()
            case Secured(transport, took_s):
                self._tally.tls_handshakes["client", "ok"] += 1
                self._tally.tls_seconds["client"].add(took_s)
                connection.alpn = transport.alpn
                transport.start(connection.upstream.reader(), partial(self._publish_broken, connection, "client"))

    async def _acting_fault(
        self, connection: Connection, peek: Peek, within: float
    ) -> tuple[ActiveFault | None, float]:
        """Wait while a fault stalls the handshake; return the fault that then acts on it, and the seconds it may take.

        A fault acts on a complete ClientHello only: without one, the handshake fails as it does without the fault.

        :raises PeerLeft: the client left during a stall, or it is gone.
        """
        find, clock = partial(self._faults.handshake_fault, connection), self._scheduler.clock
        due = clock() + within
        while (fault := find()) is not None:
            if _handshake_of(fault) == "stall":
                fault.tally.chunks += 1
                await self._until_unstalled(peek, lambda: _handshake_of(find()) != "stall")
                due = clock() + within
            elif isinstance(read_hello(peek.data), Hello):
                break
            elif await _lacks_hello(peek, due - clock()):
                fault = None
                break
        if peek.lost:
            peek.raise_if_left()
        return fault, due - clock()

    async def _until_unstalled(self, peek: Peek, unstalled: Callable[[], bool]) -> None:
        """Wait until no fault stalls the handshake of this client.

        :raises PeerLeft: the client left before.
        """
        self._waiting.add(peek.changed)
        try:
            await peek.wait_for(unstalled)
        finally:
            self._waiting.discard(peek.changed)

    def _note_left(self, connection: Connection, peek: Peek, error: PeerLeft) -> None:
        """End a connection whose client left before its handshake; a fault is the cause while it stalls."""
        fault = self._faults.handshake_fault(connection)
        if connection.delayed_by is not None:
            connection.note_leaving("client", peek.how_left)
            self._fail_handshake(connection, f"client {error} while fault {connection.delayed_by} delayed it", None)
        elif fault is not None and _handshake_of(fault) == "stall":
            connection.note_leaving("client", peek.how_left, fault.spec.name)
            self._fail_handshake(connection, f"client {error} before the TLS handshake", fault)
        else:
            connection.note_leaving("client", peek.how_left)
            self._fail_handshake(connection, f"client {error} during the TLS handshake", None)
        reset_peek(peek)

    def _fail_handshake(self, connection: Connection, reason: str, fault: ActiveFault | None) -> None:
        """Count, publish and note that the handshake with this client has failed."""
        self._tally.tls_handshakes["client", "failed"] += 1
        name = "" if fault is None else fault.spec.name
        self._publish_broken(connection, "client", reason, name)
        by: Cause = "injected" if fault else "client"
        connection.note_ending(Ending(by, "tls", name or connection.delayed_by or "", reason, "handshake"))

    async def _attach_after_hello(self, connection: Connection, peek: Peek, is_delayed: bool) -> None:
        """Read the client's ClientHello, and attach the client with all its bytes."""
        try:
            await self._read_hello(connection, peek, HELLO_WITHIN)
        except PeerLeft:
            pass  # it may have half-closed, which is forwarded
        if is_delayed:
            self._update_delay(connection)  # faults may have changed meanwhile
        transport = peek.transport
        if transport is None:
            connection.note_leaving("client", peek.how_left)
            connection.note_ending(Ending("client", peek.how_left, connection.delayed_by or "", during="dial"))
            return
        reader = connection.upstream.reader()
        transport.set_protocol(reader)
        reader.connection_made(transport)
        if peek.data:
            reader.data_received(peek.data)
        if not connection.upstream.is_paused and not transport.is_closing():  # the data may have paused or ended it
            transport.resume_reading()
        if peek.ended:
            reader.eof_received()

    async def _read_hello(self, connection: Connection, peek: Peek, within: float) -> None:
        """Read a client's ClientHello, for faults that act only on one server name.

        :raises PeerLeft: the client left before its ClientHello was complete.
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
        """Connect to the upstream and attach its socket to the connection.

        :raises DialError: with the reason.
        """
        started = self._scheduler.clock()
        spec, hops = self.spec, self._hops
        upstream = spec.upstream
        make_socket = hops.sockets_of(connection) if hops.may_reach(upstream) else None
        races = upstream.is_name  # two addresses may be dialled at once
        self._descriptors.free -= races
        try:
            if self.tls is None:  # as `dial_for` does, without its coroutine and callbacks: every connection pays them
                make_socket = sized(make_socket, self._faults.sizes("downstream", spec.queue))
                reader = connection.downstream.reader
                await dial(upstream, spec.connect_timeout, self._scheduler, reader, make_socket)
            else:
                on_broken = partial(self._publish_broken, connection, "server")
                await self.dial_for(connection.downstream.reader, connection.alpn, on_broken, make_socket)
        finally:
            self._descriptors.free += races
        self._tally.dial.add(self._scheduler.clock() - started)

    async def dial_copy(self, make_protocol: Callable[[], asyncio.Protocol], sender: object) -> None:
        """Connect to the upstream for a copy of a request of the connection `sender`.

        :raises DialError: with the reason.
        """
        holder, make_socket = object(), None  # the connection may be over before its copy is dialled
        if isinstance(sender, Connection) and self._hops.may_reach(self.spec.upstream):
            make_socket = self._hops.sockets_of(sender, holder)
        races = self.spec.upstream.is_name
        self._descriptors.free -= races
        try:
            await self.dial_for(make_protocol, make_socket=make_socket)
        finally:
            self._descriptors.free += races
            self._hops.forget(holder)

    def count_dial_failure(self) -> None:
        """Count a dial that has failed; the client is reset next."""
        self._tally.dial_failures += 1

    async def dial_for(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        alpn: str | None = None,
        on_broken: Callable[[str], None] = lambda reason: None,
        make_socket: MakeSocket | None = None,
    ) -> None:
        """Connect to the upstream; the protocol that `make_protocol` returns gets its transport.

        In a TLS handshake the server is offered `alpn`, the application protocol that the client has chosen.
        `on_broken` is called with the reason if TLS fails later.

        :raises DialError: with the reason.
        """
        spec, tls, clock = self.spec, self.tls, self._scheduler.clock
        make_socket = sized(make_socket, self._faults.sizes("downstream", spec.queue))
        reach = partial(dial, spec.upstream, spec.connect_timeout, self._scheduler, make_socket=make_socket)
        if tls is None or not tls.originates:
            await reach(make_protocol)
            return

        try:
            context = await tls.client(alpn, clock())
        except InvalidInput as error:
            raise DialError(spec.upstream, str(error)) from None
        secure = partial(tls.secure_server, context=context)
        match await dial_tls(reach, secure, spec.connect_timeout, clock):
            case None:
                raise DialError(spec.upstream, "it closed the connection at once", "server", "fin")
            case Failed(reason, transport, _):
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


def _handshake_of(fault: ActiveFault | None) -> Handshake | None:
    return None if fault is None or fault.admission is None else fault.admission.handshake


async def _lacks_hello(peek: Peek, within: float) -> bool:
    """Wait for a ClientHello; return whether none came: not TLS, incomplete after `within` seconds, or the end."""
    try:
        return await peek_hello(peek, within) is None
    except PeerLeft:
        return True


def _end_accept(connection: Connection, accepted: socket.socket, error: OSError) -> None:
    reset_socket(accepted)
    connection.note_ending(Ending("client", "reset", error=error.strerror or str(error), during="accept"))
