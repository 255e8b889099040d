"""Slicer: data arrives in small pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, Size, param
from chaosproxy.faults.base import Fault, Opening, Send, Stage, Step
from chaosproxy.seed import Dice

__all__ = ["Slicer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(Fault):
    """Cuts data into pieces of `size ± variation` bytes, at least 1, each sent `gap` after the one before.

    Sizes are drawn uniformly. Each chunk of data is cut separately, so its last piece may be
    shorter. Without a gap the receiver's kernel may join pieces again.
    """

    type: ClassVar[str] = "slicer"
    summary: ClassVar[str] = "cuts data into small pieces, with a pause before each"
    models: ClassVar[str] = "Small segments, a chatty sender; finds readers that assume one message per read."
    example: ClassVar[str] = "{type: slicer, size: 64B, variation: 32B, gap: 1ms}"

    size: int = param(Size(minimum=1), "mean size of a piece", example="64B")
    variation: int = param(Size(), "largest difference of a piece from the mean", default=0, example="32B")
    gap: float = param(Duration(), "pause before each piece", default=0.0, example="1ms")

    def open(self, opening: Opening) -> Stage:
        return _Knife(self, opening.dice, opening.now)


class _Knife(Stage):
    """Lets the chain cut each piece: its quantum is the size of the next one."""

    def __init__(self, settings: Slicer, dice: Dice, now: float) -> None:
        self._least = max(1, settings.size - settings.variation)
        self._most = settings.size + settings.variation
        self._gap = settings.gap
        self._dice = dice
        self._free_at = now  # data that has arrived before leaves in pieces from now on, and not in a burst
        self.quantum = self._draw()

    def on_step(self, step: Step) -> Iterable[Step]:
        if isinstance(step, Send):
            self._free_at = step.due = max(step.due, self._free_at) + self._gap
            if self._least != self._most:
                self.quantum = self._draw()
        return (step,)

    def _draw(self) -> int:
        return self._least if self._least == self._most else self._dice.randint(self._least, self._most)
