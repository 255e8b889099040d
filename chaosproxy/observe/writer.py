"""Write lines to a descriptor from a thread, so that a reader that does not read stops nothing else.

    put ─▶ queue, bounded in lines and bytes ─▶ thread ─▶ write(2), or a function such as that of the journal

`put` never waits. A line that does not fit in the queue is dropped and counted, and a gap takes its place.
When the thread reaches a gap, it writes one line with the number of dropped lines.

A line after a quiet time is written at once. After a write, the thread gathers lines for 10 ms, unless a
batch is full: each wake of the thread takes the interpreter from the event loop, and a busy proxy logs
thousands of lines per second.

Invariants:
- Only the thread writes, and it holds no lock meanwhile. It is a daemon thread, so a
  write that never returns keeps no process from ending.
- The lock is reentrant: a destructor or a signal handler may log while its own thread is in `put`.
- Lines are written in batches of at most PIPE_BUF bytes, which a pipe takes whole: lines of several
  programs on one pipe do not mix. Only a longer line is written alone.
"""

from __future__ import annotations

import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable

__all__ = ["FLUSH_WITHIN", "LineStream", "LineWriter", "write"]

FLUSH_WITHIN = 1.0
"""Seconds that the end of the process waits for the last lines."""

_MAX_LINES = 8192
_MAX_BYTES = 1 << 20
_BATCH = 4096
"""PIPE_BUF of Linux."""
_GATHER_S = 0.010
"""Seconds after a write in which lines only gather."""


class _Gap:
    """The place of dropped lines in the queue."""

    __slots__ = ("lines",)

    def __init__(self, lines: int) -> None:
        self.lines = lines


class LineWriter:
    """Writes lines without ever making the caller wait."""

    def __init__(
        self,
        target: int | Callable[[list[bytes]], None],
        about_dropped: Callable[[int], bytes],
        *,
        failed: Callable[[OSError], None] | None = None,
        max_lines: int = _MAX_LINES,
        max_bytes: int = _MAX_BYTES,
        batch: int = _BATCH,
    ) -> None:
        """`target` is a descriptor, or a function that writes lines and raises OSError if it cannot.

        `about_dropped` returns the line about a number of dropped lines. `failed` gets each error of the target.
        `batch` is the size of one write in bytes. The thread calls all of the functions.
        """
        self.dropped = 0
        """Lines that were dropped."""
        self._target = target
        self._batch = batch
        self._about_dropped = about_dropped
        self._failed = failed
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[bytes | _Gap] = deque()
        self._bytes = 0
        """Bytes in the queue and in the present write."""
        self._writing = False
        self._asleep = False
        """True while the thread waits for a line; only then does a line wake it."""
        self._flushing = 0
        """Callers that wait for the queue to be empty."""
        self._failing = False
        """True after a failed write, until there is another line to try with."""
        self._closed = False
        threading.Thread(target=self._run, name="writer", daemon=True).start()

    @property
    def is_idle(self) -> bool:
        """True if no line waits to be written."""
        with self._changed:
            return not self._writing and (not self._queue or self._failing)

    def put(self, line: bytes, *, always: bool = False) -> bool:
        """Write `line`, which ends with a line feed, soon; drop it if the queue is full, unless `always`.

        Return whether it was accepted.
        """
        with self._changed:
            is_full = len(self._queue) >= self._max_lines or self._bytes + len(line) > self._max_bytes
            accepted = not self._closed and (always or not is_full)
            if not accepted:
                self._drop(1)
            else:
                self._queue.append(line)
                self._bytes += len(line)
                self._failing = False
            if self._asleep:
                self._changed.notify_all()
            return accepted

    def flush(self, within: float) -> bool:
        """Wait until every line is written, at most `within` seconds; return whether that is so."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self.is_idle, within)
            finally:
                self._flushing -= 1

    def close(self, within: float = FLUSH_WITHIN) -> None:
        """Flush, and drop every line from now on."""
        self.flush(within)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        if self._queue and isinstance(last := self._queue[-1], _Gap):
            last.lines += lines
        else:
            self._queue.append(_Gap(lines))

    def _run(self) -> None:
        while batch := self._next_batch():
            size = sum(len(one) for one in batch if isinstance(one, bytes))
            try:
                self._write(list(self._lines(batch)))
            except OSError as error:
                self._after_failure(batch)
                if self._failed is not None:
                    self._failed(error)
            with self._changed:
                self._bytes -= size
                self._writing = False
                self._changed.notify_all()
                if self._bytes < self._batch:
                    self._changed.wait_for(lambda: self._closed or self._flushing, _GATHER_S)

    def _write(self, lines: list[bytes]) -> None:
        if isinstance(self._target, int):
            write(self._target, b"".join(lines))
        else:
            self._target(lines)

    def _next_batch(self) -> list[bytes | _Gap]:
        """Wait for a line and return the next batch; an empty one after `close`."""
        with self._changed:
            self._asleep = True
            self._changed.wait_for(lambda: self._closed or (self._queue and not self._failing))
            self._asleep = False
            if self._closed:
                return []
            self._writing = True
            return self._take()

    def _take(self) -> list[bytes | _Gap]:
        """Remove the first lines from the queue, up to the size of a batch and at least one."""
        batch: list[bytes | _Gap] = []
        size = 0
        while self._queue:
            first = self._queue[0]
            size += len(first) if isinstance(first, bytes) else 200
            if batch and size > self._batch:
                break
            batch.append(self._queue.popleft())
        return batch

    def _lines(self, batch: Iterable[bytes | _Gap]) -> Iterable[bytes]:
        return (one if isinstance(one, bytes) else self._about_dropped(one.lines) for one in batch)

    def _after_failure(self, batch: list[bytes | _Gap]) -> None:
        """Drop the lines of a batch that cannot be written: the reader is gone, or the disk is full."""
        lines = sum(1 for one in batch if isinstance(one, bytes))
        unreported = sum(one.lines for one in batch if isinstance(one, _Gap))
        with self._changed:
            self.dropped += lines
            if self._queue and isinstance(first := self._queue[0], _Gap):
                first.lines += lines + unreported
            else:
                self._queue.appendleft(_Gap(lines + unreported))
            self._failing = all(isinstance(one, _Gap) for one in self._queue)


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data`, and wait as long as that takes.

    :raises OSError: the reader is gone, or the disk is full.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another program has made the descriptor non-blocking
            select.select([], [descriptor], [])


class LineStream(io.TextIOBase):
    """A text stream for `sys.stderr` and the like, which writes through a LineWriter."""

    def __init__(self, writer: LineWriter, descriptor: int) -> None:
        self._writer = writer
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._begun = ""
        """The begin of a line whose end has not been written."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write the whole lines of `text`, and keep the rest for the next call."""
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self._put(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Write a line that has begun."""
        with self._lock:
            begun, self._begun = self._begun, ""
            if begun:
                self._put(begun)

    def _put(self, text: str) -> None:
        self._writer.put(text.encode(self.encoding, self.errors))
