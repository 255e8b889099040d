"""Send the events of a ring to any number of readers, as Server-Sent Events.

A reader is a position in the ring. It has no queue: the next batch is taken when the kernel has taken the last one.
So a reader that does not read costs one batch, and the ring drops events without asking it. The text of an event is
made once for all readers that are up to date.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from chaosproxy.control.web.wakeups import Wakeups
from chaosproxy.events import Event
from chaosproxy.journal.ring import Ring
from chaosproxy.journal.stream import Cursor, comment, event_text

__all__ = ["EventStream", "Reader"]

HEARTBEAT_S = 15.0
"""Seconds of silence after which a comment is sent, so that a reader and proxies on the way see a live connection."""
_LARGEST_WRITE = 64 * 1024
"""Bytes after which a part of a batch is sent."""
_TEXTS = 1024
"""The most texts of events that are kept for other readers."""


class Reader(Protocol):
    """The connection to one reader."""

    @property
    def is_gone(self) -> bool:
        """True if the connection has ended."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes, and return when the kernel has taken all of them.

        :raises ConnectionError: the connection has ended.
        """
        ...

    def abort(self) -> None:
        """End the connection without waiting for the reader; `write` then raises."""


class EventStream:
    """The events of one ring, for every reader."""

    def __init__(self, ring: Ring, date: Callable[[float], str], heartbeat_s: float = HEARTBEAT_S) -> None:
        """Create it inside a running loop. `date` converts the time of an event to RFC 3339."""
        self.ring = ring
        self.run = secrets.token_hex(8)
        """A word for the numbers of this ring: after a restart, the same numbers are those of other events."""
        self._date = date
        self._heartbeat_s = heartbeat_s
        self._wakeups = Wakeups()
        self._end_listening = ring.listen(self._wakeups.notify)
        self._texts: list[tuple[tuple[int, Event], bytes] | None] = [None] * _TEXTS
        """The latest texts; that of the event with the number n is at n modulo the length."""
        self._writing: set[Reader] = set()
        """Readers that have not taken all of their last part."""
        self._is_closed = False

    def notice_end(self) -> None:
        """Note that the connection of some reader has ended."""
        self._wakeups.notify()

    def close(self) -> None:
        """End the stream of every reader: with its last batch, or at once if the reader has not taken that."""
        self._is_closed = True
        self._end_listening()
        self._wakeups.wake()
        for reader in list(self._writing):
            reader.abort()

    async def send(self, cursor: Cursor, reader: Reader, rest: Callable[[], Awaitable[None]]) -> None:
        """Send events until the cursor's end, if it has one, the end of the connection or `close`.

        `rest` gives the loop to others if this turn has lasted long enough.

        :raises ConnectionError: the connection has ended.
        """
        loop = asyncio.get_running_loop()
        known, quiet_since = cursor.position, None
        while not (self._is_closed or reader.is_gone):
            batch = cursor.take()
            await rest()
            if batch:
                await self._send_batch(batch, reader, rest)
                known, quiet_since = batch[-1][0], loop.time()
            if not cursor.is_at_end:
                continue
            if cursor.end is not None:
                return
            if quiet_since is None or loop.time() - quiet_since >= self._heartbeat_s:
                # With a filter, the position may be far beyond the last event that the reader knows.
                text = "the stream begins" if quiet_since is None else "heartbeat"
                is_news = quiet_since is None or cursor.position > known
                await self._write(comment(text, cursor.position if is_news else None), reader)
                known, quiet_since = cursor.position, loop.time()
            if cursor.is_at_end and not (self._is_closed or reader.is_gone):
                await self._wakeups.wait(quiet_since + self._heartbeat_s - loop.time())
        if cursor.end is not None:
            reader.abort()  # a regular end would say that this was all

    async def _send_batch(
        self, batch: list[tuple[int, Event]], reader: Reader, rest: Callable[[], Awaitable[None]]
    ) -> None:
        texts, size = [], 0
        for number, event in batch:
            texts.append(self._text(number, event))
            size += len(texts[-1])
            if size >= _LARGEST_WRITE:
                await self._write(b"".join(texts), reader)
                texts, size = [], 0
            await rest()
        if texts:
            await self._write(b"".join(texts), reader)

    async def _write(self, data: bytes, reader: Reader) -> None:
        self._writing.add(reader)
        try:
            await reader.write(data)
        finally:
            self._writing.discard(reader)

    def _text(self, number: int, event: Event) -> bytes:
        kept = self._texts[number % _TEXTS]
        if kept is not None and kept[0] == (number, event):  # a `Lagged` has the number of a dropped event
            return kept[1]
        text = event_text(number, event, self._date(event.at))
        if number > self.ring.last - _TEXTS:  # an older one would replace a text that others still need
            self._texts[number % _TEXTS] = (number, event), text
        return text
