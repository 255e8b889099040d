"""The limits of this process that clients can meet, as plain values."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.sockets.binding import BACKLOG

__all__ = ["Limit", "limits_of"]

_ENDLESS = sys.maxsize // 4
"""The least number that stands for no limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    name: str
    value: int | None
    """None for no limit."""
    meaning: str

    def view(self) -> dict[str, object]:
        """Return it as a value for JSON."""
        return {"name": self.name, "value": self.value, "meaning": self.meaning}


def limits_of(descriptors: Descriptors) -> tuple[Limit, ...]:
    """Return the limits of the process that has these descriptors."""
    files = descriptors.limit
    found = [
        Limit("open_files", files.soft, "descriptors that the process may use (RLIMIT_NOFILE, soft)"),
        Limit("open_files_hard", files.hard, "the most that `serve` can raise open_files to (RLIMIT_NOFILE, hard)"),
        Limit("reserve", files.reserve, "descriptors kept for the control API, accepting, name look-ups and files"),
        Limit(
            "connections",
            descriptors.most_connections,
            "connections on all proxies together, with two descriptors each; further clients are reset at once",
        ),
        Limit("backlog", _backlog(), "clients per listener that wait to be accepted (net.core.somaxconn bounds it)"),
    ]
    return tuple(Limit(one.name, _or_none(one.value), one.meaning) for one in found)


def _or_none(value: int | None) -> int | None:
    return None if value is None or value >= _ENDLESS else value


@functools.cache
def _backlog() -> int:
    try:
        return min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    except (OSError, ValueError):
        return BACKLOG
