"""Packet loss: real in the kernel, or as the receiver of a TCP stream sees it: late, never cut out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.declare import Duration, Share, Struct, param
from chaosproxy.faults.base import MODE, NEVER, Admission, Depth, Drop, Fault, Loss, Opening, Reset, Send, Stage, Step
from chaosproxy.faults.correlated import CorrelatedNormal, probability_below
from chaosproxy.seed import Dice
from chaosproxy.units import format_duration

__all__ = ["Burst", "PacketLoss"]

PACKET = 1448
"""Bytes of data in a full TCP segment on Ethernet: 1500 less 20 (IP), 20 (TCP) and 12 (time stamps)."""
FIRST_TIMEOUT = 0.2
"""Seconds before the first retransmission: Linux's least, where RFC 6298 (2.4) says one second."""
LONGEST_TIMEOUT = 120.0
"""Seconds: Linux's TCP_RTO_MAX; RFC 6298 (2.5) asks for at least 60."""
MOST_RETRANSMISSIONS = 15
"""After so many the sender gives up: Linux's tcp_retries2."""

_SHORTEST_STEP = 0.001
"""Seconds: each change of state is a call per connection, of some 15 µs."""
_MOST_TRIALS = 1e12
"""Thirty years of the shortest steps."""

_Lost = Callable[[], bool]
"""Whether the next packet sent is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """The Gilbert-Elliott model: a channel that is good or bad, and changes with each packet.

    E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, "Estimates of
    error rates for codes on burst-noise channels", 1963. It is bad for p / (p + r) of all
    packets, in bursts of 1 / r packets on average.
    """

    p: float = param(Share(), "chance that a good channel turns bad, per packet", example="1%")
    r: float = param(Share(), "chance that a bad channel turns good again, per packet", example="30%")
    loss_good: float = param(Share(), "share of packets lost while good", default=0.0, example="0.1%")
    loss_bad: float = param(Share(), "share of packets lost while bad", default=1.0, example="80%")
    step: float = param(
        Duration(above_zero=True), "mode packet: the time that stands for one packet", default=0.01, example="1ms"
    )

    @property
    def bad(self) -> float:
        """The share of packets that meet a bad channel; one that never changes is good."""
        return self.p / (self.p + self.r) if self.p else 0.0

    @property
    def share(self) -> float:
        """The share of all packets that are lost."""
        return self.loss_good + self.bad * (self.loss_bad - self.loss_good)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketLoss(Fault):
    """Packets are lost and sent again: what they carry, and all behind it, arrives late.

    In mode `packet` the kernel drops what arrives from the sender at that rate, before TCP
    sees it: data, acknowledgements and, in direction `upstream`, SYNs. The sender's own TCP
    retransmits, backs off and slows down. The dice are the kernel's, not the seed's. With
    `burst` the kernel drops at the rate of the channel's state, and the state changes by
    the clock, on a schedule that follows from the seed: a filter keeps no memory from one
    packet to the next, so `step` of time stands for one packet.

    In mode `stream` the loss is computed, not real. Data is taken as packets of up to 1448
    bytes. A lost one arrives after a retransmission time-out of 200 ms, which doubles while
    the retransmission is lost too (RFC 6298, 5.5), up to 120 s; after 15 it is held until
    healed. What is behind a lost packet waits for it. No byte is ever cut out. The end of
    the stream is a packet too; a reset is not, since nobody would send it again.

    `correlation` makes a loss more likely after a loss, with the share of losses kept:
    AR(1) on an underlying normal, as in `latency`. Retransmissions come so much later that
    neither correlation nor burst reaches them: they are lost with the overall share.
    """

    type: ClassVar[str] = "packet_loss"
    depth: ClassVar[Depth] = "packet"
    summary: ClassVar[str] = "loses packets: their data arrives after a retransmission time-out"
    models: ClassVar[str] = "Radio links, overfull queues, broken cables, as an application on TCP sees them."
    example: ClassVar[str] = "{type: packet_loss, rate: 2%}"
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "filters"

    rate: float | None = param(Share(), "share of packets lost; leave it out with burst", default=None, example="2%")
    mode: str = param(MODE, "where the loss happens", default="auto", example="stream")
    correlation: float = param(Share(), "how much each packet's fate is like the last's", default=0.0, example="25%")
    burst: Burst | None = param(
        Struct(Burst), "loss in bursts (Gilbert-Elliott)", default=None, example="{p: 1%, r: 30%}"
    )

    def check(self) -> Iterable[tuple[str, str]]:
        if self.mode == "packet" and self.correlation:
            yield "correlation", "cannot be had in mode packet; give burst instead, or mode: stream"
        if self.rate is None and self.burst is None:
            yield "rate", "is missing; give the share of packets lost, such as rate: 2%, or a burst"
        if self.burst is not None and self.rate is not None:
            yield "rate", "cannot stand beside burst, which has rates of its own; give one of the two"
        if self.burst is not None and self.burst.step < _SHORTEST_STEP:
            yield "burst", f"has a step of {format_duration(self.burst.step)}; give at least 1ms"
        if self.burst is not None and self.correlation:
            yield "correlation", "cannot stand beside burst, which is correlated by itself; give one of the two"

    def why_stream(self) -> str:
        return "a kernel filter has no memory for correlation" if self.correlation else ""

    def open(self, opening: Opening) -> Stage | None:
        if self.mode == "packet":
            return None
        dice, share = opening.dice, self._share()
        return _Lossy(self._channel(dice), lambda: dice.random() < share)

    def loss(self, opening: Opening) -> Loss | None:
        if self.mode != "packet":
            return None
        if self.burst is not None:
            return _Bursty(self.burst, opening.dice, opening.now)
        return Loss(Drop(self._share()))

    def admission(self) -> Admission | None:
        return Admission(drop=Drop(self._share())) if self.mode == "packet" else None

    def _share(self) -> float:
        """The share of all packets that are lost."""
        return self.burst.share if self.burst is not None else self.rate or 0.0

    def _channel(self, dice: Dice) -> _Lost:
        if self.burst is not None:
            return _bursts(self.burst, dice)
        rate = self._share()
        if not self.correlation:
            return lambda: dice.random() < rate
        normal = CorrelatedNormal(dice, self.correlation)
        return lambda: probability_below(normal.draw()) < rate


def _bursts(burst: Burst, dice: Dice) -> _Lost:
    bad = dice.random() < burst.bad  # it starts as a channel that has been running for long

    def lost() -> bool:
        nonlocal bad
        loss = burst.loss_bad if bad else burst.loss_good
        answer = dice.random() < loss
        if dice.random() < (burst.r if bad else burst.p):
            bad = not bad
        return answer

    return lost


class _Bursty(Loss):
    """A channel whose state lasts a whole number of steps, geometrically distributed as the model has it."""

    def __init__(self, burst: Burst, dice: Dice, now: float) -> None:
        self._burst, self._dice = burst, dice
        self._bad = dice.random() < burst.bad
        self.changes_at = now
        self._last()

    def change(self, now: float) -> None:
        while self.changes_at <= now:
            self._bad = not self._bad
            self._last()

    def _last(self) -> None:
        """What is lost in this state, and when it ends: counted from when it began, not from a late timer."""
        burst = self._burst
        share = burst.loss_bad if self._bad else burst.loss_good
        self.drop = Drop(share) if share else None
        self.changes_at += _trials(burst.r if self._bad else burst.p, self._dice) * burst.step


def _trials(chance: float, dice: Dice) -> float:
    """How many trials until the first success, success included; NEVER where none can come."""
    if chance <= 0:
        return NEVER
    if chance >= 1:
        return 1
    trials = math.log1p(-dice.random()) / math.log1p(-chance)
    return NEVER if trials > _MOST_TRIALS else max(1, math.ceil(trials))


class _Lossy(Stage):
    def __init__(self, lost: _Lost, lost_again: _Lost) -> None:
        self._lost = lost
        self._lost_again = lost_again

    def on_step(self, step: Step) -> Iterable[Step]:
        match step:
            case Send():
                return self._send(step)
            case Reset():
                return (step,)
        step.due += self._lateness()
        return (step,)

    def _send(self, step: Send) -> Iterable[Step]:
        """A run of packets without a loss stays in one piece; a lost one starts the next."""
        data, arrived, due = step.data, step.due, step.due
        runs: list[Step] = []
        start = 0
        for packet in range(0, len(data), PACKET):
            late = self._lateness()
            if arrived + late > due:
                if packet > start:
                    runs.append(Send(due, data[start:packet]))
                start, due = packet, arrived + late
        if start == 0:
            step.due = due
            return (step,)
        runs.append(Send(due, data[start:]))
        return runs

    def _lateness(self) -> float:
        """Seconds by which the next packet is late, for all the times it is lost."""
        if not self._lost():
            return 0.0
        late = timeout = FIRST_TIMEOUT
        for _ in range(MOST_RETRANSMISSIONS):
            if not self._lost_again():
                return late
            timeout = min(2 * timeout, LONGEST_TIMEOUT)
            late += timeout
        return NEVER
