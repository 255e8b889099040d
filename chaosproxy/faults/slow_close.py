"""Slow close: the end of the stream arrives late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, param
from chaosproxy.faults.base import Close, Depth, Fault, HalfClose, Opening, Stage, Step

__all__ = ["SlowClose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowClose(Fault):
    """Delivers the end of the stream `delay` after it was sent; data and resets pass at once."""

    type: ClassVar[str] = "slow_close"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "delays the end of the connection"
    models: ClassVar[str] = "A peer that is slow to shut down; lingering connections, pools that run out of sockets."
    example: ClassVar[str] = "{type: slow_close, delay: 2s}"

    delay: float = param(Duration(), "time that the end is held", example="2s")

    def open(self, opening: Opening) -> Stage:
        return _Linger(self.delay)


class _Linger(Stage):
    def __init__(self, delay: float) -> None:
        self._delay = delay

    def on_step(self, step: Step) -> tuple[Step]:
        if isinstance(step, HalfClose | Close):
            step.due += self._delay
        return (step,)
