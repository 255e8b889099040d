"""Slow accept: a new connection waits before anything is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, param
from chaosproxy.faults.base import Admission, Depth, Fault

__all__ = ["SlowAccept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowAccept(Fault):
    """A new connection waits `delay` before the upstream is dialled; what the client sends waits too.

    The client's `connect` still succeeds at once, as it does with any server whose backlog
    has room: the kernel completes it. Connections that are open are left alone.
    """

    type: ClassVar[str] = "slow_accept"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "lets new connections wait before they are served"
    models: ClassVar[str] = "An overloaded server whose backlog fills, a cold start, a slow handshake."
    example: ClassVar[str] = "{type: slow_accept, delay: 3s}"
    matches_sni: ClassVar[bool] = False

    delay: float = param(Duration(), "how long a new connection waits", example="3s")

    def admission(self) -> Admission:
        return Admission(delay=self.delay)
