"""Corrupt: bytes arrive other than they were sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Share, param
from chaosproxy.faults.base import Fault, Opening, Send, Stage, Step
from chaosproxy.faults.noise import UNIT, Noise

__all__ = ["Corrupt"]


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
        UNIT, "`bit` flips one bit of a byte, `byte` replaces it", default="bit", example="byte"
    )

    def open(self, opening: Opening) -> Stage:
        return _Corrupting(Noise(self.rate, self.unit, opening.dice))


class _Corrupting(Stage):
    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    def on_step(self, step: Step) -> Iterable[Step]:
        if not isinstance(step, Send):
            return (step,)
        data = self._noise.change(step.data)
        return (step,) if data is step.data else (Send(step.due, data),)
