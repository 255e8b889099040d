"""The protocols on the sockets of a connection, which feed its pipes."""

from __future__ import annotations

import asyncio

from chaosproxy.faults.base import Send
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.ports import Readers

__all__ = ["STREAM_READERS", "ChainedReader", "DiscardingReader", "PlainReader", "Reader"]


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
    """For a direction without faults: count and write."""

    __slots__ = ("_write",)

    def __init__(self, out: Pipe, back: Pipe) -> None:
        super().__init__(out, back)
        assert out.sink is not None
        self._write = out.sink.write

    def data_received(self, data: bytes) -> None:
        self.out.bytes += len(data)
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
        self.out.bytes += len(data)


STREAM_READERS: Readers[Pipe] = Readers(PlainReader, ChainedReader, DiscardingReader)
