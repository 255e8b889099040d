"""The steps of a pipe after a limit has been reached; used by limit_data and limit_time."""

from __future__ import annotations

from chaosproxy.declare import Choice
from chaosproxy.faults.base import NEVER, Close, Reset, Step

__all__ = ["THEN", "afterwards", "ending"]

THEN = Choice("close", "reset", "stall")


def ending(then: str, due: float) -> tuple[Step, ...]:
    """Return the steps that end a connection at its limit; none for `stall`."""
    if then == "close":
        return (Close(due),)
    return (Reset(due),) if then == "reset" else ()


def afterwards(then: str, step: Step) -> tuple[Step, ...]:
    """Hold a step beyond the limit for `stall`; otherwise drop it, since the connection has ended."""
    if then != "stall":
        return ()
    step.due = NEVER
    return (step,)
