"""Remove the file of a unix socket that is left over from a crash, and of no other one.

A file that refuses connections may belong to a program that does not listen at the moment, such as a proxy
that refuses clients. On Linux, /proc/net/unix lists the sockets of this network namespace with the paths
that they were bound to. A file for which it lists a socket is not left over. Where there is no such list,
every file that refuses connections counts as left over.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from pathlib import Path

__all__ = ["remove_leftover"]

_TABLE = Path("/proc/net/unix")
_BOUND = re.compile(rb"[0-9a-f]+: (?:[0-9A-F]+ ){4}01 +[0-9]+ (.+)\n")
"""The line of a socket with a path that is not connected; one that was accepted is, and has the same path."""


def remove_leftover(path: str) -> None:
    """Delete the file at `path` if it is a unix socket that nothing is bound to; this may block.

    :raises OSError: with the system's reason.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        return
    full = contextlib.suppress(BlockingIOError)  # the backlog is full, so its owner lives
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, full:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if not _is_bound(path, found):
                os.unlink(path)


def _is_bound(path: str, found: os.stat_result) -> bool:
    """Return whether a socket is bound to the file, or may be: a relative path depends on its program's directory."""
    name = os.path.basename(os.fsencode(path))
    try:
        table = _TABLE.open("rb")
    except OSError:
        return False
    with table:  # line by line: one call for a long table would keep the interpreter from the loop
        for line in table:
            bound = _BOUND.fullmatch(line)
            if bound is None or os.path.basename(bound[1]) != name:
                continue
            if not os.path.isabs(bound[1]):
                return True
            with contextlib.suppress(OSError):  # its file is gone
                if os.path.samestat(os.lstat(bound[1]), found):
                    return True
    return False
