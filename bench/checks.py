"""Targets, and whether a measurement meets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.stats import Spread

__all__ = ["Check", "Verdict", "number"]

Verdict = Literal["pass", "miss", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One target. The median of the rounds decides. Give exactly one of the two bounds."""

    what: str
    measured: Spread | None
    """None if it could not be measured here; `note` gives the reason."""
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"{self.what}: give either at_most or at_least")

    @property
    def verdict(self) -> Verdict:
        if self.measured is None:
            return "not measured"
        if self.at_most is not None:
            return "pass" if self.measured.median <= self.at_most else "miss"
        assert self.at_least is not None
        return "pass" if self.measured.median >= self.at_least else "miss"

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"≤ {number(self.at_most)}{self.unit}"
        assert self.at_least is not None
        return f"≥ {number(self.at_least)}{self.unit}"

    @property
    def figure(self) -> str:
        """The measurement, such as `0.93 × (0.9 to 0.95)`, or the reason why there is none."""
        if self.measured is None:
            return self.note or "—"
        text = f"{number(self.measured.median)}{self.unit}"
        if self.measured.low != self.measured.high:
            text += f" ({number(self.measured.low)} to {number(self.measured.high)})"
        return text


def number(value: float) -> str:
    """Format with three significant digits below a thousand, and as a grouped whole number above."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
