"""The reader of the server's log, which is deaf for most of the time."""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from itertools import cycle

__all__ = ["Ear"]

_DEAF_S = (2.0, 15.0, 60.0)
"""Seconds between two times at which the log is read; in the longest, lines are dropped."""
_READS_S = 0.5
_CAPACITY = 4096
"""Bytes of the pipe."""


class Ear:
    """A small pipe for a standard error, and the thread that reads it at times."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        fcntl.fcntl(self._read, fcntl.F_SETPIPE_SZ, _CAPACITY)
        os.set_blocking(self._read, False)
        self._heard = bytearray()
        self.most_unread = 0
        """The most bytes that had not been read at one time."""
        self._hears = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    def hear(self) -> None:
        """Read everything from now on."""
        self._hears.set()

    def end(self, within: float) -> str:
        """Read until the writer has closed its end, at most `within` seconds; return the log."""
        self.hear()
        self._thread.join(within)
        return self._heard.decode(errors="replace")

    def _listen(self) -> None:
        select.select([self._read], [], [])  # a server may take longer to start than the first time of deafness
        for deaf in cycle(_DEAF_S):
            if self._hears.wait(deaf):
                break
            before, ends = len(self._heard), time.monotonic() + _READS_S
            # The writer fills the pipe again if it has waited for room.
            while (left := ends - time.monotonic()) > 0 and self._take(min(left, 0.05)):
                pass
            self.most_unread = max(self.most_unread, len(self._heard) - before)
        while self._take(None):
            pass
        os.close(self._read)

    def _take(self, within: float | None) -> bool:
        """Read what is there, or arrives soon; return False if nothing does, or the log has ended."""
        if not select.select([self._read], [], [], within)[0]:
            return False
        data = os.read(self._read, 65536)
        self._heard += data
        return bool(data)
