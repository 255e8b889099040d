"""Events of the process itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.events.base import Event

__all__ = ["HeldLimitReached", "LeaseExpired", "LoopStalled"]


@dataclass(slots=True, kw_only=True)
class LeaseExpired(Event):
    """A lease was not renewed in time, and what was made under it was removed."""

    kind: ClassVar[str] = "lease_expired"
    lease: str
    by: str
    """Its maker."""
    ttl_s: float
    """Seconds without a renewal."""
    faults: int
    """The number of faults that were removed."""
    partitions: int


@dataclass(slots=True, kw_only=True)
class LoopStalled(Event):
    """One turn of the loop lasted too long, so everything else had to wait; published when it was over."""

    kind: ClassVar[str] = "loop_stalled"
    seconds: float
    """The time by which the loop was late."""
    cpu_s: float
    """CPU time that the loop's thread used meanwhile: much for a computation, little for a call that blocks."""
    held_by: str | None
    """`request METHOD PATH`, `proxy NAME` with `, fault NAME` if one acted, or a function; None if nothing held it:
    the process itself did not run."""
    where: str
    """The function that ran then, with file and line; empty if it is not known."""


@dataclass(slots=True, kw_only=True)
class HeldLimitReached(Event):
    """Faults hold `max_held` bytes in the whole process; the pipes that would hold more are not read until it falls."""

    kind: ClassVar[str] = "held_limit_reached"
    held: int
    limit: int
