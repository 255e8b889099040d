"""Random numbers that are each correlated with the one before, without a change of their distribution.

netem mixes the last number into the next (`ρ·last + (1 - ρ)·new`), which narrows the requested
distribution. Here standard normal numbers are mixed, and the sum of two normal numbers is normal
again (a first-order autoregression, AR(1)). The result is then mapped to the requested
distribution by its probability (a Gaussian copula). So the distribution is exact for every
correlation.
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
        """Return the next number."""
        self._last = z = self._kept * self._last + self._fresh * self._dice.gauss(0.0, 1.0)
        return z


def probability_below(z: float) -> float:
    """Return the share of a standard normal distribution below `z`."""
    return 0.5 * math.erfc(-z * _HALF_ROOT)


def probability_above(z: float) -> float:
    """Return the share of a standard normal distribution above `z`; unlike 1 - below it is exact far in the tail."""
    return 0.5 * math.erfc(z * _HALF_ROOT)
