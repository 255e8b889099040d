"""Bandwidth: a link with a limited rate; faster data queues."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.declare import Flag, Is, Rate, Rule, Set, Size, param
from chaosproxy.faults.base import MODE, Fault, Opening, Send, Stage, Step

__all__ = ["Bandwidth"]

_SLICE_SECONDS = 0.002
PACED_FROM, PACED_TO = 100e6, 400e6
"""Mode `auto` uses the kernel's pacing between these rates, in bytes per second. There the error is at most 0.5 %, for
a third of the CPU: eight streams of 200 MB/s on one core were 4 % short, 13 % with the bucket. Above, pacing is off by
1 to 4 % on loopback. Below, the bucket is cheap, and does not send ten unpaced segments first (docs/performance.md)."""
_SMALLEST_SLICE, _LARGEST_SLICE = 1448, 65536  # the data of an Ethernet TCP segment; the most that one read returns
_LONGEST_SLICE_SECONDS = 0.05
"""A piece leaves when there is credit for its last byte, so at a low rate a whole segment would arrive as one burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Fault):
    """A link that carries `rate` bytes per second; faster data queues.

    The link is a token bucket (the virtual scheduling form of ITU-T I.371). The bucket holds at
    most `burst` bytes of credit and starts full. Data leaves when there is credit for its last
    byte, in pieces of about 2 ms, 1448 to 65536 bytes each. Below 29 kB/s a piece is 50 ms of the
    rate, at least one byte: at 1 kB/s 50 bytes leave every 50 ms. `chunk` sets another size. Large
    chunks make bursts with pauses, as on a link with large frames. Small ones cost CPU per piece.

    With `shared` all connections of the proxy use one link for each direction. They take turns
    piece by piece, so connections that always have data to send get equal shares.

    In mode `packet` the kernel paces the data that it sends to the receiver (Linux,
    SO_MAX_PACING_RATE). That costs almost nothing and needs no privilege, but it supports none of
    `burst`, `shared` and `chunk`. It sends whole segments, the first ten of a connection at once,
    so it is too coarse for low rates. Mode `auto` uses pacing from 100 to 400 MB/s, where a few
    connections with token buckets would need a whole core and miss the rate. At other rates the
    bucket is more exact.
    """

    type: ClassVar[str] = "bandwidth"
    summary: ClassVar[str] = "limits the rate in bytes per second"
    models: ClassVar[str] = "A slow or congested link, a mobile network, the rate limit of a provider or container."
    example: ClassVar[str] = "{type: bandwidth, rate: 1MB/s}"
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "pacing"

    rate: float = param(Rate(), "bytes per second that pass", example="1MB/s")
    burst: int = param(Size(), "bytes that pass at once after a pause", default=0, example="64KiB")
    shared: bool = param(Flag(), "one limit for all connections together", default=False, example="true")
    chunk: int | None = param(
        Size(minimum=1), "the most bytes that leave together; default: 2 ms to 50 ms of the rate", default=None,
        example="256B",
    )  # fmt: skip
    mode: str = param(MODE, "packet: pacing in the kernel; stream: a token bucket", default="auto", example="stream")

    rules: ClassVar[tuple[Rule, ...]] = tuple(
        Rule(
            (name,), "invalid-together", "not supported in mode packet; remove it, or use mode: stream",
            Is("mode", "packet"), Set(name),
        )
        for name in ("burst", "shared", "chunk")
    )  # fmt: skip

    def why_stream(self) -> str:
        if self.burst or self.shared or self.chunk is not None:
            return "the kernel's pacing supports none of burst, shared and chunk"
        if not PACED_FROM <= self.rate <= PACED_TO:
            return "at this rate the token bucket is more exact than the kernel's pacing"
        return ""

    def pacing(self) -> float | None:
        return self.rate if self.mode == "packet" else None

    def open(self, opening: Opening) -> Stage | None:
        if self.mode == "packet":
            return None
        bucket = opening.common if self.shared else _Bucket(self.rate, self.burst)
        assert isinstance(bucket, _Bucket)
        return _Meter(bucket, opening.now, self.chunk or _slice_of(self.rate))

    def common(self) -> _Bucket | None:
        return _Bucket(self.rate, self.burst) if self.shared else None


class _Bucket:
    """Credit that grows with time, stored as the time at which all reservations are paid for."""

    __slots__ = ("burst_seconds", "paid_at", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst_seconds = burst / rate
        self.paid_at = -math.inf
        """After the current time: the end of the queue. Before it: the difference is credit."""

    def begin(self, now: float) -> None:
        """Start with a full bucket at `now`, unless the bucket has started already."""
        if self.paid_at == -math.inf:
            self.paid_at = now - self.burst_seconds

    def reserve(self, size: int, arrived: float) -> float:
        """Reserve credit for `size` bytes that arrived at `arrived`; return the time at which they have passed."""
        self.paid_at = max(self.paid_at, arrived - self.burst_seconds) + size / self.rate
        return max(self.paid_at, arrived)

    def carry_on(self, old: _Bucket, now: float) -> None:
        """Start with the remaining credit of `old`: changing a limit gives no new burst."""
        credit = max(0.0, now - old.paid_at) * old.rate
        self.paid_at = max(self.paid_at, now - min(credit / self.rate, self.burst_seconds))


def _slice_of(rate: float) -> int:
    """Return the bytes of one piece at this rate."""
    about = min(max(rate * _SLICE_SECONDS, _SMALLEST_SLICE), _LARGEST_SLICE)
    return max(1, int(min(about, rate * _LONGEST_SLICE_SECONDS)))


class _Meter(Stage):
    def __init__(self, bucket: _Bucket, now: float, quantum: int) -> None:
        self._bucket = bucket
        self._opened = now
        bucket.begin(now)
        self.quantum = quantum

    def on_step(self, step: Step) -> tuple[Step]:
        # One reservation at a time: the chain passes the next piece when this one has left, so
        # that other connections reserve in between. This makes the shares equal.
        if isinstance(step, Send):
            step.due = self._bucket.reserve(len(step.data), max(step.due, self._opened))
        return (step,)

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Meter) and old._bucket is not self._bucket:
            self._bucket.carry_on(old._bucket, self._opened)
