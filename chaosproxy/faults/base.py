"""What a fault type is: settings that open one Stage per pipe, or stand at the door.

A Stage never waits, reads a clock or touches a socket. It is given Steps, each stamped
with the time at which it arrived, and answers with Steps: later, fewer, smaller, other.

The rules every Stage keeps (the contract suite in tests/faults holds each type to them):
- a step is never due before it arrived, and steps leave in the order they came;
- a stage that leaves a step alone answers with that very step;
- the chain gives a stage its next step only when all it answered before has left, so a
  stage times only the head of its queue. What waits behind is not yet timed: changing a
  fault therefore re-times it, and removing one releases it, without any stage's help;
- due `NEVER` holds a step until the fault is changed or removed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from chaosproxy.seed import Dice

__all__ = [
    "NEVER",
    "Close",
    "Depth",
    "Direction",
    "Door",
    "Existing",
    "Fault",
    "HalfClose",
    "Opening",
    "Reset",
    "Send",
    "Stage",
    "Step",
]

NEVER = math.inf
"""Due only when the fault that holds the step is changed or removed."""

Direction = Literal["upstream", "downstream"]
"""`upstream` is client to server, `downstream` server to client."""

Depth = Literal["connection", "stream", "message", "packet"]
Existing = Literal["keep", "close", "reset"]


@dataclass(slots=True)
class Send:
    """Bytes that travel; not frozen, because one is made per chunk (0.2 µs against 0.5)."""

    due: float
    """When it may leave: seconds on the data plane's clock."""
    data: bytes


@dataclass(slots=True)
class HalfClose:
    """End-of-stream in one direction; the other goes on (TCP half-close, RFC 9293 §3.6)."""

    due: float


@dataclass(slots=True)
class Close:
    """An injected end of the whole connection, clean on both sides."""

    due: float
    origin: str | None = None
    """Name of the fault that made it; None when a peer did."""


@dataclass(slots=True)
class Reset:
    """The connection breaks: RST to both sides (RFC 9293 §3.5.2)."""

    due: float
    origin: str | None = None
    """Name of the fault that made it; None when a peer did."""


Step: TypeAlias = Send | HalfClose | Close | Reset


class Stage:
    """A fault's running state in one pipe. As it stands it leaves everything alone."""

    quantum: int = 2**63
    """The most bytes a Send given to it may have; the chain cuts longer ones."""
    alarm: float = NEVER
    """When `on_alarm` is to be called, whether or not anything flows."""

    def on_step(self, step: Step) -> Iterable[Step]:
        """What becomes of `step`, which arrived here at `step.due`."""
        return (step,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        """What is to flow because the alarm's time has come; must set a new alarm, or NEVER."""
        self.alarm = NEVER
        return ()

    def take_over(self, old: Stage) -> None:
        """Carry on from the stage that stood here before the fault's settings changed."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a fault is given to open a Stage."""

    dice: Dice
    """Its own stream: nobody else's draws shift it."""
    now: float
    """When the fault began to act on this pipe."""
    common: object
    """What the fault's `common()` made: shared by all its stages of one direction."""


@dataclass(frozen=True, slots=True)
class Door:
    """What a fault does before there is a connection."""

    refuse: bool = False
    """The listening socket is closed: connecting fails with ECONNREFUSED."""
    existing: Existing = "keep"
    """What becomes of the connections that are open when `refuse` begins."""
    delay: float = 0.0
    """Seconds for which an accepted connection waits before anything is done about it."""


class Fault:
    """A fault type's settings: a frozen dataclass of declared parameters.

    The class variables describe the type; `open` or `door` say what it does. One of the
    two is all that a new fault type needs to define.
    """

    __slots__ = ()

    type: ClassVar[str]
    """Its name in YAML, REST, metrics and docs."""
    depth: ClassVar[Depth] = "stream"
    summary: ClassVar[str]
    """One line: what it does."""
    models: ClassVar[str]
    """What it stands for in the real world, in a sentence or two."""
    example: ClassVar[str]
    """A placement in YAML flow style, complete and valid: `{type: latency, delay: 100ms}`."""

    def check(self) -> Iterable[tuple[str, str]]:
        """(parameter, what is wrong; what would be right) for rules across parameters."""
        return ()

    def open(self, opening: Opening) -> Stage | None:
        """A stage for one pipe; None where this type acts at the door alone."""
        return None

    def door(self) -> Door | None:
        """What it does at the door; None where it acts on pipes alone."""
        return None

    def common(self) -> object:
        """State that all stages of one direction share, such as one bucket; None for most."""
        return None
