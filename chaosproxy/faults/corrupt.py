"""Corrupt: bytes are changed on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Share, param
from chaosproxy.faults.base import Fault, Opening, Send, Stage, Step
from chaosproxy.faults.noise import UNIT, Dense, Sparse, noise

__all__ = ["Corrupt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(Fault):
    """Changes each byte with probability `rate`: flips one bit, or replaces the byte.

    The length stays the same, and a chosen byte always changes. The choice does not depend on
    how the stream is cut into chunks, since random numbers are drawn for positions in the stream.
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
        return _Corrupting(noise(self.rate, self.unit, opening.dice))


class _Corrupting(Stage):
    quantum = 16 * 1024  # less than a millisecond of work, even if every byte changes

    def __init__(self, changes: Dense | Sparse) -> None:
        self._changes = changes

    def on_step(self, step: Step) -> Iterable[Step]:
        if not isinstance(step, Send):
            return (step,)
        data = self._changes.change(step.data)
        return (step,) if data is step.data else (Send(step.due, data),)
