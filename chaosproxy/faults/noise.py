"""Random changes of bytes; used by corrupt and http_corrupt.

Changes belong to positions in the stream: the result does not depend on how the stream is cut into
chunks. A low rate costs by the change (Sparse), a high rate by the byte (Dense), so that no rate makes
a stream slow. Both are exact to 2^-32.
"""

from __future__ import annotations

import math

from chaosproxy.declare import Choice
from chaosproxy.seed import Dice

__all__ = ["UNIT", "Dense", "Sparse", "noise"]

UNIT = Choice("bit", "byte")

_DENSE_FROM = 0.02
"""The rate from which masks for every byte are faster than one step for each change (about 20 ns per byte)."""
_LONGEST_GAP = 2.0**62
_BLOCK = 4096
"""Bytes whose masks are drawn at once."""
_PRECISION = 32
"""Binary digits of a rate that Dense uses."""


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

    The masks are integers of _BLOCK bytes, so that each operation on them is one loop in C.
    """

    def __init__(self, rate: float, unit: str, dice: Dice) -> None:
        self._digits = round(rate * 2**_PRECISION)
        self._one_bit = unit == "bit"
        self._dice = dice
        self._masks = b""
        """Masks of the bytes that come next, to be combined by exclusive or."""

    def change(self, data: bytes) -> bytes:
        """Return `data` with its changes; the same object if no byte changes."""
        size = len(data)
        drawn = b"".join([self._masks, *(self._block() for _ in range(len(self._masks), size, _BLOCK))])
        self._masks = drawn[size:]
        mask = int.from_bytes(drawn[:size], "little")
        return (int.from_bytes(data, "little") ^ mask).to_bytes(size, "little") if mask else data

    def _block(self) -> bytes:
        """Draw the masks of the next block: 0 for each byte that stays."""
        errors = self._bits() if self._one_bit else self._bytes()
        if self._digits == 2**_PRECISION:
            return errors
        chosen = int.from_bytes(_spread(self._chosen()), "little")
        return (int.from_bytes(errors, "little") & chosen).to_bytes(_BLOCK, "little")

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

        Each digit of the rate, from the last one on, takes half the probability and adds a half if it is 1.
        """
        chosen, digits, draw = 0, self._digits, self._dice.getrandbits
        for place in range((digits & -digits).bit_length() - 1, _PRECISION):
            random = draw(_BLOCK)
            chosen = chosen | random if digits >> place & 1 else chosen & random
        return chosen.to_bytes(_BLOCK // 8, "little")


_BIT_OF = bytes(1 << (value & 7) for value in range(256))
"""For each random byte, a mask of one bit."""
_EIGHT = [bytes(255 if value >> place & 1 else 0 for place in range(8)) for value in range(256)]
"""For each byte, its eight bits as masks of a whole byte."""


def _spread(bits: bytes) -> bytes:
    """Return a mask of a whole byte for each bit."""
    return b"".join([_EIGHT[one] for one in bits])
