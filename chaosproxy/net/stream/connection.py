"""One client and its upstream, from accept to the end of both sockets.

A Connection owns two Pipes, one per direction, and is their `Ends`. It knows its proxy as an
`Owner`, which makes its pipes, attaches the client, dials the upstream and arranges the faults.

Invariants:
- A connection stays in its owner's registry until both its sockets are gone, whatever happens:
  uvloop corrupts memory when an open transport is garbage-collected while a `write_eof()` is
  pending, and it does not keep a transport alive that is not reading.
- There is one Ending. The first end that arrives, from either side, is noted on arrival and never
  overwritten by a later one. An ending that a fault or an operator causes is never overwritten either.
- At the end every link between the objects is cut, so that no cyclic garbage is left.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace
from functools import partial

from chaosproxy.endings import Cause, Ending, How, describe, ending_of
from chaosproxy.events import ClientEnded, ConnectionClosed, ConnectionOpened, DialFailed, PeerEnded, ServerEnded
from chaosproxy.faults.base import NEVER
from chaosproxy.net.kernel.bpf import Program
from chaosproxy.net.kernel.sockopts import abort_with_reset, was_reset
from chaosproxy.net.sockets.binding import peer_name
from chaosproxy.net.sockets.dial import DialError
from chaosproxy.net.stream.arrivals import Arrivals, SideEnd
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.ports import Owner
from chaosproxy.net.stream.turns import Turns
from chaosproxy.tallies import Side

__all__ = ["Connection"]

_FIN: dict[Side, Ending] = {"client": Ending("client", "fin"), "server": Ending("server", "fin")}
CLOSE_GRACE = 2.0
"""Seconds that a closing connection has for sending its last bytes before it is aborted."""

logger = logging.getLogger(__name__)


class Connection:
    """One accepted client and its upstream socket."""

    __slots__ = (
        "_beginning", "_dialling", "_ending", "_sockets", "_unpublished", "accepted_at", "alpn", "arrivals",
        "came_from", "client_address", "client_key", "delayed_by", "downstream", "held", "ordinal", "owner",
        "scheduled_at", "scheduler", "sni", "turns", "upstream",
    )  # fmt: skip

    def __init__(self, owner: Owner[Connection, Pipe], ordinal: int, client: object) -> None:
        self.owner = owner
        self.ordinal = ordinal
        """The connection's number on its proxy, from 1."""
        self.came_from: Connection | None = None
        """The connection of this process that has dialled its client's socket; None for any other client."""
        self.client_address = peer_name(client)
        """The address that the client connected from."""
        self.client_key: object = client[:2] if isinstance(client, tuple) else client
        """The client's address and port, without the additions of IPv6; meaningless for a unix socket."""
        self.scheduler, self.held = owner.scheduler, owner.held_bytes
        self.scheduled_at = NEVER
        self.accepted_at = self.scheduler.clock()
        self.turns = Turns(owner.turns, ordinal, self.client_address, self.accepted_at)
        self.upstream, self.downstream = owner.make_pipes(self)
        self._sockets = 0
        self._ending: Ending | None = None
        self.arrivals = Arrivals()
        self._unpublished: SideEnd | None = None
        self._beginning = True
        """True while `_begin` runs."""
        self._dialling: asyncio.Task[None] | None = None
        """The task of `_begin` while it may be cancelled, else None."""
        self.alpn: str | None = None
        """The application protocol that a client has chosen in its TLS handshake with the proxy."""
        self.sni: str | None = None
        """The server name that the client requested, if the proxy reads the ClientHello."""
        self.delayed_by: str | None = None
        """The fault that delays its beginning now; None if none does."""

    def opposite(self, pipe: Pipe) -> Pipe:
        """Return the other direction."""
        return self.downstream if pipe is self.upstream else self.upstream

    # ── beginning ─────────────────────────────────────────────────────────────────────

    def start(self, accepted: socket.socket, is_delayed: bool, inherited: Program | None) -> None:
        """Attach the client, wait while faults delay it, if `is_delayed`, and dial the upstream.

        `inherited` is the filter that the accepted socket has from the listening socket.
        """
        self.upstream.hold(self.owner.queue)
        if inherited is not None:
            self.upstream.inherit(inherited)
        self.owner.arrange(self)
        self.owner.start_task(self._begin(accepted, is_delayed), f"connection-{self.ordinal}")

    async def _begin(self, accepted: socket.socket, is_delayed: bool) -> None:
        try:
            await self.owner.attach_client(self, accepted, is_delayed)
            if self._ending is None:
                self.may_cancel(True)
                await self._dial()
        finally:
            self._dialling = None
            self._beginning = False
            self._end_if_over()

    async def _dial(self) -> None:
        owner, clock = self.owner, self.scheduler.clock
        started = clock()
        try:
            await owner.dial(self)
        except DialError as error:
            self._dialling = None
            self._drop_new_socket()  # of a time-out at the moment of success
            self.fail_dial(error, clock() - started)
            return
        except asyncio.CancelledError:
            self._drop_new_socket()
            raise
        self._dialling = None
        if self._ending is None:
            now = clock()
            opened = ConnectionOpened(
                proxy=owner.name, at=now, connection=self.ordinal, client=self.client_address, dial_s=now - started
            )
            owner.publish(opened)
            self.upstream.flow(owner.queue, now)

    def _drop_new_socket(self) -> None:
        """End the socket of a dial that was cancelled or timed out at the moment it succeeded; the loop does not."""
        made = self.downstream.source
        if made is not None:
            abort_with_reset(made)
            self._forget_side(self.downstream)  # uvloop may have closed it without calling the protocol

    def fail_dial(self, error: DialError, after_s: float) -> None:
        """Reset the connection because its dial has failed, and publish that unless the dial had succeeded before."""
        now, owner = self.scheduler.clock(), self.owner
        if self._beginning:
            owner.count_dial_failure()
            failed = DialFailed(
                proxy=owner.name, at=now, connection=self.ordinal, upstream=error.upstream, reason=error.reason,
                code=error.code, after_s=after_s,
            )  # fmt: skip
            owner.publish(failed)
        self.reset(error.ending)

    def source_made(self, pipe: Pipe, transport: asyncio.Transport) -> None:
        """Note the transport of the socket that feeds `pipe`."""
        now = self.scheduler.clock()
        self._sockets += 1
        pipe.source_made(transport, now)
        back = self.opposite(pipe)
        back.sink_made(transport)
        self.turns.is_connected = pipe is self.downstream
        if self._ending is not None:
            abort_with_reset(transport)
        elif pipe is self.upstream:
            back.flow(self.owner.queue, now)  # the other pipe flows after the dial was published

    # ── the arrival of ends ───────────────────────────────────────────────────────────

    def note_end_of_stream(self, pipe: Pipe) -> None:
        """Note that the end-of-stream of the socket that feeds `pipe` has arrived."""
        side = pipe.sender
        self._note_unread(self.opposite(pipe))
        self._note(side, _FIN[side])

    def watch_hangup(self, pipe: Pipe, source: asyncio.Transport) -> None:
        self.owner.hangups.watch(pipe, source, partial(self.note_leaving, pipe.sender))

    def forget_hangup(self, pipe: Pipe) -> None:
        self.owner.hangups.forget(pipe)

    def note_leaving(self, side: Side, how: How, held_by: str | None = None, error: str = "") -> None:
        """Note an end that the reader cannot report, such as that of a socket which is not read.

        `held_by` is the fault whose filter drops its packets; without it, the fault that holds the stream counts.
        `error` is the reason in words, if TLS gives one.
        """
        if (self.arrivals.client if side == "client" else self.arrivals.server) is None:
            self._note(side, Ending(side, how, error=error))
            self.publish_ended(self.upstream if side == "client" else self.downstream, held_by)

    def _note_unread(self, pipe: Pipe) -> None:
        """Note the end of the side that feeds `pipe`, if it came before, behind bytes that are not read."""
        if pipe.is_paused and self.arrivals.first is None and pipe.source is not None and not pipe.ended:
            how = self.owner.hangups.ended(pipe.source)
            if how is not None:
                self.note_leaving(pipe.sender, how)

    def _note(self, side: Side, ending: Ending, held: int = 0) -> None:
        if self._ending is None:
            now = self.scheduler.clock()
            self._unpublished = self.arrivals.note(side, ending, now - self.accepted_at)
            if self.turns.begin is not None:
                if side == "client":
                    self.turns.client_ended(ending.how, now, self.upstream.holder or self.downstream.holder)
                else:
                    self.turns.server_ended(ending.how, now)
            elif side == "client" and (held or self.downstream.held):
                self.turns.answer_cut(ending.how, now)

    def publish_ended(self, pipe: Pipe, held_by: str | None = None) -> None:
        """Publish the end that was just noted, with the fault that holds it back in `pipe`, or `held_by`."""
        end, self._unpublished = self._unpublished, None
        if end is None:
            return
        end.held_by = held_by or pipe.holder or self.delayed_by
        kind: type[PeerEnded] = ClientEnded if pipe is self.upstream else ServerEnded
        event = kind(
            proxy=self.owner.name, at=self.accepted_at + end.after_s, connection=self.ordinal, how=end.ending.how,
            after_s=end.after_s, held_by=end.held_by, error=end.ending.error, bytes_upstream=self.upstream.bytes,
            bytes_downstream=self.downstream.bytes,
        )  # fmt: skip
        self.owner.publish(event)

    def look_for_reset(self) -> None:
        """Look whether a client has reset in response to bytes that came after its end, which no reader reports."""
        client = self.upstream.source
        if self.turns.is_late and client is not None and was_reset(client):
            self.turns.client_ended("reset", self.scheduler.clock())

    def held_by(self, side: Side) -> str | None:
        """Return the fault that keeps the end of `side` from the other side now; None if none does."""
        arrivals = self.arrivals
        end, pipe = (arrivals.client, self.upstream) if side == "client" else (arrivals.server, self.downstream)
        if end is None or pipe.finished:
            return None
        if self.delayed_by is not None:
            return self.delayed_by
        if pipe.holder is not None or pipe.ended or pipe.source is None:
            return pipe.holder
        # The end itself has not arrived: a filter drops it, or bytes are before it that no fault holds.
        dropping = [] if pipe.filter is None else pipe.filter.faults
        return end.held_by if end.held_by in dropping else next(iter(dropping), None)

    def source_lost(self, pipe: Pipe, error: Exception | None) -> None:
        """Note that the socket that feeds `pipe` is gone, and reset the other side through the faults."""
        self._count_drops()
        if not self._forget_side(pipe):
            return
        back = self.opposite(pipe)
        if self._ending is None:
            self._note_unread(back)  # before `lose_sink`, which resumes reading
        held = back.held
        back.lose_sink()
        if self._ending is None:
            self._note(pipe.sender, ending_of(pipe.sender, error), held)
            if self._beginning and pipe is self.upstream:
                self.note_ending(replace(self.arrivals.ending, fault=self.delayed_by or "", during="dial"))
                self._cancel_dial()
            else:
                pipe.break_off()
            self.publish_ended(pipe)
        self._end_if_over()

    # ── end ───────────────────────────────────────────────────────────────────────────

    def half_close(self, pipe: Pipe) -> None:
        """Forward an end-of-stream; close the connection after the second one."""
        if pipe.finished or self._ending is not None:
            return
        pipe.finished = True
        self.owner.pass_end(pipe)
        if self.opposite(pipe).finished:
            self.note_ending(self.arrivals.ending)
            self._close_sockets()
        elif pipe.sink is not None and not pipe.sink.is_closing():
            try:
                pipe.sink.write_eof()
            except OSError:  # asyncio raises it after a reset by the peer; connection_lost follows
                pass

    def break_off(self) -> None:
        """Reset both sides: a peer's reset has passed every fault."""
        if self._ending is None:
            self.reset(self.arrivals.ending)

    def close(self, ending: Ending) -> None:
        """Close both sides after their last bytes were sent, or after CLOSE_GRACE."""
        if self._ending is None:
            self.note_ending(ending)
            self._close_sockets()
            self.scheduler.schedule(self, self.scheduler.clock() + CLOSE_GRACE)
            self._cancel_dial()

    def reset(self, ending: Ending) -> None:
        """Reset both sides with RST."""
        if self._ending is None:
            self.note_ending(ending)
        self._count_drops()
        for transport in (self.upstream.source, self.downstream.source):
            if transport is not None:
                abort_with_reset(transport)
        self._cancel_dial()

    def abort(self) -> None:
        """Close both sockets now, and drop bytes that were not sent."""
        for transport in (self.upstream.source, self.downstream.source):
            if transport is not None:
                transport.abort()

    def on_due(self, now: float) -> None:
        """Abort a close that has taken longer than CLOSE_GRACE."""
        self.abort()

    def on_bug(self) -> None:
        self.abort()

    def note_ending(self, ending: Ending) -> None:
        """Note why the connection ends, unless it was noted before; the caller then ends it."""
        if self._ending is None:
            self._ending = ending

    def log_bug(self) -> None:
        """Log the exception being handled as a defect that ends this connection."""
        logger.exception("connection %d of %s failed and is reset", self.ordinal, self.owner.name)

    def may_cancel(self, allowed: bool) -> None:
        """Mark the calling task as cancellable at its next awaits, or not."""
        self._dialling = asyncio.current_task() if allowed else None
        if self._ending is not None:  # it was ended while there was nothing to cancel
            self._cancel_dial()

    @property
    def cause(self) -> Cause:
        """The cause of the connection's end."""
        return (self._ending or self.arrivals.ending).by

    def _forget_side(self, pipe: Pipe) -> bool:
        """Count a socket as gone; return False if it already was, or never existed."""
        if pipe.source is None:
            return False
        self._sockets -= 1
        pipe.source = None
        return True

    def _count_drops(self) -> None:
        """Count the packets that the kernel has dropped, before the sockets with the counts are closed."""
        if self.upstream.filter is not None:
            self.upstream.filter.count()
        if self.downstream.filter is not None:
            self.downstream.filter.count()

    def _close_sockets(self) -> None:
        self.look_for_reset()
        for pipe in (self.upstream, self.downstream):
            if pipe.filter is not None:
                pipe.filter.end()
        for transport in (self.upstream.source, self.downstream.source):
            if transport is not None:
                transport.close()

    def _cancel_dial(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    def _end_if_over(self) -> None:
        if self._sockets or self._beginning or self.upstream.ends is None:
            return
        now, owner, arrivals = self.scheduler.clock(), self.owner, self.arrivals
        ending = self._ending = self._ending or arrivals.ending
        if self.scheduled_at != NEVER:
            self.scheduler.schedule(self, NEVER)
        self.turns.connection_ended(ending, now)
        owner.forget(self)
        owner.publish(
            ConnectionClosed(
                proxy=owner.name,
                at=now,
                connection=self.ordinal,
                client=self.client_address,
                cause=ending.by,
                how=ending.how,
                fault=ending.fault,
                error=ending.error,
                first=arrivals.first_side,
                client_ended_s=None if arrivals.client is None else arrivals.client.after_s,
                server_ended_s=None if arrivals.server is None else arrivals.server.after_s,
                detail=describe(ending, None if arrivals.then is None else arrivals.then.ending),
                lasted_s=now - self.accepted_at,
                bytes_upstream=self.upstream.bytes,
                bytes_downstream=self.downstream.bytes,
            )
        )
        self.upstream.dispose()
        self.downstream.dispose()
