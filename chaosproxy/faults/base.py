"""The contract of a fault type: settings that open a Stage per pipe, lose its packets, or change admission.

A Fault is a frozen dataclass of settings. It can act in three places, each with its own method:

    open       a Stage for one pipe, which delays, drops or changes the Steps of the pipe
    loss       a Loss for one pipe, in mode `packet`: the packets that the kernel drops
    admission  an Admission for new clients: accept, hold, refuse or ignore them

A Stage never waits, reads a clock or touches a socket. It receives Steps, each stamped with the
time of its arrival, and returns Steps: later, fewer, smaller or different ones. The Chain calls
it (faults.chain), and a scheduler performs the steps when they are due.

Every Stage keeps these rules, and the contract suite in tests/faults checks each type:
- a step is never due before it arrived, and steps leave in the order in which they came;
- a stage that does not change a step returns the same object;
- the chain gives a stage its next step only when everything it returned before has left. So a
  stage computes times only for the head of its queue: changing a fault recomputes the times of
  all other steps, and removing a fault releases them, without any code in the stage;
- a step that is due `NEVER` is held until the fault is changed or removed.

A type that has a `mode` can act in the kernel instead (mode `packet`). Then `open` returns None,
and `loss` or `pacing` describes the work of the kernel. `auto` is resolved before any of these
methods is called (`in_mode`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

from chaosproxy.declare import Choice, Rule, broken_rules
from chaosproxy.errors import Problem
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
"""The layer of a fault: the packets that the kernel receives and sends, or the stream of bytes."""
MODE = Choice("auto", "packet", "stream")
"""`auto` is packet if this machine supports it, else stream."""
Reply = Literal["accept", "hold", "refuse", "silence"]
"""The reply to a new client: a connection, one that is not served yet, ECONNREFUSED, or nothing."""
Handshake = Literal["stall", "reset", "expired_cert", "wrong_host", "unknown_ca", "old_version"]
"""A way in which a TLS handshake with a client fails."""


@dataclass(slots=True)
class Send:
    """Bytes in flight. Not frozen, because one is made per chunk (0.2 µs instead of 0.5)."""

    due: float
    """The time at which it may leave: seconds on the data plane's clock."""
    data: bytes

    def piece(self, start: int, stop: int) -> Send:
        """Return some of its bytes, with the same due time."""
        return Send(self.due, self.data[start:stop])


@dataclass(slots=True)
class HalfClose:
    """End-of-stream in one direction; the other goes on (TCP half-close, RFC 9293 §3.6)."""

    due: float


@dataclass(slots=True)
class Close:
    """An injected end of the whole connection, orderly on both sides."""

    due: float
    origin: str | None = None
    """Name of the fault that made it; None for a peer."""


@dataclass(slots=True)
class Reset:
    """A break of the connection: RST to both sides (RFC 9293 §3.5.2)."""

    due: float
    origin: str | None = None
    """Name of the fault that made it; None for a peer."""


Step: TypeAlias = Send | HalfClose | Close | Reset


class Stage:
    """A fault's running state in one pipe. This base class changes nothing."""

    quantum: int = 2**63
    """The most bytes in a Send passed to the stage; the chain cuts longer ones. It may change after each step."""
    alarm: float = NEVER
    """The time at which to call `on_alarm`, even if the pipe is idle."""
    unread: bool = False
    """True to leave the sender's data in the kernel, so that its window closes; data read before is held."""

    def cuts(self, step: Send) -> bool:
        """Return whether the chain may cut a Send that is longer than `quantum`."""
        return True

    def on_step(self, step: Step) -> Iterable[Step]:
        """Return the steps to send on for `step`, which arrived at `step.due`."""
        return (step,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        """Return the steps to send at the alarm's time; set a new alarm, or NEVER."""
        self.alarm = NEVER
        return ()

    def let_go(self) -> Iterable[Step]:
        """Return the steps that the stage has received and kept, to see more before deciding; the stage is removed."""
        return ()

    def take_over(self, old: Stage) -> None:
        """Take over the state of the stage that this one replaces after a change of settings."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The arguments with which a fault opens a Stage."""

    make_dice: Callable[[], Dice]
    """A factory, because making dice takes longer than everything else, and few stages need them."""
    now: float
    """The time at which the fault begins to act on this pipe."""
    common: object
    """The result of the fault's `common()`, shared by its stages of one direction."""

    @property
    def dice(self) -> Dice:
        """Return the stage's own stream of random numbers, from its beginning at every call."""
        return self.make_dice()


@dataclass(frozen=True, slots=True)
class Admission:
    """The effect of a fault on new clients, before there is a connection."""

    reply: Reply = "accept"
    """The reply to a new client."""
    existing: Existing = "keep"
    """The action on connections that are open when a reply other than `accept` begins."""
    delay: float = 0.0
    """Seconds that an accepted connection waits before its upstream is dialled."""
    by_filter: bool = False
    """For `silence`: True for a kernel filter that drops SYNs, False for a full backlog."""
    drop: Drop | None = None
    """The packets of new clients to drop, until their connection is accepted."""
    handshake: Handshake | None = None
    """The way in which TLS fails for an accepted connection; None for correct TLS."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The packets of one direction that are lost before TCP sees them."""

    share: float = 1.0
    """Probability for each packet; the kernel decides."""
    spare_acks: bool = False
    """True to pass packets with only an acknowledgement, so that the other direction works in full."""


class Loss:
    """A fault's running state on the packets of one pipe. This base class never changes its drop."""

    changes_at: float = NEVER
    """The time at which to call `change`."""

    def __init__(self, drop: Drop | None) -> None:
        self.drop = drop
        """The packets to drop until then; None for none."""

    def change(self, now: float) -> None:
        """Set `drop` and `changes_at` for the time from `now` on."""
        self.changes_at = NEVER


class Fault:
    """A fault type's settings: a frozen dataclass of declared parameters.

    The class variables describe the type. A new type defines them, its parameters, and one of
    `open`, `loss` and `admission`.
    """

    __slots__ = ()

    type: ClassVar[str]
    """Its name in YAML, REST, metrics and docs."""
    depth: ClassVar[Depth] = "stream"
    summary: ClassVar[str]
    """The effect, in one line."""
    models: ClassVar[str]
    """The real failures that it models, in a sentence or two."""
    example: ClassVar[str]
    """A fault in YAML flow style, complete and valid: `{type: latency, delay: 100ms}`."""
    at_listener: ClassVar[bool] = False
    """True if it acts on the listening socket, and so on every client."""
    on_pipes: ClassVar[bool] = True
    """False if it acts on connecting alone, so that its direction has no meaning."""
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = None
    """The kernel feature that its mode `packet` needs; None if the type has no `mode`."""
    matches_sni: ClassVar[bool] = True
    """True if it can be limited to connections whose client sends a certain server name in TLS."""
    needs_listen_tls: ClassVar[bool] = False
    """True if it acts on TLS between the proxy and its clients."""

    rules: ClassVar[tuple[Rule, ...]] = ()
    """The rules across its parameters."""

    def check(self) -> Iterable[Problem]:
        """Yield the problems across parameters; their paths begin at a parameter."""
        return broken_rules(self)

    def why_stream(self) -> str:
        """Return the reason for which mode `auto` means stream with these settings on every machine; empty if none."""
        return ""

    def in_mode(self, mode: Mode) -> Fault:
        """Return the same fault with this mode, for a type that has a mode."""
        return replace(self, mode=mode)  # type: ignore[type-var]  # every fault type is a dataclass, this base is none

    def open(self, opening: Opening) -> Stage | None:
        """Return the stage for one pipe; None if the fault acts only on admission or in the kernel."""
        return None

    def loss(self, opening: Opening) -> Loss | None:
        """Return the packets of one pipe that the kernel drops; None for none."""
        return None

    def pacing(self) -> float | None:
        """Return the bytes per second at which the kernel sends one pipe's packets; None for no limit."""
        return None

    def severs(self) -> bool:
        """Return whether nothing of a new client gets through a pipe, or no client connects, while the fault acts."""
        return False

    def admission(self) -> Admission | None:
        """Return the effect on new clients; None if the fault acts only on pipes."""
        return None

    def common(self) -> object:
        """Return the state that all stages of one direction share, such as a bucket; None for most types."""
        return None
