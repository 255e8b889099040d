"""Placement: where, when and how often a fault acts. It is separate from the fault types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaosproxy.declare import Choice, Duration, Share, Whole, param
from chaosproxy.faults.base import Direction

__all__ = ["SELECTS", "Placement"]

SELECTS: Mapping[str, Sequence[object]] = {"probability": (1, "1", "100%"), "skip": (0,), "count": (), "nth": (1,)}
"""The parameters that may exempt some connections, and their values that exempt none.

A type that acts on the listener takes only these values, which programs write that set every parameter.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The connections or matching messages that a fault acts on, their directions, and for how long."""

    direction: str = param(
        Choice("upstream", "downstream", "both"),
        "upstream is client to server, downstream server to client; faults on messages set it themselves",
        default="downstream",
        example="both",
    )
    probability: float = param(
        Share(),
        "share of the connections, or messages, that it acts on; decided once for each",
        default=1.0,
        example="20%",
    )
    ttl: float | None = param(Duration(above_zero=True), "heals after this time", default=None, example="30s")
    skip: int = param(Whole(minimum=0), "skips the first N connections, or messages", default=0, example="2")
    count: int | None = param(Whole(minimum=1), "acts on at most N of them", default=None, example="3")
    nth: int | None = param(Whole(minimum=1), "acts on every Nth of them", default=None, example="10")

    @property
    def directions(self) -> tuple[Direction, ...]:
        if self.direction == "both":
            return ("upstream", "downstream")
        return ("upstream",) if self.direction == "upstream" else ("downstream",)

    @property
    def touches_all(self) -> bool:
        """Return whether the fault acts on every connection."""
        return self.probability == 1 and not self.skip and self.count is None and self.nth in (None, 1)
