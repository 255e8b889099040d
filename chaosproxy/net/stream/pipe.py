"""One direction of a connection: from one socket, through the faults, to the other.

A pause of reading has a reason, and reading resumes when the last reason goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, assert_never

from chaosproxy.faults.base import NEVER, Close, Direction, HalfClose, Loss, Reset, Send, Step
from chaosproxy.faults.chain import Chain, Link
from chaosproxy.net.kernel.bpf import Program
from chaosproxy.net.kernel.filter import Filter
from chaosproxy.net.kernel.sockopts import limit_pacing, tcp_socket
from chaosproxy.net.stream.readers import ChainedReader, DiscardingReader, PlainReader, Reader

if TYPE_CHECKING:
    from chaosproxy.net.stream.connection import Connection
    from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["DIAL_QUEUE", "Pipe"]

DIAL_QUEUE = 64 * 1024
"""Bytes a client may send ahead while its upstream is being reached."""

_SINK_FULL, _QUEUE_FULL, _UNREAD = 1, 2, 4


class Pipe:
    """One direction: from the source's socket, through the faults, to the sink's."""

    __slots__ = (
        "_pacing", "_paused", "_sink_is_full", "bytes", "chain", "connection", "direction", "ended", "filter",
        "finished", "limit", "sink", "source", "scheduled_at",
    )  # fmt: skip

    def __init__(self, connection: Connection, direction: Direction, limit: int) -> None:
        self.connection: Connection | None = connection
        self.direction: Direction = direction
        self.limit = limit
        """Bytes that may be held before the sender is slowed by TCP itself."""
        self.source: asyncio.Transport | None = None
        """None before it is there and after it is gone."""
        self.sink: asyncio.Transport | None = None
        self.chain: Chain | None = None
        """None when nothing acts on this direction."""
        self.bytes = 0
        """Bytes taken from the source."""
        self.ended = False
        """The source has sent its end-of-stream."""
        self.finished = False
        """The sink has been given its end-of-stream."""
        self.scheduled_at = NEVER
        self.filter: Filter | None = None
        """None while the kernel has never been asked to lose anything of this direction."""
        self._pacing: float | None = None
        self._paused = 0
        self._sink_is_full = False

    # ── what flows ────────────────────────────────────────────────────────────────────

    def end_of_stream(self) -> None:
        """The source will send no more."""
        self.ended = True
        if self.chain is None:
            self._leave(HalfClose(0.0))
        else:
            self.take(HalfClose(self._scheduler.clock()))

    def break_off(self) -> None:
        """The source is gone without an end-of-stream, or after it: the sink is to be reset."""
        if self.chain is None:
            self._leave(Reset(0.0))
        else:
            self.take(Reset(self._scheduler.clock()))

    def take(self, step: Step) -> None:
        """Send a step that arrives now through the chain."""
        chain = self.chain
        assert chain is not None
        chain.push(step)
        self.advance(step.due)

    def advance(self, now: float) -> None:
        """Move what is due, ask to be woken for the rest, and keep the queue bounded."""
        connection, chain = self.connection, self.chain
        if connection is None or chain is None:
            return
        connection.scheduler.schedule(self, chain.advance(now))
        cost = chain.cost
        if cost > self.limit or (chain.blocked and cost + self._backlog() > self.limit):
            self.pause(_QUEUE_FULL)
        elif self._paused & _QUEUE_FULL and cost + self._backlog() <= self.limit - self.limit // 16:
            self.resume(_QUEUE_FULL)

    def on_due(self, now: float) -> None:
        self.advance(now)

    def on_bug(self) -> None:
        if self.connection is not None:
            self.connection.reset("bug", "a fault failed; the log has the traceback")

    def _leave(self, step: Step) -> None:
        """Perform a step that has passed every fault."""
        connection = self.connection
        if connection is None:
            return
        match step:
            case Send(_, data):
                if self.sink is not None and not self.finished and not self.sink.is_closing():
                    self.sink.write(data)
            case HalfClose():
                connection.half_close(self)
            case Close(_, origin):
                connection.close("injected", f"closed by fault {origin}")
            case Reset(_, None):
                side = "client" if self.direction == "upstream" else "server"
                connection.reset("peer", f"{side} reset")
            case Reset(_, origin):
                connection.reset("injected", f"reset by fault {origin}")
            case other:
                assert_never(other)

    @property
    def is_plain(self) -> bool:
        """No fault acts on this direction, here or in the kernel; a chain that waits for the dial is none."""
        chain = self.chain
        return (chain is None or not chain.links) and self.filter is None and self._pacing is None

    # ── which faults act ──────────────────────────────────────────────────────────────

    def arrange(self, links: Sequence[Link], now: float) -> None:
        """Have exactly these faults act from now on; what others held goes on at once."""
        chain = self.chain
        if chain is None:
            if not links:
                return
            chain = self.chain = Chain(self._leave)
            chain.blocked = self._sink_is_full or self.sink is None
            self.resume(_SINK_FULL)  # from here on the chain takes what the sink does not
        elif [*links] == chain.links:
            return
        chain.arrange(links, now)
        if any(link.stage.unread for link in links):
            self.pause(_UNREAD)
        else:
            self.resume(_UNREAD)
        if links or self.sink is None:
            self._speak(ChainedReader)
            # In the loop's next turn: whoever asked for the change does not wait for this work.
            self._scheduler.schedule(self, now)
        else:
            self._undisturb(now)

    def lose(self, losses: Mapping[object, Loss], now: float) -> None:
        """Have the kernel lose exactly this of what the source sends."""
        if self.filter is None:
            if not losses:
                return
            self.filter = Filter(self._scheduler)
            if self.source is not None:
                self.filter.watch(self.source, now)
        self.filter.use(losses, now)

    def inherit(self, program: Program) -> None:
        """The source's socket was accepted with a filter that the listening socket had."""
        self.filter = Filter(self._scheduler, program)

    def pace(self, rate: float | None) -> None:
        """Have the kernel send to the sink at `rate` bytes per second; None as fast as TCP can."""
        if rate != self._pacing:
            self._pacing = rate
            self._pace_sink()

    def _pace_sink(self) -> None:
        sock = None if self.sink is None else tcp_socket(self.sink)
        if sock is not None:
            with contextlib.suppress(OSError):  # it is closing
                limit_pacing(sock, self._pacing)

    def source_made(self, source: asyncio.Transport, now: float) -> None:
        """The socket that this direction is read from is there."""
        self.source = source
        if self.filter is not None:
            self.filter.watch(source, now)
        if self._paused:  # in a moment: uvloop ignores it while the connection is being made
            asyncio.get_running_loop().call_soon(self._pause_if_told)

    def sink_made(self, sink: asyncio.Transport) -> None:
        """The socket that this direction is written to is there."""
        self.sink = sink
        if self._pacing is not None:
            self._pace_sink()

    def hold(self) -> None:
        """Keep everything until `flow`: the upstream is not yet there."""
        self.chain = Chain(self._leave)
        self.chain.blocked = True

    def unblock(self) -> None:
        """The sink's socket is there; used where nothing else has to happen first."""
        if self.chain is not None:
            self.sink_ready()

    def flow(self, limit: int, now: float) -> None:
        """The sink is there: let go what was held for it."""
        self.limit = limit
        chain = self.chain
        if chain is None:
            return
        if chain.links:
            chain.blocked = self._sink_is_full
            self.advance(now)
        else:
            self._undisturb(now)

    def _undisturb(self, now: float) -> None:
        """No fault is left: everything held leaves at once, even toward a sink that is full."""
        chain = self.chain
        assert chain is not None
        chain.advance(now)
        chain.flush()
        if self.connection is None:
            return  # what left has ended the connection
        self.chain = None
        self.connection.scheduler.schedule(self, NEVER)
        self._speak(PlainReader)
        self.resume(_QUEUE_FULL)
        if self._sink_is_full:
            self.pause(_SINK_FULL)

    def reader(self) -> Reader:
        """A protocol for the source's socket that feeds this pipe as its faults want it now."""
        assert self.connection is not None
        if self.chain is not None:
            protocol: type[Reader] = ChainedReader
        else:
            protocol = DiscardingReader if self.sink is None else PlainReader
        return self._protocol(protocol)(self, self.connection.opposite(self))

    def _speak(self, protocol: type[Reader]) -> None:
        """Have the source's socket feed this pipe in that way."""
        source, connection, protocol = self.source, self.connection, self._protocol(protocol)
        if source is not None and connection is not None and type(source.get_protocol()) is not protocol:
            source.set_protocol(protocol(self, connection.opposite(self)))

    def _protocol(self, protocol: type[Reader]) -> type[Reader]:
        """The protocol that is used in place of that one."""
        return protocol

    # ── back-pressure ─────────────────────────────────────────────────────────────────

    def sink_full(self) -> None:
        """The sink's socket takes no more for now."""
        self._sink_is_full = True
        if self.chain is None:
            self.pause(_SINK_FULL)
        else:
            self.chain.blocked = True

    def sink_ready(self) -> None:
        """The sink's socket takes bytes again."""
        self._sink_is_full = False
        if self.chain is None:
            self.resume(_SINK_FULL)
        elif self.chain.blocked and self.connection is not None:
            self.chain.blocked = False
            self.advance(self.connection.scheduler.clock())

    def pause(self, reason: int) -> None:
        """Stop reading from the source, so that TCP slows its sender."""
        if not self._paused:
            self._pause_source()
        self._paused |= reason

    def _pause_if_told(self) -> None:
        if self._paused:
            self._pause_source()

    def _pause_source(self) -> None:
        if self.source is not None and not self.ended and not self.source.is_closing():
            with contextlib.suppress(RuntimeError):  # see `resume`
                self.source.pause_reading()

    def resume(self, reason: int) -> None:
        """Take back a reason to pause."""
        if not self._paused & reason:
            return
        self._paused &= ~reason
        if not self._paused and self.source is not None and not self.ended and not self.source.is_closing():
            # uvloop closes the socket of a dial that is cancelled as it succeeds; is_closing() does not tell, and a
            # turn may pass before we hear of it: a change of faults in that turn must not fail by halves.
            with contextlib.suppress(RuntimeError):
                self.source.resume_reading()

    def _backlog(self) -> int:
        return 0 if self.sink is None else self.sink.get_write_buffer_size()

    # ── its end ───────────────────────────────────────────────────────────────────────

    def lose_sink(self) -> None:
        """The receiver is gone for good: whatever comes for it is dropped."""
        self.sink = None
        if self.chain is not None:
            self.chain.clear()
            self.chain = None
            self._scheduler.schedule(self, NEVER)
        self._speak(DiscardingReader)
        self.resume(_SINK_FULL)
        self.resume(_QUEUE_FULL)

    def dispose(self) -> None:
        """Cut every link, so that nothing of a closed connection is cyclic garbage."""
        if self.chain is not None:
            self.chain.clear()
        if self.filter is not None:
            self.filter.end()
        if self.connection is not None:
            self.connection.scheduler.schedule(self, NEVER)
        self.chain = self.connection = self.source = self.sink = None

    @property
    def _scheduler(self) -> Scheduler:
        assert self.connection is not None
        return self.connection.scheduler
