"""Slicer: data arrives in small pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, Size, param
from chaosproxy.errors import Problem
from chaosproxy.faults.base import Fault, Opening, Send, Stage, Step
from chaosproxy.seed import Dice

__all__ = ["Slicer"]

_SLICES_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer(Fault):
    """Cuts data into pieces of `size ± variation` bytes, each sent `gap` after the one before.

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

    def check(self) -> Iterable[Problem]:
        if self.variation >= self.size:
            message = "is not less than size, so a piece could be empty; use less than the size"
            yield Problem(("variation",), "invalid-together", message)

    def open(self, opening: Opening) -> Stage:
        return _Knife(self, opening.dice)


class _Knife(Stage):
    def __init__(self, settings: Slicer, dice: Dice) -> None:
        self._least, self._most = settings.size - settings.variation, settings.size + settings.variation
        self._gap = settings.gap
        self._dice = dice
        self.quantum = settings.size * _SLICES_AT_ONCE  # limits the number of pieces per step
        self._free_at = 0.0

    def on_step(self, step: Step) -> Iterable[Step]:
        if not isinstance(step, Send):
            return (step,)
        pieces: list[Step] = []
        data, start = step.data, 0
        due = max(step.due, self._free_at)
        while start < len(data):
            size = self._least if self._least == self._most else self._dice.randint(self._least, self._most)
            due += self._gap
            pieces.append(Send(due, data[start : start + size]))
            start += size
        self._free_at = due
        if len(pieces) == 1:
            step.due = due
            return (step,)
        return pieces
