"""Placement: where, when and how often a fault acts. No fault type knows it."""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.declare import Choice, Duration, Share, Whole, param
from chaosproxy.faults.base import Direction

__all__ = ["SELECTS", "Placement"]

SELECTS = ("probability", "skip", "count", "nth")
"""The parameters by which a fault leaves some connections alone; a type that acts on the listener takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which pipes of which connections, or which of the messages that match, a fault touches, and for how long."""

    direction: str = param(
        Choice("upstream", "downstream", "both"),
        "which way it acts: upstream is client to server, downstream server to client; faults on messages know it",
        default="downstream",
        example="both",
    )
    probability: float = param(
        Share(),
        "share of the connections, or messages, that it touches; rolled once for each",
        default=1.0,
        example="20%",
    )
    ttl: float | None = param(Duration(above_zero=True), "heals itself after this long", default=None, example="30s")
    skip: int = param(Whole(minimum=0), "leaves the first so many of them alone", default=0, example="2")
    count: int | None = param(Whole(minimum=1), "touches at most so many of them", default=None, example="3")
    nth: int | None = param(Whole(minimum=1), "touches only each nth of them", default=None, example="10")

    @property
    def directions(self) -> tuple[Direction, ...]:
        if self.direction == "both":
            return ("upstream", "downstream")
        return ("upstream",) if self.direction == "upstream" else ("downstream",)

    @property
    def touches_all(self) -> bool:
        """Whether no connection is left alone."""
        return self.probability == 1 and not self.skip and self.count is None and self.nth in (None, 1)
