"""Corrupt: bytes arrive other than they were sent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, Share, param
from chaosproxy.faults.base import Fault, Opening, Send, Stage, Step
from chaosproxy.seed import Dice

__all__ = ["Corrupt"]

_LONGEST_GAP = 2.0**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(Fault):
    """Changes each byte with chance `rate`: one of its bits, or all of it to another value.

    The length is kept, and a byte that is chosen always changes. Which bytes of the stream
    are chosen does not depend on how it is cut into chunks: the distance from one to the
    next is drawn, which has a geometric distribution, and costs nothing for bytes between.
    """

    type: ClassVar[str] = "corrupt"
    summary: ClassVar[str] = "changes bytes at random, length kept"
    models: ClassVar[str] = "Bad memory, a broken middlebox, errors that TCP's weak checksum does not catch."
    example: ClassVar[str] = "{type: corrupt, rate: 0.01%}"

    rate: float = param(Share(), "chance that a byte is changed", example="0.01%")
    unit: str = param(
        Choice("bit", "byte"), "`bit` flips one bit of a byte, `byte` replaces it", default="bit", example="byte"
    )

    def open(self, opening: Opening) -> Stage:
        return _Noise(self.rate, self.unit, opening.dice)


class _Noise(Stage):
    def __init__(self, rate: float, unit: str, dice: Dice) -> None:
        self._rate = rate
        self._one_bit = unit == "bit"
        self._dice = dice
        self._clean = self._gap()
        """How many bytes pass before the next one that is changed."""

    def on_step(self, step: Step) -> Iterable[Step]:
        if not isinstance(step, Send):
            return (step,)
        size = len(step.data)
        if size <= self._clean:
            self._clean -= size
            return (step,)
        data, place = bytearray(step.data), self._clean
        while place < size:
            data[place] ^= self._error()
            place += 1 + self._gap()
        self._clean = place - size
        return (Send(step.due, bytes(data)),)

    def _error(self) -> int:
        """What a byte is combined with (exclusive or); never 0, so that it always changes."""
        return 1 << self._dice.randrange(8) if self._one_bit else self._dice.randrange(1, 256)

    def _gap(self) -> int:
        """Bytes left alone before the next error: geometric, by inverting its distribution."""
        if self._rate >= 1:
            return 0
        if self._rate <= 0:
            return int(_LONGEST_GAP)
        return int(min(math.log(1 - self._dice.random()) / math.log1p(-self._rate), _LONGEST_GAP))
