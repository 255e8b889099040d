"""Blackhole: bytes vanish, the connection stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.faults.base import NEVER, Fault, Opening, Send, Stage, Step

__all__ = ["Blackhole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackhole(Fault):
    """Discards all bytes, and holds the end of the connection until the fault is removed.

    The sender sees its bytes acknowledged and the connection open; the receiver sees silence.
    Discarded bytes never arrive. To deliver them after healing, use `stall`.
    """

    type: ClassVar[str] = "blackhole"
    summary: ClassVar[str] = "discards bytes; the connection stays open"
    models: ClassVar[str] = "A peer that reads and never responds, a firewall or balancer that lost its state."
    example: ClassVar[str] = "{type: blackhole, direction: upstream}"

    def open(self, opening: Opening) -> Stage:
        return _Swallow()

    def severs(self) -> bool:
        return True


class _Swallow(Stage):
    def on_step(self, step: Step) -> tuple[Step, ...]:
        if isinstance(step, Send):
            return ()
        step.due = NEVER
        return (step,)
