"""Pause: the process stops, and goes on as if nothing had been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.faults.base import Admission, Depth, Fault, Opening, Stage
from chaosproxy.faults.hold import Hold

__all__ = ["Pause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Fault):
    """Nothing is read, answered or accepted until the fault ends; then everything goes on at once.

    What a stopped process looks like from outside (SIGSTOP, a long garbage collection, a
    virtual machine that is moved): connecting still succeeds, since the kernel accepts into
    its backlog, and what is sent stays unread until the receive window is full and the
    sender's own `send` blocks. Give it `direction: both`; with one direction the process
    still reads one way.
    """

    type: ClassVar[str] = "pause"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "stops reading and accepting, as a paused process does, then goes on at once"
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
