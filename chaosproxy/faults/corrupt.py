"""Corrupt: bytes are changed on the way."""

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
    """Changes each byte with probability `rate`: flips one bit, or replaces the byte.

    The length stays the same, and a chosen byte always changes. The choice does not depend on
    how the stream is cut into chunks: the distance to the next chosen byte is drawn, from a
    geometric distribution, so that the bytes in between cost nothing.
    """

    type: ClassVar[str] = "corrupt"
    summary: ClassVar[str] = "changes bytes at random, without changing the length"
    models: ClassVar[str] = "Bad memory, a broken middlebox, errors that TCP's weak checksum does not catch."
    example: ClassVar[str] = "{type: corrupt, rate: 0.01%}"

    rate: float = param(Share(), "probability that a byte is changed", example="0.01%")
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
