"""One seed, and from it a stream of dice for every address.

An address is a tuple of words and numbers, such as ("fault", proxy, fault,
connection ordinal, direction). What falls at one address depends on the seed and
that address alone: not on scheduling, nor on which other faults come or go.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from dataclasses import dataclass

__all__ = ["Dice", "Seed"]

Dice = random.Random
"""A private stream of random numbers (Mersenne Twister, MT19937)."""


@dataclass(frozen=True, slots=True)
class Seed:
    """The root of every random decision in one run."""

    value: int

    @classmethod
    def drawn(cls) -> Seed:
        """A fresh seed, for a run that was given none; show it, so that the run can be repeated."""
        return cls(secrets.randbits(48))

    def at(self, *address: str | int) -> Dice:
        """The dice that stand at this address; the same ones at every call."""
        return random.Random(self._digest(address))

    def share_at(self, *address: str | int) -> float:
        """The one number in [0, 1) that stands at this address, without making dice for it."""
        return self._digest(address) / 2**128

    def _digest(self, address: tuple[str | int, ...]) -> int:
        # Lengths keep ("ab", "c") and ("a", "bc") apart; the type letter keeps 1 and "1" apart.
        words = [f"{type(part).__name__[0]}{len(str(part))}:{part}" for part in (self.value, *address)]
        return int.from_bytes(hashlib.blake2b("".join(words).encode(), digest_size=16).digest())
