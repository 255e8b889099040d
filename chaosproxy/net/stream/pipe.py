"""One direction of a connection: from one socket, through the faults, to the other.

A Pipe receives bytes from its `source` and writes them to its `sink`, the transports of the two sockets.
If faults act, it owns a Chain, and the scheduler calls it when the next step is due. It knows its
connection as `Ends`. Its `Readers`, the protocols of the source's socket, are given to it when it is made.
A live pipe changes behaviour by replacing one reader with another through `set_protocol`: uvloop keeps
the bound `data_received`, so rebinding that attribute would silently do nothing.

Invariants:
- Reading pauses for a reason, and resumes when the last reason is removed.
- Steps leave in the order in which they came, through `_leave` alone.
- The queue of a chain is bounded in bytes; beyond it, TCP itself slows the sender.
- The arrival of an end-of-stream or a lost socket is reported to `Ends` at once, whatever faults
  do with it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import assert_never

from chaosproxy.endings import Ending
from chaosproxy.faults.base import NEVER, Close, Direction, HalfClose, Loss, Reset, Send, Step
from chaosproxy.faults.chain import Chain, Link
from chaosproxy.net.kernel.bpf import Program
from chaosproxy.net.kernel.filter import Filter, Named
from chaosproxy.net.kernel.sockopts import pace
from chaosproxy.net.stream.buffers import SizedBuffers
from chaosproxy.net.stream.held import PROCESS_FULL
from chaosproxy.net.stream.ports import Ends, MakeReader, Readers
from chaosproxy.net.stream.source import BUSY, QUEUE_FULL, SINK_FULL, UNREAD, Source
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.tallies import Side

__all__ = ["DIAL_QUEUE", "Pipe"]

DIAL_QUEUE = 64 * 1024
"""Bytes that a client may send while its upstream is being dialled."""


class Pipe(Source):
    """One direction: from the source's socket, through the faults, to the sink's."""

    __slots__ = (
        "_buffers", "_pacing", "_reader_class", "_sink_is_full", "_sink_is_gone", "bytes", "chain", "counted",
        "direction", "ends", "filter", "finished", "limit", "readers", "scheduled_at", "sink", "turns",
    )  # fmt: skip

    def __init__(self, ends: Ends[Pipe], direction: Direction, limit: int, readers: Readers[Pipe]) -> None:
        super().__init__()
        self.ends: Ends[Pipe] | None = ends
        """The connection; None once it is over."""
        self.direction: Direction = direction
        self.limit = limit
        """Bytes that may be held before reading pauses, so that TCP slows the sender."""
        self.readers = readers
        """The classes of readers; a subclass may replace them."""
        self.turns = ends.turns
        """The turns of the connection."""
        self._reader_class: MakeReader[Pipe] | None = None
        """The class of the latest reader; None before the first."""
        self.sink: asyncio.Transport | None = None
        """None before the socket is connected and after it is gone."""
        self.chain: Chain | None = None
        """None if no fault acts on this direction and the sink is connected."""
        self.bytes = self.counted = 0
        """Bytes received from the source; bytes counted toward the limit of the process."""
        self.finished = False
        """True after an end-of-stream was forwarded to the sink."""
        self.scheduled_at = NEVER
        self.filter: Filter | None = None
        """None until a fault first drops packets of this direction in the kernel."""
        self._buffers: SizedBuffers | None = None
        """None if the queue is so large that the buffers are left to the kernel."""
        self._pacing: float | None = None
        self._sink_is_full = self._sink_is_gone = False

    @property
    def sender(self) -> Side:
        """The side whose socket this direction is read from."""
        return "client" if self.direction == "upstream" else "server"

    # ── steps ─────────────────────────────────────────────────────────────────────────

    def end_of_stream(self) -> None:
        """Send the source's end-of-stream through the chain."""
        ends = self._live
        self.ended = True
        ends.note_end_of_stream(self)
        if self.chain is None:
            self._leave(HalfClose(0.0))
        else:
            self.take(HalfClose(ends.scheduler.clock()))
        ends.publish_ended(self)

    def break_off(self) -> None:
        """Send a reset through the chain, since the source's socket is lost."""
        if self.chain is None:
            self._leave(Reset(0.0))
        else:
            self.take(Reset(self._live.scheduler.clock()))

    def take(self, step: Step) -> None:
        """Send a step that has just arrived through the chain."""
        chain = self.chain
        assert chain is not None
        chain.push(step)
        self.advance(step.due)

    def advance(self, now: float) -> None:
        """Release the steps that are due, schedule the next, and keep the queue bounded."""
        ends, chain = self.ends, self.chain
        if ends is None or chain is None:
            return
        # Before the dial is over, nothing can leave if no fault acts.
        if self.sink is not None or self._sink_is_gone or chain.links:
            try:
                self._release(chain, ends.scheduler, now)
            except Exception:
                self._fail()
                return
        if self.chain is not chain:
            return  # a step that left has ended the connection, or its other side
        if not chain.links and not chain.chunks and (self.sink is not None or self._sink_is_gone):
            self._drop_chain()
            return
        cost = chain.cost
        if cost != self.counted:
            ends.held.update(self, cost)
        # The unsent bytes of a sink that is not full do not count: no callback would report that they were sent.
        if chain.blocked and self.sink is not None:
            cost += self.sink.get_write_buffer_size()
        if cost > self.limit:
            self.pause(QUEUE_FULL)
        elif self._paused & QUEUE_FULL and cost <= self.limit - self.limit // 16:
            self.resume(QUEUE_FULL)

    def _release(self, chain: Chain, scheduler: Scheduler, now: float) -> None:
        """Release the steps that are due, as far as the budget of this turn goes, and schedule the next."""
        due = now
        if scheduler.begin():
            try:
                due = chain.advance(now, scheduler.has_time)
            finally:
                scheduler.end()
        if due <= now:
            scheduler.defer(self)
            self.pause(BUSY)
        else:
            scheduler.schedule(self, due)
            self.resume(BUSY)

    def on_due(self, now: float) -> None:
        self.advance(now)

    def on_bug(self) -> None:
        if self.ends is not None:
            self.ends.reset(Ending("bug", "reset"))

    def _fail(self) -> None:
        """End this connection, and no other, because of the exception being handled, a defect of a fault."""
        if self.ends is not None:
            self.ends.log_bug()
        if self.chain is not None:
            self.chain.clear()  # so that it fails only once
        self.on_bug()

    def _leave(self, step: Step) -> None:
        """Perform a step that has passed every fault."""
        ends = self.ends
        if ends is None:
            return
        match step:
            case Send(_, data):
                if self.sink is not None and not self.finished and not self.sink.is_closing():
                    self.sink.write(data)
                    if self.turns.begin is not None:
                        note = self.turns.leave if self.direction == "upstream" else self.turns.answer
                        note(ends.scheduler.clock())
                    elif self.direction == "downstream":
                        self.turns.answer_more(ends.scheduler.clock())
            case HalfClose():
                ends.half_close(self)
            case Close(_, origin):
                ends.close(Ending("injected", "closed", origin or ""))
            case Reset(_, None):
                ends.break_off()
            case Reset(_, origin):
                ends.reset(Ending("injected", "reset", origin or ""))
            case other:
                assert_never(other)

    @property
    def held(self) -> int:
        """Bytes that faults hold, without bytes that wait only for the dial or for a slow sink."""
        return 0 if self.chain is None else self.chain.held_by_stages

    @property
    def holder(self) -> str | None:
        """The fault that holds the latest step; None if that step has passed every fault."""
        return None if self.chain is None else self.chain.holder

    @property
    def is_plain(self) -> bool:
        """True if no fault acts on this direction, in the chain or in the kernel."""
        chain = self.chain
        return (chain is None or not chain.links) and self.filter is None and self._pacing is None

    # ── faults ────────────────────────────────────────────────────────────────────────

    def arrange(self, links: Sequence[Link], now: float) -> None:
        """Replace the faults in the chain; everything that removed ones hold is released at once."""
        chain = self.chain
        if chain is None:
            if not links:
                return
            chain = self.chain = Chain(self._leave)
            chain.blocked = self._sink_is_full or (self.sink is None and not self._sink_is_gone)
            self.resume(SINK_FULL)  # from now on the chain queues bytes for a full sink
        elif [*links] == chain.links:
            return
        try:
            chain.arrange(links, now)
            (self.pause if any(link.stage.unread for link in links) else self.resume)(UNREAD)
            self._size_buffers()
            if links or (self.sink is None and not self._sink_is_gone):
                self.update_reader()
                # The work is done in the loop's next turn, so that a change of many connections returns quickly.
                self._live.scheduler.defer(self)
            else:
                self.advance(now)
        except Exception:  # other connections must get the change nevertheless
            self._fail()

    def set_losses(self, losses: Mapping[Named, Loss], now: float) -> None:
        """Replace the losses that the kernel causes on the source's socket."""
        if self.filter is None:
            if not losses:
                return
            self.filter = Filter(self._live.scheduler)
            if self.source is not None:
                self.filter.attach_to(self.source, now)
        self.filter.set_losses(losses, now)

    def inherit(self, program: Program) -> None:
        """Take over the filter that the source's socket has inherited from its listening socket."""
        self.filter = Filter(self._live.scheduler, program)

    def set_pacing(self, rate: float | None) -> None:
        """Limit the sink's socket in the kernel to `rate` bytes per second; None removes the limit."""
        if rate != self._pacing:
            self._pacing = rate
            if self.sink is not None:
                pace(self.sink, rate)

    def _size_buffers(self) -> None:
        """Size the sockets' buffers to the queue while faults hold bytes, and give them back when they do not."""
        if self._buffers is not None:
            acts = self.chain is not None and bool(self.chain.links)
            self._buffers.size(self.source if acts else None, self.sink if acts else None)

    def source_made(self, source: asyncio.Transport, now: float) -> None:
        """Set the transport that this direction is read from."""
        self.source = source
        if self._buffers is not None:
            self._size_buffers()
        self.update_reader()  # the reader was made before the dial, and faults may have changed since
        if self.filter is not None:
            self.filter.attach_to(source, now)
        if self._paused:  # uvloop ignores pause_reading() inside connection_made, so pause in the next turn
            asyncio.get_running_loop().call_soon(self._pause_source)

    def sink_made(self, sink: asyncio.Transport) -> None:
        """Set the transport that this direction is written to."""
        self.sink = sink
        if self._buffers is not None:
            self._size_buffers()
        if self._pacing is not None:
            pace(sink, self._pacing)

    def hold(self, limit: int) -> None:
        """Hold everything until `flow` is called with the same limit, while the upstream is being dialled."""
        self.limit = min(self.limit, limit)
        self._buffers = SizedBuffers.of(limit)
        self.chain = Chain(self._leave)
        self.chain.blocked = True

    def flow(self, limit: int, now: float) -> None:
        """Release everything that was held while the upstream was being dialled."""
        self.limit = limit
        if self._buffers is None:
            self._buffers = SizedBuffers.of(limit)
        if self._buffers is not None:
            self._size_buffers()
        chain = self.chain
        if chain is None:
            return
        if chain.links or chain.chunks:
            chain.blocked = self._sink_is_full
            self.advance(now)
        else:
            self._drop_chain()

    def _drop_chain(self) -> None:
        """Remove the chain, since no fault is left and it is empty."""
        self.chain = None
        self._forget_chain()
        self.update_reader()
        self.resume(QUEUE_FULL | BUSY | PROCESS_FULL)
        if self._sink_is_full:
            self.pause(SINK_FULL)

    def _forget_chain(self) -> None:
        """End the count and the schedule of a chain that is over."""
        ends = self._live
        if self.counted or self._paused & PROCESS_FULL:
            ends.held.forget(self)
        if self.scheduled_at != NEVER:
            ends.scheduler.schedule(self, NEVER)

    # ── readers ───────────────────────────────────────────────────────────────────────

    def reader(self) -> asyncio.Protocol:
        """Return a new reader for the source's socket, of the class that the pipe needs now."""
        make = self._reader_class = self._needed_reader()
        return make(self, self._live.opposite(self))

    def update_reader(self) -> None:
        """Replace the reader on the source's socket, if the pipe needs one of another class now."""
        source = self.source
        if source is not None and self.ends is not None and self._needed_reader() is not self._reader_class:
            source.set_protocol(self.reader())

    def _needed_reader(self) -> MakeReader[Pipe]:
        without = self.readers.discarding if self.sink is None else self.readers.plain
        return without if self.chain is None else self.readers.chained

    # ── back-pressure ─────────────────────────────────────────────────────────────────

    def sink_full(self) -> None:
        """Stop writing, since the sink's write buffer is full."""
        self._sink_is_full = True
        if self.chain is None:
            self.pause(SINK_FULL)
        else:
            self.chain.blocked = True

    def sink_ready(self) -> None:
        """Continue writing, since the sink's write buffer has room again."""
        self._sink_is_full = False
        if self.chain is None:
            self.resume(SINK_FULL)
        elif self.chain.blocked and self.ends is not None:
            self.chain.blocked = False
            self.advance(self.ends.scheduler.clock())

    def _watch(self, source: asyncio.Transport) -> None:
        if self.ends is not None:
            self.ends.watch_hangup(self, source)

    def _forget(self) -> None:
        if self.ends is not None:
            self.ends.forget_hangup(self)

    # ── end ───────────────────────────────────────────────────────────────────────────

    def lose_sink(self) -> None:
        """Drop all bytes from now on, since the receiver is gone."""
        self.sink = None
        self._sink_is_gone, self._sink_is_full = True, False
        if self.chain is not None:
            self.chain.clear()
            self.chain = None
            self._forget_chain()
        if self._buffers is not None:
            self._size_buffers()
        if self.source is not None and not self.source.is_closing():  # nothing more is read from a closing socket
            self.update_reader()
        self.resume(self._paused)

    def dispose(self) -> None:
        """Cut every link between the objects, so that a closed connection leaves no cyclic garbage."""
        if self.chain is not None:
            self.chain.clear()
        if self.filter is not None:
            self.filter.end()
        if self.ends is not None:
            self._forget_chain()
            if self._paused:
                self.ends.forget_hangup(self)
        self.chain = self.ends = self.source = self.sink = self._buffers = None

    @property
    def _live(self) -> Ends[Pipe]:
        assert self.ends is not None
        return self.ends
