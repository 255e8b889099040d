"""One client and its upstream, from accept to the end of both sockets.

A connection stays in its proxy's registry until both its sockets are gone, whatever
happens: uvloop corrupts memory when an open transport is garbage-collected while a
`write_eof()` is pending, and it does not keep a transport alive that is not reading.
At the end every link is cut, so that nothing here is ever cyclic garbage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from chaosproxy.events import Cause, ConnectionClosed, ConnectionOpened, DialFailed
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.net.http.pipe import HttpPipe
from chaosproxy.net.kernel.sockopts import abort_with_reset, reset_socket
from chaosproxy.net.sockets.binding import peer_name
from chaosproxy.net.sockets.dial import DialError, dial
from chaosproxy.net.stream.pipe import DIAL_QUEUE, Pipe
from chaosproxy.net.tls.handshake import accept_peeked, accept_tls, dial_tls, publish_tls_failure
from chaosproxy.net.tls.transport import pass_truncation

if TYPE_CHECKING:
    from chaosproxy.net.kernel.bpf import Program
    from chaosproxy.net.proxy import Proxy
    from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Connection"]

CLOSE_GRACE = 2.0
"""Seconds for which a close waits for peers to take what is written before it cuts."""

logger = logging.getLogger(__name__)


class Connection:
    """One accepted client and its upstream socket."""

    __slots__ = (
        "_beginning", "_cause", "_cut_off", "_detail", "_dialling", "_sockets", "_client", "accepted_at",
        "alpn", "conversation", "downstream", "scheduler", "ordinal", "proxy", "sni", "upstream",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, ordinal: int, client: object) -> None:
        self.proxy = proxy
        self.ordinal = ordinal
        """Its number on its proxy, from 1."""
        self._client = client
        self.scheduler: Scheduler = proxy.scheduler
        self.accepted_at = self.scheduler.clock()
        self.conversation: Conversation | None = None
        """None where it is no HTTP."""
        if proxy.spec.protocol == "http":
            self.conversation = conversation = Conversation(proxy.http.context)
            self.upstream: Pipe = HttpPipe(self, "upstream", DIAL_QUEUE, Requests(conversation))
            self.downstream: Pipe = HttpPipe(self, "downstream", proxy.spec.queue, Responses(conversation))
        else:
            self.upstream = Pipe(self, "upstream", DIAL_QUEUE)
            self.downstream = Pipe(self, "downstream", proxy.spec.queue)
        self._sockets = 0
        self._cause: Cause | None = None
        self._detail = ""
        self._cut_off: asyncio.TimerHandle | None = None
        self._beginning = True
        """`_begin` still runs."""
        self._dialling: asyncio.Task[None] | None = None
        """Its task, while cancelling it is safe."""
        self.alpn: str | None = None
        """The application protocol that a client of our TLS has chosen."""
        self.sni: str | None = None
        """The server that a client asked for by name, where the proxy looks."""

    def opposite(self, pipe: Pipe) -> Pipe:
        """The other direction."""
        return self.downstream if pipe is self.upstream else self.upstream

    @property
    def client_address(self) -> str:
        """Where the client came from."""
        return peer_name(self._client)

    # ── its beginning ─────────────────────────────────────────────────────────────────

    def start(self, accepted: socket.socket, delay: float, inherited: Program | None) -> None:
        """Attach the client, wait `delay` seconds if a fault says so, and dial.

        `inherited` is the filter that the accepted socket has from the listening one.
        """
        self.upstream.hold()
        if inherited is not None:
            self.upstream.inherit(inherited)
        self.proxy.arrange(self)
        self.proxy.tasks.start(self._begin(accepted, delay), f"connection-{self.ordinal}")

    async def _begin(self, accepted: socket.socket, delay: float) -> None:
        try:
            tls = self.proxy.tls
            if tls is not None and tls.terminates:
                await accept_tls(self, accepted, delay, self.upstream.reader)
                delay = 0.0
            elif self.proxy.looks_at_hellos:
                await accept_peeked(self, accepted, self.upstream.reader)
            else:
                await self._attach(accepted)
            if self._cause is None:
                self.may_cancel(True)
                if delay:
                    await asyncio.sleep(delay)
                await self._dial()
        finally:
            self._dialling = None
            self._beginning = False
            self._end_if_over()

    async def _attach(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self.upstream.reader, accepted)
        except OSError as error:
            reset_socket(accepted)
            self.note("peer", f"client gone while it was accepted ({error})")

    async def _dial(self) -> None:
        proxy, clock = self.proxy, self.scheduler.clock
        started = clock()
        try:
            if proxy.tls is not None and proxy.tls.originates:
                await dial_tls(
                    proxy, self.alpn, self.downstream.reader, partial(publish_tls_failure, self, "server")
                )
            else:
                await dial(proxy.spec.upstream, proxy.spec.connect_timeout, self.downstream.reader)
        except DialError as error:
            self._dialling = None
            self._dial_failed(str(error), clock() - started)
            return
        except asyncio.CancelledError:
            self._drop_new_socket()
            raise
        self._dialling = None
        if self._cause is None:
            now = clock()
            proxy.tally.dial.add(now - started)
            proxy.bus.publish(
                ConnectionOpened(proxy=proxy.spec.name, at=now, connection=self.ordinal, dial_s=now - started)
            )
            self.upstream.flow(proxy.spec.queue, now)

    def _drop_new_socket(self) -> None:
        """The dial was cancelled the moment it succeeded: nobody else ends the socket it made."""
        made = self.downstream.source
        if made is None:
            return
        if made.is_closing():  # by uvloop's own clean-up, which tells no protocol
            self._forget_side(self.downstream)
        else:
            abort_with_reset(made)

    def _dial_failed(self, reason: str, after_s: float) -> None:
        proxy, upstream = self.proxy, str(self.proxy.spec.upstream)
        proxy.tally.dial_failures += 1
        proxy.bus.publish(
            DialFailed(
                proxy=proxy.spec.name,
                at=self.scheduler.clock(),
                connection=self.ordinal,
                upstream=upstream,
                reason=reason,
                after_s=after_s,
            )
        )
        self.reset("peer", f"upstream {upstream} not reached: {reason}")

    def side_made(self, out: Pipe, transport: asyncio.Transport) -> None:
        """A socket is there; `out` is the direction it feeds."""
        self._sockets += 1
        out.source_made(transport, self.scheduler.clock())
        back = self.opposite(out)
        back.sink_made(transport)
        if self._cause is not None:
            abort_with_reset(transport)
        elif out is self.upstream:
            back.unblock()  # the server's own sink opens with `flow`, once the dial is told

    # ── its end ───────────────────────────────────────────────────────────────────────

    def half_close(self, pipe: Pipe) -> None:
        """Pass an end-of-stream on; after the second one the connection is over."""
        if pipe.finished:
            return
        pipe.finished = True
        if not self._detail:
            self._detail = f"{'client' if pipe is self.upstream else 'server'} closed first"
        pass_truncation(pipe.source, pipe.sink)
        if self.opposite(pipe).finished:
            self.note("peer", self._detail)
            self._close_sockets()
        elif pipe.sink is not None and not pipe.sink.is_closing():
            with contextlib.suppress(OSError):  # asyncio raises where the peer has reset; that is told in a moment
                pipe.sink.write_eof()

    def close(self, cause: Cause, detail: str) -> None:
        """End both sides cleanly; what is written goes out first, for as long as CLOSE_GRACE."""
        if self._cause is None:
            self.note(cause, detail)
            self._close_sockets()
            self._cut_off = asyncio.get_running_loop().call_later(CLOSE_GRACE, self.abort)
            self._cancel_dial()

    def reset(self, cause: Cause, detail: str) -> None:
        """End both sides with RST."""
        if self._cause is None:
            self.note(cause, detail)
        self._count_drops()
        for transport in (self.upstream.source, self.downstream.source):
            if transport is not None:
                abort_with_reset(transport)
        self._cancel_dial()

    def abort(self) -> None:
        """End both sockets now, whatever is still written to them."""
        for transport in (self.upstream.source, self.downstream.source):
            if transport is not None:
                transport.abort()

    def side_lost(self, out: Pipe, error: Exception | None) -> None:
        """A socket is gone; `out` is the direction it fed."""
        self._count_drops()
        if not self._forget_side(out):
            return
        back = self.opposite(out)
        if self._cause is not None:
            back.sink = None
        elif self._beginning:
            self.note("peer", "client left while its upstream was being reached")
            self._cancel_dial()
        else:
            back.lose_sink()
            out.break_off()
        self._end_if_over()

    def _forget_side(self, out: Pipe) -> bool:
        """Count a socket as gone; False when it already is, or never was."""
        if out.source is None:
            return False
        self._sockets -= 1
        out.source = None
        return True

    def log_bug(self) -> None:
        """Log the exception being handled as a defect that ends this connection."""
        logger.exception("connection %d of %s failed and is reset", self.ordinal, self.proxy.spec.name)

    def note(self, cause: Cause, detail: str) -> None:
        """Say why it ends; to be called by whoever ends it."""
        self._cause, self._detail = cause, detail

    def may_cancel(self, it: bool) -> None:
        """Whether the task that calls may be cancelled where it waits now."""
        self._dialling = asyncio.current_task() if it else None

    def _count_drops(self) -> None:
        """While the sockets are there: what the kernel dropped is known to them alone."""
        for pipe in (self.upstream, self.downstream):
            if pipe.filter is not None:
                pipe.filter.count()

    def _close_sockets(self) -> None:
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
        if self._sockets or self._beginning or self.upstream.connection is None:
            return
        now, proxy = self.scheduler.clock(), self.proxy
        proxy.forget(self)
        proxy.bus.publish(
            ConnectionClosed(
                proxy=proxy.spec.name,
                at=now,
                connection=self.ordinal,
                cause=self._cause or "peer",
                detail=self._detail,
                lasted_s=now - self.accepted_at,
                bytes_upstream=self.upstream.bytes,
                bytes_downstream=self.downstream.bytes,
            )
        )
        if self._cut_off is not None:
            self._cut_off.cancel()
        if self.conversation is not None:
            self.conversation.close()
        self.upstream.dispose()
        self.downstream.dispose()

    @property
    def cause(self) -> Cause:
        """Who ended it; a peer unless something else is known."""
        return self._cause or "peer"
