"""The ends of a connection's two sides, noted when they arrive. Pure.

The side whose end arrives first is the side that ended first. Later arrivals do not change this, and
neither do faults that hold an end back.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.endings import Ending
from chaosproxy.tallies import Side

__all__ = ["Arrivals", "SideEnd"]


@dataclass(slots=True)
class SideEnd:
    """The end of one side, which that side or the network caused."""

    side: Side
    """The side on whose socket it arrived."""
    ending: Ending
    after_s: float
    """Seconds from accept to its arrival."""
    held_by: str | None = None
    """The fault that held it back when it arrived; None if none did."""


class Arrivals:
    """The ends that have arrived on one connection."""

    __slots__ = ("client", "first", "server", "then")

    def __init__(self) -> None:
        self.client: SideEnd | None = None
        """The first end of the client's side; None if it has not ended."""
        self.server: SideEnd | None = None
        """The first end of the server's side; None if it has not ended."""
        self.first: SideEnd | None = None
        """The first end of either side."""
        self.then: SideEnd | None = None
        """The latest end that arrived after the first."""

    def note(self, side: Side, ending: Ending, after_s: float) -> SideEnd | None:
        """Note the end of one side; return None if this side has already ended in the same way."""
        before = self.client if side == "client" else self.server
        if before is not None and before.ending.how == ending.how:
            return None
        end = SideEnd(side, ending, after_s)
        if before is None and side == "client":
            self.client = end
        elif before is None:
            self.server = end
        if self.first is None:
            self.first = end
        else:
            self.then = end
        return end

    @property
    def first_side(self) -> Side | None:
        """The side that ended first; None if neither has, or if the network failed first."""
        return None if self.first is None or self.first.ending.by == "network" else self.first.side

    @property
    def ending(self) -> Ending:
        """The ending of a connection that a peer or the network has ended."""
        return self.first.ending if self.first is not None else Ending("network", "closed", error="connection lost")
