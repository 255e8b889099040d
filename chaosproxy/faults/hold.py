"""Hold everything until the fault is changed or removed; used by stall, pause and partition."""

from __future__ import annotations

from chaosproxy.faults.base import NEVER, Stage, Step

__all__ = ["Hold"]


class Hold(Stage):
    """Hold every step; the chain releases them at once, in order, when the fault is removed."""

    def __init__(self, unread: bool = False) -> None:
        self.unread = unread

    def on_step(self, step: Step) -> tuple[Step]:
        step.due = NEVER
        return (step,)
