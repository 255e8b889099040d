"""Latency: what is sent arrives later, by a delay that may vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, param
from chaosproxy.faults.base import Fault, Opening, Stage, Step

__all__ = ["Latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Fault):
    """A link on which everything arrives `delay` later, order kept."""

    type: ClassVar[str] = "latency"
    summary: ClassVar[str] = "delays everything, by a constant or varying time"
    models: ClassVar[str] = "Distance, queues in routers, a slow server, a mobile network."
    example: ClassVar[str] = "{type: latency, delay: 100ms, jitter: 20ms, distribution: normal}"

    delay: float = param(Duration(), "mean delay", example="100ms")

    def open(self, opening: Opening) -> Stage:
        return _Delay(self.delay)


class _Delay(Stage):
    def __init__(self, delay: float) -> None:
        self._delay = delay

    def on_step(self, step: Step) -> tuple[Step]:
        step.due += self._delay
        return (step,)
