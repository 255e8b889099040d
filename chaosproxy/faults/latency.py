"""Latency: data arrives later, by a constant or varying delay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, Duration, Not, Rule, Set, Share, Struct, param
from chaosproxy.faults.base import Fault, Opening, Stage, Step
from chaosproxy.faults.correlated import CorrelatedNormal
from chaosproxy.faults.origin import Origin
from chaosproxy.faults.spread import DISTRIBUTION, LOGNORMAL_NEEDS_DELAY, spread

__all__ = ["Latency", "Wave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """A periodic delay. It starts when the fault first acts, and all connections share its phase."""

    shape: str = param(
        Choice("sine", "square", "triangle", "saw"),
        "`sine` and `triangle` start at zero and rise, `square` starts high, `saw` rises from low to high",
        default="sine",
        example="square",
    )
    amplitude: float = param(Duration(above_zero=True), "largest change of the delay, up and down", example="50ms")
    period: float = param(Duration(above_zero=True), "time from one peak to the next", example="10s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Fault):
    """A link on which everything arrives `delay` later, in the same order.

    `jitter` spreads the delay. With `uniform` the delay lies within `delay ± jitter`; with every
    other distribution `delay` is the mean and `jitter` the standard deviation (`pareto` has
    shape 3, like netem's table). A delay below 0 counts as 0. A chunk never overtakes the one
    before it, so where chunks follow closely, the slowest of them determine the jitter.

    `correlation` makes each delay similar to the one before (an AR(1) process on the underlying
    normal numbers). The distribution stays as stated; with netem's correlation it does not.
    """

    type: ClassVar[str] = "latency"
    summary: ClassVar[str] = "delays everything, by a constant or varying time"
    models: ClassVar[str] = "Distance, queues in routers, a slow server, a mobile network."
    example: ClassVar[str] = "{type: latency, delay: 100ms, jitter: 20ms, distribution: normal}"

    delay: float = param(Duration(), "mean delay", example="100ms")
    jitter: float = param(Duration(), "spread of the delay", default=0.0, example="20ms")
    distribution: str = param(
        DISTRIBUTION,
        "distribution of the delay",
        default="uniform",
        example="normal",
    )
    correlation: float = param(Share(), "similarity of each delay to the one before", default=0.0, example="25%")
    wave: Wave | None = param(
        Struct(Wave), "periodic change added to the delay", default=None, example="{amplitude: 50ms, period: 10s}"
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("correlation",), "invalid-together", "has no effect without jitter; add one, such as jitter: 20ms",
            Set("correlation"), Not(Set("jitter")),
        ),
        LOGNORMAL_NEEDS_DELAY,
    )  # fmt: skip

    def open(self, opening: Opening) -> Stage:
        if self.wave is None and not self.jitter:
            return _Constant(self.delay)
        return _Varying(self, opening)

    def common(self) -> Origin:
        return Origin()


class _Constant(Stage):
    def __init__(self, delay: float) -> None:
        self._delay = delay

    def on_step(self, step: Step) -> tuple[Step]:
        step.due += self._delay
        return (step,)


class _Varying(Stage):
    def __init__(self, settings: Latency, opening: Opening) -> None:
        assert isinstance(opening.common, Origin)
        self._origin = opening.common
        self._origin.begin(opening.now)
        self._wave = settings.wave
        self._normal = CorrelatedNormal(opening.dice, settings.correlation)
        self._delay = spread(settings.distribution, settings.delay, settings.jitter)

    def on_step(self, step: Step) -> tuple[Step]:
        delay = self._delay(self._normal.draw())
        if self._wave is not None:
            delay += _swing(self._wave, step.due - self._origin.begin(step.due))
        if delay > 0:
            step.due += delay
        return (step,)

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Varying):
            self._origin.at = old._origin.at


def _swing(wave: Wave, elapsed: float) -> float:
    """Return the seconds that the wave adds to the delay, `elapsed` seconds after its start."""
    turn = elapsed / wave.period % 1.0
    return wave.amplitude * _SHAPES[wave.shape](turn)


_SHAPES: dict[str, Callable[[float], float]] = {
    "sine": lambda turn: math.sin(math.tau * turn),
    "square": lambda turn: 1.0 if turn < 0.5 else -1.0,
    "triangle": lambda turn: 1 - 4 * abs((turn + 0.25) % 1.0 - 0.5),
    "saw": lambda turn: 2 * turn - 1,
}
"""Shapes of a wave: functions from 0..1, one period, to -1..1."""
