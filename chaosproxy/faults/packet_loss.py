"""Packet loss: real in the kernel, or simulated on the stream, where lost data arrives late.

Two implementations share the settings. In mode `packet` the kernel drops packets: `loss` gives
the Drop of each pipe, and `_Bursty` changes it on a schedule for the Gilbert-Elliott model. In
mode `stream` the stage `_Lossy` computes for each packet's worth of data when TCP's
retransmissions would have delivered it. No byte is removed in mode `stream`, and the order stays:
a receiver of TCP sees loss as delay. Both modes lose the same share of packets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.declare import Duration, Given, Is, Not, Rule, Set, Share, Struct, param
from chaosproxy.faults.base import MODE, NEVER, Admission, Depth, Drop, Fault, Loss, Opening, Reset, Send, Stage, Step
from chaosproxy.faults.correlated import CorrelatedNormal, probability_below
from chaosproxy.seed import Dice

__all__ = ["Burst", "PacketLoss"]

PACKET = 1448
"""Bytes of data in a full TCP segment on Ethernet: 1500 less 20 (IP), 20 (TCP) and 12 (time stamps)."""
FIRST_TIMEOUT = 0.2
"""Seconds before the first retransmission: the minimum of Linux; RFC 6298 (2.4) says one second."""
LONGEST_TIMEOUT = 120.0
"""Seconds: Linux's TCP_RTO_MAX; RFC 6298 (2.5) requires at least 60."""
MOST_RETRANSMISSIONS = 15
"""Retransmissions after which the sender gives up: Linux's tcp_retries2."""

_SHORTEST_STEP = 0.001
"""Seconds: each change of state costs a call of about 15 µs per connection."""
_MOST_TRIALS = 1e12
"""Steps: thirty years of the shortest ones."""

_Lost = Callable[[], bool]
"""Decide whether the next packet is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """The Gilbert-Elliott model: a channel that is good or bad, and may change with each packet.

    E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, "Estimates of
    error rates for codes on burst-noise channels", 1963. The channel is bad for p / (p + r) of
    all packets, in bursts of 1 / r packets on average.
    """

    p: float = param(Share(), "probability per packet that a good channel turns bad", example="1%")
    r: float = param(Share(), "probability per packet that a bad channel turns good", example="30%")
    loss_good: float = param(Share(), "share of packets lost while good", default=0.0, example="0.1%")
    loss_bad: float = param(Share(), "share of packets lost while bad", default=1.0, example="80%")
    step: float = param(
        Duration(above_zero=True), "in mode packet: time that counts as one packet, at least 1ms", default=0.01,
        example="1ms",
    )  # fmt: skip

    @property
    def bad(self) -> float:
        """Return the share of packets on a bad channel; a channel that never changes is good."""
        return self.p / (self.p + self.r) if self.p else 0.0

    @property
    def share(self) -> float:
        """Return the share of all packets that are lost."""
        return self.loss_good + self.bad * (self.loss_bad - self.loss_good)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketLoss(Fault):
    """Loses packets, which TCP retransmits: their data, and all data behind it, arrives late.

    In mode `packet` the kernel drops packets from the sender at that rate, before TCP sees them:
    data, acknowledgements and, in direction `upstream`, SYNs. The sender's own TCP retransmits,
    backs off and slows down. The kernel decides at random, independently of the seed. With
    `burst` the kernel drops at the rate of the channel's state. A kernel filter has no memory
    from packet to packet, so the state changes by the clock, on a schedule that follows from the
    seed: `step` of time counts as one packet.

    In mode `stream` the loss is simulated. Data counts as packets of at most 1448 bytes. A lost
    packet arrives after a retransmission timeout of 200 ms. The timeout doubles while the
    retransmission is lost too (RFC 6298, 5.5), up to 120 s; after 15 losses the packet is held
    until healed. Data behind a lost packet waits for it. No byte is ever removed. The end of the
    stream counts as a packet; a reset does not, since TCP does not retransmit it.

    `correlation` makes a loss more likely after a loss, without changing the share of losses
    (AR(1) on underlying normal numbers, as in `latency`). Retransmissions come so much later that
    neither correlation nor burst applies to them: they are lost with the overall share.
    """

    type: ClassVar[str] = "packet_loss"
    depth: ClassVar[Depth] = "packet"
    summary: ClassVar[str] = "loses packets: their data arrives after a retransmission timeout"
    models: ClassVar[str] = "Radio links, full queues, broken cables, as an application on TCP sees them."
    example: ClassVar[str] = "{type: packet_loss, rate: 2%}"
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "filters"

    rate: float | None = param(Share(), "share of packets lost; not with burst", default=None, example="2%")
    mode: str = param(MODE, "packet: in the kernel; stream: simulated", default="auto", example="stream")
    correlation: float = param(Share(), "similarity of each packet's fate to the last", default=0.0, example="25%")
    burst: Burst | None = param(
        Struct(Burst), "loss in bursts (Gilbert-Elliott)", default=None, example="{p: 1%, r: 30%}"
    )

    def severs(self) -> bool:
        return self.rate == 1.0

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("correlation",), "invalid-together", "not supported in mode packet; use burst instead, or mode: stream",
            Is("mode", "packet"), Set("correlation"),
        ),
        Rule(
            ("rate",), "missing", "is missing; add the share of packets lost, such as rate: 2%, or a burst",
            Not(Given("rate")), Not(Given("burst")),
        ),
        Rule(
            ("rate",), "invalid-together", "cannot be combined with burst, which has its own rates; use one of the two",
            Given("rate"), Given("burst"),
        ),
        Rule(
            ("correlation",), "invalid-together",
            "cannot be combined with burst, which is correlated already; use one of the two",
            Given("burst"), Set("correlation"),
        ),
    )  # fmt: skip

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
        """Return the share of all packets that are lost."""
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
    bad = dice.random() < burst.bad  # the state of a channel that has been running for a long time

    def lost() -> bool:
        nonlocal bad
        loss = burst.loss_bad if bad else burst.loss_good
        answer = dice.random() < loss
        if dice.random() < (burst.r if bad else burst.p):
            bad = not bad
        return answer

    return lost


class _Bursty(Loss):
    """A channel whose state lasts a whole number of steps, with the model's geometric distribution."""

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
        """Set the drop of this state and its end, counted from the state's start and not from a late timer."""
        burst = self._burst
        share = burst.loss_bad if self._bad else burst.loss_good
        self.drop = Drop(share) if share else None
        self.changes_at += _trials(burst.r if self._bad else burst.p, self._dice) * max(burst.step, _SHORTEST_STEP)


def _trials(chance: float, dice: Dice) -> float:
    """Draw the number of trials up to and including the first success; NEVER if success is impossible."""
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
        """Keep a run of packets without a loss in one piece; start the next piece at a lost packet."""
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
        """Return the seconds by which the next packet is late, for all of its losses."""
        if not self._lost():
            return 0.0
        late = timeout = FIRST_TIMEOUT
        for _ in range(MOST_RETRANSMISSIONS):
            if not self._lost_again():
                return late
            timeout = min(2 * timeout, LONGEST_TIMEOUT)
            late += timeout
        return NEVER
