"""The buffers on both sides of a pipe, sized to its queue while faults act on it."""

from __future__ import annotations

import asyncio
import contextlib

from chaosproxy.net.kernel.buffers import (
    UNSIZED_FROM,
    free_receive_buffer,
    limit_receive_buffer,
    limit_unsent,
    segment_of,
    settle_receive_buffer,
    share_of,
)
from chaosproxy.net.kernel.sockopts import tcp_socket

__all__ = ["SizedBuffers"]

_WRITE_BUFFER = 64 * 1024
"""The high-water mark of the loops' write buffers."""


class SizedBuffers:
    """The receive buffer of a pipe's source, and the unsent data of its sink.

    The share of each is a quarter of the queue, or three small segments. So between the sender's kernel and the
    receiver's are at most the queue, one read more than it, the unread receive buffer (twice its share each),
    and, for a receiver that is slow, a share in the write buffer and one in the kernel.
    """

    __slots__ = ("_queue", "_share", "_sink", "_size_before", "_source")

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._source: asyncio.Transport | None = None
        """The transport whose receive buffer is sized."""
        self._sink: asyncio.Transport | None = None
        """The transport whose unsent data is limited."""
        self._size_before = 0
        self._share: int | None = None
        """The size to which the receive buffer still shrinks; None if it has it."""

    @classmethod
    def of(cls, queue: int) -> SizedBuffers | None:
        """Return the buffers of a pipe with that queue; None if they are left to the kernel."""
        return cls(queue) if queue < UNSIZED_FROM else None

    def size(self, source: asyncio.Transport | None, sink: asyncio.Transport | None) -> None:
        """Size the buffers of these transports, and give back those of the others; None for none.

        Call it again each time before the source is read: its receive buffer may have to shrink in steps.
        """
        if source is not self._source:
            before, self._source = self._source, source
            if before is not None:
                self._free_source(before)
            if source is not None:
                self._limit_source(source)
        if self._share is not None:
            self._settle(self._share)
        if sink is not self._sink:
            before, self._sink = self._sink, sink
            if before is not None:
                _limit_sink(before, None)
            if sink is not None:
                _limit_sink(sink, share_of(self._queue, segment_of(self._queue)))

    def _limit_source(self, source: asyncio.Transport) -> None:
        sock = tcp_socket(source)
        if sock is not None:
            with contextlib.suppress(OSError):  # the socket is closing
                self._share, self._size_before = limit_receive_buffer(sock, self._queue)

    def _settle(self, share: int) -> None:
        sock = None if self._source is None else tcp_socket(self._source)
        if sock is not None:
            with contextlib.suppress(OSError):  # the socket is closing
                if settle_receive_buffer(sock, share):
                    self._share = None

    def _free_source(self, source: asyncio.Transport) -> None:
        self._share = None
        sock = tcp_socket(source)
        if sock is not None:
            with contextlib.suppress(OSError):  # the socket is closing, or the kernel is older than Linux 5.15
                free_receive_buffer(sock, self._size_before)


def _limit_sink(sink: asyncio.Transport, size: int | None) -> None:
    sock = None if sink.is_closing() else tcp_socket(sink)
    if sock is None:
        return
    with contextlib.suppress(OSError, NotImplementedError):  # the socket is closing; TLS has no write limits
        limit_unsent(sock, size)
        sink.set_write_buffer_limits(high=_WRITE_BUFFER if size is None else min(size, _WRITE_BUFFER))
