"""Random changes of bytes; used by corrupt and http_corrupt."""

from __future__ import annotations

import math

from chaosproxy.declare import Choice
from chaosproxy.seed import Dice

__all__ = ["UNIT", "Noise"]

UNIT = Choice("bit", "byte")

_LONGEST_GAP = 2.0**62


class Noise:
    """Change each byte with probability `rate`, by drawing the distance to the next changed byte.

    That distance has a geometric distribution. Drawing it costs nothing for the bytes in between,
    and makes the result independent of the cut into chunks.
    """

    def __init__(self, rate: float, unit: str, dice: Dice) -> None:
        self._rate = rate
        self._one_bit = unit == "bit"
        self._dice = dice
        self._clean = self._gap()
        """Number of bytes before the next one to change."""

    def change(self, data: bytes) -> bytes:
        """Return `data` with its changes; the same object if no byte changes."""
        size = len(data)
        if size <= self._clean:
            self._clean -= size
            return data
        changed, place = bytearray(data), self._clean
        while place < size:
            changed[place] ^= self._error()
            place += 1 + self._gap()
        self._clean = place - size
        return bytes(changed)

    def _error(self) -> int:
        """Return the mask for a byte (exclusive or); never 0, so that the byte always changes."""
        return 1 << self._dice.randrange(8) if self._one_bit else self._dice.randrange(1, 256)

    def _gap(self) -> int:
        """Draw the number of bytes before the next error: geometric, by inverting its distribution."""
        if self._rate >= 1:
            return 0
        if self._rate <= 0:
            return int(_LONGEST_GAP)
        return int(min(math.log(1 - self._dice.random()) / math.log1p(-self._rate), _LONGEST_GAP))
