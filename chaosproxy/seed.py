"""One seed, and a stream of random numbers for each address.

An address is a tuple of words and numbers, such as ("fault", proxy, fault,
connection ordinal, direction). The numbers at one address depend on the seed and
that address alone: not on scheduling, nor on other faults being added or removed.
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
    """The source of every random decision in one run."""

    value: int

    @classmethod
    def drawn(cls) -> Seed:
        """Draw a seed for a run that was given none. Show it to the user, so that the run can be repeated."""
        return cls(secrets.randbits(48))

    def at(self, *address: str | int) -> Dice:
        """Return the dice of this address, the same at every call."""
        return random.Random(self._digest(address))

    def share_at(self, *address: str | int) -> float:
        """Return the one number in [0, 1) of this address, without making dice for it."""
        return self._digest(address) / 2**128

    def _digest(self, address: tuple[str | int, ...]) -> int:
        # Lengths keep ("ab", "c") and ("a", "bc") apart; the type letter keeps 1 and "1" apart.
        words = [f"{type(part).__name__[0]}{len(str(part))}:{part}" for part in (self.value, *address)]
        return int.from_bytes(hashlib.blake2b("".join(words).encode(), digest_size=16).digest())
