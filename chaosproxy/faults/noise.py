"""Random changes of bytes; used by corrupt and http_corrupt.

Changes belong to positions in the stream: the result does not depend on how the stream is cut into
chunks. A low rate costs by the change (Sparse), a high rate by the byte (Dense), so that no rate makes
a stream slow.
"""

from __future__ import annotations

import math

from chaosproxy.declare import Choice
from chaosproxy.seed import Dice

__all__ = ["UNIT", "Dense", "Sparse", "noise"]

UNIT = Choice("bit", "byte")

_DENSE_FROM = 0.015
"""The rate from which masks for every byte are faster than one step for each change (about 10 ns per byte)."""
_LONGEST_GAP = 2.0**62
_BLOCK = 4096
"""Bytes whose masks are drawn at once."""
_PRECISION = 53
"""Binary digits of a rate that Dense compares, as many as a float has."""


def noise(rate: float, unit: str, dice: Dice) -> Dense | Sparse:
    """Return what changes each byte with probability `rate`: one bit of it, or (`byte`) the whole byte."""
    return Dense(rate, unit, dice) if rate >= _DENSE_FROM else Sparse(rate, unit, dice)


class Sparse:
    """Change few bytes, by drawing the distance to the next changed byte.

    That distance has a geometric distribution. Drawing it costs nothing for the bytes in between.
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
        if self._rate <= 0:
            return int(_LONGEST_GAP)
        return int(min(math.log(1 - self._dice.random()) / math.log1p(-self._rate), _LONGEST_GAP))


class Dense:
    """Change many bytes, by drawing a mask for every byte of a block at once.

    The masks of a block are one integer, so that each operation on them is one loop in C.
    """

    def __init__(self, rate: float, unit: str, dice: Dice) -> None:
        self._digits = round(rate * 2**_PRECISION)
        self._one_bit = unit == "bit"
        self._dice = dice
        self._mask = 0
        """The masks of the block's bytes that come next, the first in the lowest byte; 0 for a byte that stays."""
        self._left = 0
        """Number of bytes that this mask has."""

    def change(self, data: bytes) -> bytes:
        """Return `data` with its changes; the same object if no byte changes."""
        if not data:
            return data
        masks, bits, size = 0, 0, 8 * len(data)
        while bits < size:
            if not self._left:
                self._mask, self._left = self._block(), _BLOCK
            masks |= self._mask << bits
            bits += 8 * self._left
            self._left = 0
        self._left, spare = (bits - size) // 8, bits - size
        self._mask = masks >> size
        if spare:
            masks &= (1 << size) - 1
        return (int.from_bytes(data, "little") ^ masks).to_bytes(len(data), "little") if masks else data

    def _block(self) -> int:
        """Draw the masks of the next block."""
        errors = int.from_bytes(self._bits() if self._one_bit else self._bytes(), "little")
        if self._digits == 2**_PRECISION:
            return errors
        return errors & _spread(self._chosen())

    def _bits(self) -> bytes:
        return self._dice.randbytes(_BLOCK).translate(_BIT_OF)

    def _bytes(self) -> bytes:
        """Draw bytes from 1 to 255: draw again for each 0, so that every byte changes."""
        drawn = bytearray(self._dice.randbytes(_BLOCK))
        place = drawn.find(0)
        while place >= 0:
            drawn[place] = self._dice.randrange(1, 256)
            place = drawn.find(0, place + 1)
        return bytes(drawn)

    def _chosen(self) -> bytes:
        """Draw one bit per byte of the block, which is 1 with the probability of the rate.

        Compare a random number with the rate, for all bytes at once, digit by digit from the first: a number
        is decided at the first digit in which it differs, and is smaller if the rate has a 1 there.
        """
        chosen, undecided, place = 0, _ALL, _PRECISION
        while undecided and place:
            place -= 1
            random = self._dice.getrandbits(_BLOCK)
            if self._digits >> place & 1:
                chosen |= undecided & ~random
                undecided &= random
            else:
                undecided &= ~random
        return chosen.to_bytes(_BLOCK // 8, "little")


_ALL = (1 << _BLOCK) - 1
_BIT_OF = bytes(1 << (value & 7) for value in range(256))
"""For each random byte, a mask of one bit."""
_MASK_OF = [bytes(255 if value >> place & 1 else 0 for value in range(256)) for place in range(8)]
"""For each place, a table of the bit in that place as a mask of a whole byte."""


def _spread(bits: bytes) -> int:
    """Return a mask of a whole byte for each bit."""
    spread = bytearray(8 * len(bits))
    for place in range(8):
        spread[place::8] = bits.translate(_MASK_OF[place])
    return int.from_bytes(spread, "little")
