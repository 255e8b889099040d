"""The reading side of a pipe: paused for reasons, and resumed when the last of them is gone."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["BUSY", "QUEUE_FULL", "SINK_FULL", "UNFRAMED", "UNREAD", "Source"]

SINK_FULL, QUEUE_FULL, UNREAD, BUSY, UNFRAMED = 1, 2, 4, 16, 64
"""Reasons to pause reading: full write buffer of the sink, full queue of the chain, a fault, no time left to work,
no time left to frame what was read.

8 is another reason of HTTP mode, 32 that of `held`.
"""
_BRIEF = SINK_FULL | BUSY | UNFRAMED
"""Reasons that no fault makes last, so that watching for the socket's end is not worth the system calls."""


class Source:
    """The socket that a pipe reads from; `Pipe` is its only subclass."""

    __slots__ = ("_paused", "ended", "source")

    def __init__(self) -> None:
        self.source: asyncio.Transport | None = None
        """None before the socket is connected and after it is gone."""
        self.ended = False
        """True after the source's end-of-stream has arrived."""
        self._paused = 0

    @property
    def is_paused(self) -> bool:
        """True if the source is not read now."""
        return self._paused != 0

    def pause(self, reason: int) -> None:
        """Stop reading from the source, so that TCP slows its sender."""
        is_paused, self._paused = self._paused, self._paused | reason
        if not is_paused:
            self._pause_source()
        elif not reason & _BRIEF:
            self._watch_hangup()

    def resume(self, reason: int) -> None:
        """Remove reasons to pause; resume reading if none is left."""
        if not self._paused & reason:
            return
        self._paused &= ~reason
        if not self._paused & ~_BRIEF:
            self._forget()
        if not self._paused and self.source is not None and not self.ended and not self.source.is_closing():
            self._size_buffers()
            # uvloop closes the socket of a dial that is cancelled at the moment it succeeds. is_closing() stays False,
            # and connection_lost may come a turn later. A change of faults in that turn must not fail halfway.
            with contextlib.suppress(RuntimeError):
                self.source.resume_reading()

    def _pause_source(self) -> None:
        if self._paused and self.source is not None and not self.ended and not self.source.is_closing():
            with contextlib.suppress(RuntimeError):  # see `resume`
                self.source.pause_reading()
            self._watch_hangup()

    def _watch_hangup(self) -> None:
        if self._paused & ~_BRIEF and not self.ended and self.source is not None:
            self._watch(self.source)

    def _watch(self, source: asyncio.Transport) -> None:
        """Watch for the end of the socket, which is not read."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Stop watching."""
        raise NotImplementedError

    def _size_buffers(self) -> None:
        """Size the buffers of the socket before it is read again."""
        raise NotImplementedError
