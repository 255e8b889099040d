"""What feeds a pipe: the protocols on its sockets.

Swapped on a live socket with `set_protocol` when faults come and go (uvloop keeps the bound
`data_received`: rebinding it would silently do nothing):

    Forward   nothing acts on this direction: count and write
    Disturb   bytes, end-of-stream and reset go through a chain of faults
    Discard   the receiver is gone for good: count and drop
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chaosproxy.faults.base import Send

if TYPE_CHECKING:
    from chaosproxy.net.stream.pipe import Pipe

__all__ = ["DiscardingReader", "ChainedReader", "PlainReader", "Reader"]


class Reader(asyncio.Protocol):
    """One socket of a connection: what it reads goes `out`, what it is written comes `back`."""

    __slots__ = ("back", "out")

    def __init__(self, out: Pipe, back: Pipe) -> None:
        self.out = out
        self.back = back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's have its methods, not its class
        if self.out.connection is None:  # should a cancelled dial still announce its socket
            made.abort()
        else:
            self.out.connection.side_made(self.out, made)

    def eof_received(self) -> bool:
        if self.out.connection is not None:
            self.out.end_of_stream()
        return True  # keep the other direction open

    def connection_lost(self, exc: Exception | None) -> None:
        if self.out.connection is not None:
            self.out.connection.side_lost(self.out, exc)

    def pause_writing(self) -> None:
        self.back.sink_full()

    def resume_writing(self) -> None:
        self.back.sink_ready()


class PlainReader(Reader):
    """Nothing to inject: count and write."""

    __slots__ = ("_write",)

    def __init__(self, out: Pipe, back: Pipe) -> None:
        super().__init__(out, back)
        assert out.sink is not None
        self._write = out.sink.write

    def data_received(self, data: bytes) -> None:
        self.out.bytes += len(data)
        self._write(data)


class ChainedReader(Reader):
    """Faults act: everything goes through the chain."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        pipe = self.out
        connection, chain = pipe.connection, pipe.chain
        if connection is None or chain is None:
            return
        pipe.bytes += len(data)
        now = connection.scheduler.clock()
        try:
            chain.push(Send(now, data))
            pipe.advance(now)
        except Exception:  # a fault's defect ends this connection and no other
            connection.log_bug()
            pipe.on_bug()


class DiscardingReader(Reader):
    """The receiver is gone: what still comes is counted and dropped."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.out.bytes += len(data)
