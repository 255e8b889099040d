"""What happens to a pipe when a limit has been reached; shared by limit_data and limit_time."""

from __future__ import annotations

from chaosproxy.declare import Choice
from chaosproxy.faults.base import NEVER, Close, Reset, Step

__all__ = ["THEN", "afterwards", "ending"]

THEN = Choice("close", "reset", "stall")


def ending(then: str, due: float) -> tuple[Step, ...]:
    """The steps that end a connection when its limit is reached; none for `stall`."""
    if then == "close":
        return (Close(due),)
    return (Reset(due),) if then == "reset" else ()


def afterwards(then: str, step: Step) -> tuple[Step, ...]:
    """What becomes of a step beyond the limit: held for `stall`, else gone, as the connection is."""
    if then != "stall":
        return ()
    step.due = NEVER
    return (step,)
