"""What a fault type is: settings that open one Stage per pipe, lose its packets, or stand at the door.

A Stage never waits, reads a clock or touches a socket. It is given Steps, each stamped
with the time at which it arrived, and answers with Steps: later, fewer, smaller, other.

The rules every Stage keeps (the contract suite in tests/faults holds each type to them):
- a step is never due before it arrived, and steps leave in the order they came;
- a stage that leaves a step alone answers with that very step;
- the chain gives a stage its next step only when all it answered before has left, so a
  stage times only the head of its queue. What waits behind is not yet timed: changing a
  fault therefore re-times it, and removing one releases it, without any stage's help;
- due `NEVER` holds a step until the fault is changed or removed.

A type that has a `mode` can act in the kernel instead (mode `packet`): then it opens no
Stage, and says with a Loss which packets are to be lost before TCP sees them, or with
`pacing` how fast they may leave. Who places the fault has settled `auto` before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

from chaosproxy.declare import Choice
from chaosproxy.seed import Dice

__all__ = [
    "MODE",
    "NEVER",
    "Close",
    "Depth",
    "Direction",
    "Admission",
    "Drop",
    "Existing",
    "Fault",
    "HalfClose",
    "Handshake",
    "Loss",
    "Mode",
    "Opening",
    "Reset",
    "Reply",
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
Mode = Literal["packet", "stream"]
"""Where a fault acts: on the packets that the kernel receives and sends, or on the stream of bytes."""
MODE = Choice("auto", "packet", "stream")
"""`auto` is packet where this machine can, else stream."""
Reply = Literal["accept", "hold", "refuse", "silence"]
"""What a new client meets: a connection; one that nobody serves yet; ECONNREFUSED; nothing at all."""
Handshake = Literal["stall", "reset", "expired_cert", "wrong_host", "unknown_ca", "old_version"]
"""How a TLS handshake with a client goes wrong."""


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
    unread: bool = False
    """The sender's data is left in the kernel, so that its window closes; only what is already here is held."""

    def on_step(self, step: Step) -> Iterable[Step]:
        """What becomes of `step`, which arrived here at `step.due`."""
        return (step,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        """What is to flow because the alarm's time has come; must set a new alarm, or NEVER."""
        self.alarm = NEVER
        return ()

    def let_go(self) -> Iterable[Step]:
        """What it has been shown and not answered, because it must see more to decide: the stage is taken away."""
        return ()

    def take_over(self, old: Stage) -> None:
        """Carry on from the stage that stood here before the fault's settings changed."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a fault is given to open a Stage."""

    make_dice: Callable[[], Dice]
    """Dice are made for those who throw them alone: making them takes longer than all the rest."""
    now: float
    """When the fault began to act on this pipe."""
    common: object
    """What the fault's `common()` made: shared by all its stages of one direction."""

    @property
    def dice(self) -> Dice:
        """Its own stream: nobody else's draws shift it. The same from its beginning each time it is asked for."""
        return self.make_dice()


@dataclass(frozen=True, slots=True)
class Admission:
    """What a fault does before there is a connection."""

    reply: Reply = "accept"
    """What a new client meets."""
    existing: Existing = "keep"
    """What becomes of the connections that are open when a reply other than `accept` begins."""
    delay: float = 0.0
    """Seconds for which an accepted connection waits before anything is done about it."""
    by_filter: bool = False
    """`silence` is kept by a kernel filter that swallows SYNs; without one, by a backlog that is full."""
    drop: Drop | None = None
    """Which of the packets are lost that new clients send, until their connection is accepted."""
    handshake: Handshake | None = None
    """How TLS goes wrong for an accepted connection; None leaves it right."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Which of the packets that bring one direction's data are lost before TCP sees them."""

    share: float = 1.0
    """Chance of each packet, by the kernel's own dice."""
    spare_acks: bool = False
    """Packets that carry an acknowledgement alone pass, so that the other direction goes on in full."""


class Loss:
    """A fault's running state on the packets of one pipe. As it stands it always loses the same."""

    changes_at: float = NEVER
    """When `change` is to be called."""

    def __init__(self, drop: Drop | None) -> None:
        self.drop = drop
        """What is lost until then; None loses nothing."""

    def change(self, now: float) -> None:
        """Its time has come: `drop` and `changes_at` are set anew."""
        self.changes_at = NEVER


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
    at_listener: ClassVar[bool] = False
    """It acts on the listening socket, for every client: it cannot be for some of them only."""
    on_pipes: ClassVar[bool] = True
    """It acts on connections too, not on the listening socket alone."""
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = None
    """What its mode `packet` asks of the kernel; None where the type has no `mode`."""
    matches_sni: ClassVar[bool] = True
    """It can be for those connections only whose clients ask for some server's name in TLS."""
    needs_listen_tls: ClassVar[bool] = False
    """It acts on TLS that the proxy speaks with clients itself."""

    def check(self) -> Iterable[tuple[str, str]]:
        """(parameter, what is wrong; what would be right) for rules across parameters."""
        return ()

    def why_stream(self) -> str:
        """Why mode `auto` means stream for these settings on any machine; empty where it need not."""
        return ""

    def in_mode(self, mode: Mode) -> Fault:
        """The same fault with its mode settled, for a type that has one."""
        return replace(self, mode=mode)  # type: ignore[type-var]  # every fault type is a dataclass, this base is none

    def open(self, opening: Opening) -> Stage | None:
        """A stage for one pipe; None where this type acts at the door or in the kernel alone."""
        return None

    def loss(self, opening: Opening) -> Loss | None:
        """What the kernel loses of one pipe's packets; None where nothing."""
        return None

    def pacing(self) -> float | None:
        """Bytes per second at which the kernel lets one pipe's packets leave; None where it is not to."""
        return None

    def severs(self) -> bool:
        """While it acts, nothing at all gets through a pipe that it touches."""
        return False

    def admission(self) -> Admission | None:
        """What it does at the door; None where it acts on pipes alone."""
        return None

    def common(self) -> object:
        """State that all stages of one direction share, such as one bucket; None for most."""
        return None
