"""Slow accept: a new connection waits before the upstream is dialled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, param
from chaosproxy.faults.base import Admission, Depth, Fault

__all__ = ["SlowAccept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowAccept(Fault):
    """Waits `delay` before it dials the upstream for a new connection; the client's data waits too.

    The client's `connect` still succeeds at once, as with any server whose backlog has room: the
    kernel completes it. Removing the fault, or changing its `delay`, applies to clients that wait; the
    delay counts from their accept. Open connections are not affected.
    """

    type: ClassVar[str] = "slow_accept"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "makes new connections wait before they are served"
    models: ClassVar[str] = "An overloaded server whose backlog fills, a cold start, a slow handshake."
    example: ClassVar[str] = "{type: slow_accept, delay: 3s}"
    on_pipes: ClassVar[bool] = False
    matches_sni: ClassVar[bool] = False

    delay: float = param(Duration(), "time that a new connection waits", example="3s")

    def admission(self) -> Admission:
        return Admission(delay=self.delay)
