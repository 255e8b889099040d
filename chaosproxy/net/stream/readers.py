"""The protocols on the sockets of a connection, which feed its pipes."""

from __future__ import annotations

import asyncio

from chaosproxy.faults.base import Direction, Send
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.ports import Readers

__all__ = [
    "STREAM_READERS", "ChainedReader", "DiscardingReader", "PlainDownstreamReader", "PlainReader",
    "PlainUpstreamReader", "Reader",
]  # fmt: skip


class Reader(asyncio.Protocol):
    """The protocol on one socket of a connection: it feeds the pipe `out`; the pipe `back` writes to the socket."""

    __slots__ = ("back", "out")

    def __init__(self, out: Pipe, back: Pipe) -> None:
        self.out = out
        self.back = back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's transports have the methods, not the class
        if self.out.ends is None:  # the dial was cancelled, and connects nevertheless
            made.abort()
        else:
            self.out.ends.source_made(self.out, made)

    def eof_received(self) -> bool:
        if self.out.ends is not None:
            self.out.end_of_stream()
        return True  # keep the other direction open

    def connection_lost(self, exc: Exception | None) -> None:
        if self.out.ends is not None:
            self.out.ends.source_lost(self.out, exc)

    def pause_writing(self) -> None:
        self.back.sink_full()

    def resume_writing(self) -> None:
        self.back.sink_ready()


class PlainReader(Reader):
    """For a direction without faults: count, note the turn, and write."""

    __slots__ = ("_clock", "_failed", "_felt", "_host", "_turns", "_write")

    def __init__(self, out: Pipe, back: Pipe) -> None:
        super().__init__(out, back)
        assert out.sink is not None and out.ends is not None
        self._write = out.sink.write
        self._turns = out.turns
        self._host = out.turns.host
        self._felt = out.turns.host.felt
        self._failed = out.turns.failed_turns
        self._clock = out.ends.scheduler.clock


class PlainUpstreamReader(PlainReader):
    """For bytes of the client."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.out.bytes += len(data)
        turns = self._turns
        if turns.begin is None:  # as `Turns.sent` does
            turns.begin = data
            turns.number += 1
            turns.opened_at = now = self._clock()
            if self._failed:
                turns.look_back(now)
        else:
            turns.sent(self._clock(), data)
        self._write(data)


class PlainDownstreamReader(PlainReader):
    """For bytes of the server."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.out.bytes += len(data)
        turns = self._turns
        if turns.begin is not None:
            if turns.is_watched:
                turns.answer(self._clock())
            else:  # as `Turns.answer` does
                turns.begin = None
                felt, host = self._felt, self._host
                host.last_at = now = self._clock()
                if len(felt) >= host.limit:
                    host.turn_over()
                felt.append(now - turns.opened_at)
        self._write(data)


class ChainedReader(Reader):
    """For a direction with faults: send everything through the chain."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        pipe = self.out
        ends, chain = pipe.ends, pipe.chain
        if ends is None or chain is None:
            return
        pipe.bytes += len(data)
        now = ends.scheduler.clock()
        note_arrival(pipe, data, now)
        try:
            chain.push(Send(now, data))
            pipe.advance(now)
        except Exception:  # a failing fault ends this connection and no other
            ends.log_bug()
            pipe.on_bug()


class DiscardingReader(Reader):
    """For a direction whose receiver is gone: count and drop."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        pipe = self.out
        pipe.bytes += len(data)
        if pipe.direction == "downstream" and pipe.ends is not None:
            pipe.turns.arrive(pipe.ends.scheduler.clock())


def note_arrival(pipe: Pipe, data: bytes, now: float) -> None:
    """Note the turn that bytes belong to which have arrived before a chain."""
    if pipe.direction == "downstream":
        pipe.turns.arrive(now)
    else:
        pipe.turns.sent(now, data)


STREAM_READERS: dict[Direction, Readers[Pipe]] = {
    "upstream": Readers(PlainUpstreamReader, ChainedReader, DiscardingReader),
    "downstream": Readers(PlainDownstreamReader, ChainedReader, DiscardingReader),
}
"""The readers of plain streams, by direction."""
