"""Stall: hold everything, then release it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, Given, Not, Rule, param
from chaosproxy.faults.base import Fault, Opening, Stage, Step
from chaosproxy.faults.hold import Hold
from chaosproxy.faults.origin import Origin

__all__ = ["Stall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall(Fault):
    """Holds everything for the time `for`, then releases it at once; repeats each `every`.

    Without `for`, or with one that is not shorter than `every`, it holds until healed. Without
    `every` each connection stalls once, when the fault begins to act on it. With `every` all
    connections of the proxy stall together; the first stall begins with the first connection.
    """

    type: ClassVar[str] = "stall"
    summary: ClassVar[str] = "holds everything, once, repeatedly or until healed, then releases it at once"
    models: ClassVar[str] = "A garbage collection, a paused process or virtual machine, a lock, a saturated disk."
    example: ClassVar[str] = "{type: stall, for: 2s, every: 10s}"

    hold: float | None = param(
        Duration(above_zero=True), "time that each stall lasts", name="for", default=None, example="2s"
    )
    every: float | None = param(
        Duration(above_zero=True), "time from the start of one stall to the next", default=None, example="10s"
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("every",), "invalid-together", "needs for, the time that each stall lasts; add it, such as for: 2s",
            Given("every"), Not(Given("for")),
        ),
    )  # fmt: skip

    def open(self, opening: Opening) -> Stage:
        if self.hold is None or self.severs():
            return Hold()
        if self.every is None:
            return _Pause(self.hold, None, Origin(opening.now))
        assert isinstance(opening.common, Origin)
        opening.common.begin(opening.now)
        return _Pause(self.hold, self.every, opening.common)

    def common(self) -> Origin:
        return Origin()

    def severs(self) -> bool:
        return self.hold is None or (self.every is not None and self.hold >= self.every)


class _Pause(Stage):
    def __init__(self, hold: float, every: float | None, origin: Origin) -> None:
        self._hold = hold
        self._every = every
        self._origin = origin

    def on_step(self, step: Step) -> tuple[Step]:
        start = self._origin.begin(step.due)
        if self._every is not None and step.due > start:
            start += (step.due - start) // self._every * self._every
        if step.due < start + self._hold:
            step.due = start + self._hold
        return (step,)

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Pause) and (old._every is None) == (self._every is None):
            self._origin.at = old._origin.at
