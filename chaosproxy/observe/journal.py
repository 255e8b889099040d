"""Write every event to the file of a journal, one line each (docs/journal.md).

    bus ─▶ Journal, on the loop: event ─▶ line ─▶ LineWriter ─▶ its thread ─▶ JournalFile: write, rotate

The loop never waits for the disk. Lines are rendered on the loop, which takes 6 to 11 µs each, and 30 µs for the
counts of a busy second: a thread that renders would keep the interpreter's lock for longer than that, up to
0.5 ms at a time (`app.run_on`).
The loop also decides when a file is full, since only the order of the queue says which lines an older file has;
then it puts the header of the next file, with the lines that still hold, into the queue. The thread begins a new
file when it reaches them.

Invariants:
- A line that does not fit in the queue is dropped, and a gap line takes its place. A header is never dropped.
- The first error of the file ends the journal: it is logged once, and nothing is written after it, so that no
  later line seems to follow the last one. The proxies serve on.
- A file that is not a journal is never renamed or replaced.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy.errors import ChaosproxyError
from chaosproxy.events import Bus, Event
from chaosproxy.journal.files import older
from chaosproxy.journal.lines import BEGIN, Header, gap_line, header_line, line_of
from chaosproxy.journal.state import State
from chaosproxy.observe.writer import FLUSH_WITHIN, LineWriter, write

__all__ = ["PART_SIZE", "Journal", "JournalCollector", "JournalFile"]

PART_SIZE = 100_000_000
"""Bytes of events after which a file is renamed to FILE.1."""

_MODE = 0o640
"""Permissions of a new file, less the umask: it has the addresses of clients."""
_MAX_LINES = 50_000
_MAX_BYTES = 16 << 20
_BATCH = 1 << 16

logger = logging.getLogger(__name__)


class _Begin(bytes):
    """The first lines of a new file."""


class JournalFile:
    """The file that a journal is written to. Its calls wait for the disk."""

    def __init__(self, path: Path) -> None:
        """Create the file; one that exists becomes FILE.1.

        :raises ChaosproxyError: it cannot be written, or something there is not a journal.
        """
        self.path = path
        self._error: OSError | None = None
        try:
            for one in (path, older(path)):
                _refuse_foreign(one)
            self._descriptor = self._create()
        except OSError as error:
            reason = error.strerror or error
            message = f"cannot write the journal {path}: {reason}; name a file in a directory that can be written"
            raise ChaosproxyError(message, "unwritable-file") from None

    def write(self, lines: list[bytes]) -> None:
        """Write lines, and begin a new file at each `_Begin` but the first.

        :raises OSError: the disk is full, or the directory is gone; from then on each call raises that error.
        """
        if self._error is not None:
            raise self._error
        try:
            pending: list[bytes] = []
            for line in lines:
                if isinstance(line, _Begin):
                    write(self._descriptor, b"".join(pending))
                    pending = []
                    self._rotate()
                pending.append(line)
            write(self._descriptor, b"".join(pending))
        except OSError as error:
            self._error = error
            raise

    def close(self) -> None:
        """Close the file; do so after the last write."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _rotate(self) -> None:
        if os.fstat(self._descriptor).st_size:  # else it is the begin of the first file
            self.close()
            self._descriptor = self._create()

    def _create(self) -> int:
        try:
            os.replace(self.path, older(self.path))
        except FileNotFoundError:
            pass  # the first file; or another program has moved it away, as log rotation does
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _MODE)


def _refuse_foreign(path: Path) -> None:
    """Raise an error if there is something other than a journal, which may be cut in its first line."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO would wait for its writer
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _foreign(path) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not BEGIN.startswith(os.read(descriptor, len(BEGIN))):
            raise _foreign(path)
    finally:
        os.close(descriptor)


def _foreign(path: Path) -> ChaosproxyError:
    message = f"{path} exists and is not a journal; name another file, since this one would be renamed or replaced"
    return ChaosproxyError(message, "unwritable-file")


class Journal:
    """Writes the events of a bus to a file."""

    def __init__(
        self,
        file: JournalFile,
        bus: Bus,
        header: Header,
        zero: float,
        *,
        part_size: int = PART_SIZE,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        """`header` is that of the first file. `zero` is the time on the data plane's clock of its `started`."""
        self._file = file
        self._header = header
        self._zero = zero
        self._part_size = part_size
        self._size = 0
        """Bytes in the present part, without its first lines."""
        self._after_end = 0
        """Events after the journal had ended."""
        self._state = State()
        self.ended = ""
        """The error that ended the journal; empty while it is written."""
        self._writer = LineWriter(
            file.write, gap_line, failed=self._fail, max_lines=_MAX_LINES, max_bytes=max_bytes, batch=_BATCH
        )
        self._writer.put(_Begin(header_line(header)), always=True)
        self._unsubscribe = bus.subscribe(self._on_event)

    @property
    def dropped(self) -> int:
        """Return the number of lines that were not written."""
        return self._writer.dropped + self._after_end

    def flush(self, within: float) -> bool:
        """Wait until every line is written, at most `within` seconds; return whether that is so."""
        return self._writer.flush(within)

    def close(self, within: float = FLUSH_WITHIN) -> None:
        """Write the last lines, as far as the disk takes them within that many seconds."""
        self._unsubscribe()
        is_written = self._writer.flush(within)
        self._writer.close(0.0)
        if is_written:  # else the thread still uses the descriptor
            self._file.close()

    def _on_event(self, event: Event) -> None:
        if self.ended:
            self._after_end += 1
            return
        line = line_of(event, self._zero)
        if self._size and self._size + len(line) > self._part_size:
            self._begin_part()
        self._state.follow(event, line)
        if self._writer.put(line):
            self._size += len(line)

    def _begin_part(self) -> None:
        state = self._state.lines()
        self._header = replace(self._header, part=self._header.part + 1, state=len(state))
        self._size = 0
        self._writer.put(_Begin(b"".join([header_line(self._header), *state])), always=True)

    def _fail(self, error: OSError) -> None:
        """Note the error; called by the thread of the writer, once more for each batch that was in the queue."""
        if not self.ended:
            self.ended = str(error.strerror or error)
            logger.error("the journal %s has ended: %s; the proxies serve on", self._file.path, self.ended)


class JournalCollector:
    """Makes the metric families of the journal, at each scrape."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family; all are 0 without a journal."""
        journal = self._journal
        yield CounterMetricFamily(
            "chaosproxy_journal_lines_dropped",
            "Lines of the journal that were not written, because the disk was too slow or the journal has ended.",
            value=0 if journal is None else journal.dropped,
        )
        yield GaugeMetricFamily(
            "chaosproxy_journal_ended",
            "1 after an error of its file has ended the journal, else 0.",
            value=0 if journal is None else bool(journal.ended),
        )

    def describe(self) -> Iterable[Metric]:
        """Return no families: the registry then asks for none at registration."""
        return ()
