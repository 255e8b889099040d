"""Pause: the server process stops, and later continues as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.faults.base import Admission, Depth, Fault, Opening, Stage
from chaosproxy.faults.hold import Hold

__all__ = ["Pause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Fault):
    """Reads, sends and accepts nothing until the fault ends; then everything continues at once.

    This is a stopped process as seen from outside: SIGSTOP, a long garbage collection, a virtual
    machine that is moved. Connecting still succeeds, since the kernel accepts into its backlog.
    Data stays unread until the receive window is full and the sender's own `send` blocks. Use
    `direction: both`; with one direction the process still reads the other one.
    """

    type: ClassVar[str] = "pause"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "stops reading and accepting, as a paused process does, then continues at once"
    models: ClassVar[str] = "A process that is stopped, swapped out or collecting garbage; a migrating virtual machine."
    example: ClassVar[str] = "{type: pause, direction: both, ttl: 2s}"
    at_listener: ClassVar[bool] = True
    matches_sni: ClassVar[bool] = False

    def open(self, opening: Opening) -> Stage:
        return Hold(unread=True)

    def admission(self) -> Admission:
        return Admission(reply="hold")

    def severs(self) -> bool:
        return True
