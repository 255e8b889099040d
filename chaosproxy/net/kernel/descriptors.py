"""The limit of open files of this process, and the part of it that connections may use.

A connection needs two descriptors: its client's socket and its upstream's. Both are counted when the client is
accepted, so the later dials find theirs. The rest of the limit is a reserve for the control API, for accepting,
for name lookups and for files. A client that arrives when the part for connections is used up is reset at once:
in the backlog it would wait for a descriptor without an end, and hold the reserve down. A flood on one proxy does
not use up everything: the last eighth is for proxies that have less than an equal share of all connections.

The number of connections may have a lower limit, `max_connections`, to which the same applies.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["PER_CONNECTION", "RESERVE", "Descriptors", "FileLimit", "file_limit", "raise_file_limit"]

RESERVE = 640
"""Descriptors that connections do not use, if the limit is high; under a low limit, a quarter of it."""
_CONTROL_SHARE = 0.8
"""The share of the reserve for connections to the control API; the rest is for accepting, look-ups and files."""
_SCARCE = 8
"""Descriptors are scarce when only one in this many is free."""
PER_CONNECTION = 2
"""The sockets to the client and to the upstream."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileLimit:
    """RLIMIT_NOFILE; `sys.maxsize` stands for no limit."""

    soft: int
    hard: int

    @property
    def reserve(self) -> int:
        """Descriptors that connections do not use."""
        return min(RESERVE, self.soft // 4)

    @property
    def room(self) -> int:
        """Descriptors for everything that is not the reserve's."""
        return self.soft - self.reserve

    @property
    def control_connections(self) -> int:
        """Connections to the control API that the reserve has room for."""
        return int(self.reserve * _CONTROL_SHARE)


class Descriptors:
    """Counts every descriptor that the data plane holds, and those that are free for connections.

    Code that opens a descriptor for longer than one call counts it here: with `hold` if it is not a connection's, so
    that fewer connections fit, and in `free` if it belongs to a connection, a dial or a copy of a request.
    """

    def __init__(self, read_limit: Callable[[], FileLimit] | None = None, others: int | None = None) -> None:
        """`others` are descriptors that are open already; if it is None, they are counted."""
        self._read_limit = read_limit or file_limit
        self.limit = self._read_limit()
        self._room = self.limit.room - (_open_now() if others is None else others)
        self.free = self._room
        """The descriptors that new connections may take; it may be negative after the limit was lowered."""
        self.scarce = 0
        """While no more than these are free, they are for proxies with less than an equal share of all connections."""
        self.connections = 0
        """The connections that are open now."""
        self._max_connections = self._crowded = sys.maxsize
        """The most that may be open, and the number from which on they are scarce, as descriptors are."""
        self.proxies = 0
        """The number of proxies that have a listener."""
        self._changed()

    @property
    def most_connections(self) -> int:
        """The most connections that can be open at once."""
        return min(max(0, self._room // PER_CONNECTION), self._max_connections)

    def set_max(self, connections: int | None) -> None:
        """Change the most connections that may be open, with None to as many as there are descriptors for.

        Connections beyond it stay open.
        """
        most = self._max_connections = sys.maxsize if connections is None else connections
        self._crowded = most - most // _SCARCE

    def hold(self, count: int) -> None:
        """Count descriptors that were opened, but not for a connection; a negative number counts closed ones."""
        self._room -= count
        self.free -= count
        self._changed()

    def admits(self, connections: int) -> bool:
        """Return whether a proxy with that many connections can have one more."""
        if self.free > self.scarce and self.connections < self._crowded:
            return True
        self._read_again()
        is_scarce = self.free <= self.scarce or self.connections >= self._crowded
        if is_scarce and connections >= max(1, self.most_connections // max(1, self.proxies)):
            return False
        return self.free >= PER_CONNECTION and self.connections < self._max_connections

    def begin(self) -> None:
        """Count a connection that was admitted."""
        self.connections += 1
        self.free -= PER_CONNECTION

    def end(self) -> None:
        """Release the descriptors of a connection whose sockets are gone."""
        self.connections -= 1
        self.free += PER_CONNECTION

    def _read_again(self) -> None:
        """Read the limit again, since it may have been raised."""
        limit = self._read_limit()
        more = limit.room - self.limit.room
        self.limit = limit
        self._room += more
        self.free += more
        self._changed()

    def _changed(self) -> None:
        self.scarce = max(PER_CONNECTION - 1, self._room // _SCARCE)


def file_limit() -> FileLimit:
    """Return the limit of open files of this process."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return FileLimit(sys.maxsize, sys.maxsize)
    soft, hard = (
        sys.maxsize if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return FileLimit(soft, hard)


def raise_file_limit() -> None:
    """Raise the limit of open files as far as the system allows."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS refuses "unlimited" here
        logger.info("the limit of open files stays at %d: %s", soft, error)


def _open_now() -> int:
    """Count the open descriptors of this process; return an estimate where the system does not list them."""
    try:
        return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")) - 1  # that of the list itself
    except OSError:
        return 32
