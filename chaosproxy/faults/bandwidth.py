"""Bandwidth: a link that carries so many bytes per second; what is sent faster queues."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.declare import Flag, Rate, Size, param
from chaosproxy.errors import Problem
from chaosproxy.faults.base import MODE, Fault, Opening, Send, Stage, Step

__all__ = ["Bandwidth"]

_SLICE_SECONDS = 0.002
PACED_FROM, PACED_TO = 100e6, 400e6
"""Bytes per second between which the kernel keeps the rate for us. There it is off by at most 0.5 %, for a third of the
CPU: eight streams of 200 MB/s on one core were 4 % short, with the bucket 13 %. Above, it strays by 1 to 4 % on
loopback; below, the bucket is cheap enough, and has no ten unpaced segments at the start (docs/performance.md)."""
_SMALLEST_SLICE, _LARGEST_SLICE = 1448, 65536  # an Ethernet TCP segment's data; what one read gives at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Fault):
    """A link that carries `rate` bytes per second; what is sent faster queues.

    A token bucket (in the virtual scheduling form of ITU-T I.371): it holds at most `burst`
    bytes of credit, starts full, and data leaves once its last byte is paid for. Data
    travels in pieces of about 2 ms, 1448 to 65536 bytes each.

    `shared` makes one link of all connections of the proxy, in each direction. They take
    turns, one piece each: connections that all have data to send get equal shares.

    In mode `packet` the kernel paces what the receiver's socket sends (Linux,
    SO_MAX_PACING_RATE), which costs next to nothing and needs no privilege, but knows
    neither `burst` nor `shared`, and lets the first ten segments of a connection go at
    once. Mode `auto` takes it from 100 to 400 MB/s, where a few connections with a bucket
    each would take the whole core and fall short; elsewhere the bucket is the more exact.
    """

    type: ClassVar[str] = "bandwidth"
    summary: ClassVar[str] = "limits the rate in bytes per second"
    models: ClassVar[str] = "A thin or crowded line, a mobile network, a provider's or container's rate limit."
    example: ClassVar[str] = "{type: bandwidth, rate: 1MB/s}"
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "pacing"

    rate: float = param(Rate(), "bytes per second that pass", example="1MB/s")
    burst: int = param(Size(), "bytes that pass at once after a pause", default=0, example="64KiB")
    shared: bool = param(Flag(), "one limit for all connections together", default=False, example="true")

    mode: str = param(MODE, "who keeps the rate: the kernel, or a token bucket", default="auto", example="stream")

    def check(self) -> Iterable[Problem]:
        for name in ("burst", "shared"):
            if self.mode == "packet" and getattr(self, name):
                message = "cannot be had in mode packet; leave it out, or give mode: stream"
                yield Problem((name,), "invalid-together", message)

    def why_stream(self) -> str:
        if self.burst or self.shared:
            return "the kernel's pacing knows neither burst nor shared"
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
        return _Meter(bucket, opening.now)

    def common(self) -> _Bucket | None:
        return _Bucket(self.rate, self.burst) if self.shared else None


class _Bucket:
    """Credit that grows with time; kept as the moment at which all reservations are paid for."""

    __slots__ = ("burst_seconds", "paid_at", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst_seconds = burst / rate
        self.paid_at = -math.inf
        """Ahead of the clock: what is queued; behind it: credit."""

    def begin(self, now: float) -> None:
        """Credit counts from `now`, with the bucket full, unless it began before."""
        if self.paid_at == -math.inf:
            self.paid_at = now - self.burst_seconds

    def reserve(self, size: int, arrived: float) -> float:
        """When `size` bytes that arrived at `arrived` have passed."""
        self.paid_at = max(self.paid_at, arrived - self.burst_seconds) + size / self.rate
        return max(self.paid_at, arrived)

    def carry_on(self, old: _Bucket, now: float) -> None:
        """Begin with the credit that `old` had left: changing a limit gives no new burst."""
        credit = max(0.0, now - old.paid_at) * old.rate
        self.paid_at = max(self.paid_at, now - min(credit / self.rate, self.burst_seconds))


class _Meter(Stage):
    def __init__(self, bucket: _Bucket, now: float) -> None:
        self._bucket = bucket
        self._opened = now
        bucket.begin(now)
        self.quantum = int(min(max(bucket.rate * _SLICE_SECONDS, _SMALLEST_SLICE), _LARGEST_SLICE))

    def on_step(self, step: Step) -> tuple[Step]:
        # One reservation at a time: the chain shows the next piece when this one has left,
        # and the other connections' reservations come in between. That is what is fair.
        if isinstance(step, Send):
            step.due = self._bucket.reserve(len(step.data), max(step.due, self._opened))
        return (step,)

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Meter) and old._bucket is not self._bucket:
            self._bucket.carry_on(old._bucket, self._opened)
