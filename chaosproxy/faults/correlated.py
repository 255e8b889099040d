"""Random numbers that remember: each correlated with the one before, their distribution kept.

netem's own correlation mixes the last number into the next (`ρ·last + (1 - ρ)·new`), which
narrows the distribution it was asked for. Here the mixing is done on standard normal
numbers, where the sum of two normals is normal again (a first-order autoregression,
AR(1)), and the result is carried over to the wanted distribution by its probability (a
Gaussian copula): the distribution holds exactly, whatever the correlation.
"""

from __future__ import annotations

import math

from chaosproxy.seed import Dice

__all__ = ["CorrelatedNormal", "probability_above", "probability_below"]

_HALF_ROOT = math.sqrt(0.5)


class CorrelatedNormal:
    """Standard normal numbers: z' = ρ·z + √(1 - ρ²)·ε, with ε standard normal and independent."""

    __slots__ = ("_dice", "_fresh", "_kept", "_last")

    def __init__(self, dice: Dice, correlation: float) -> None:
        self._dice = dice
        self._kept = correlation
        self._fresh = math.sqrt(1 - correlation**2)
        self._last = dice.gauss(0.0, 1.0) if correlation else 0.0

    def draw(self) -> float:
        """The next number."""
        self._last = z = self._kept * self._last + self._fresh * self._dice.gauss(0.0, 1.0)
        return z


def probability_below(z: float) -> float:
    """Share of a standard normal distribution below `z`."""
    return 0.5 * math.erfc(-z * _HALF_ROOT)


def probability_above(z: float) -> float:
    """Share of a standard normal distribution above `z`; exact far out in the tail, where 1 - below is not."""
    return 0.5 * math.erfc(z * _HALF_ROOT)
