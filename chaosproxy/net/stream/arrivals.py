"""The ends of a connection's two sides, as they arrive. Pure.

Who ended first is settled by the first arrival. What faults do with an end later, and what arrives
after it, changes nothing about that.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.endings import Ending
from chaosproxy.tallies import Side

__all__ = ["Arrivals", "SideEnd"]


@dataclass(slots=True)
class SideEnd:
    """The end of one side by itself, as it arrived."""

    side: Side
    """Whose socket it arrived on."""
    ending: Ending
    after_s: float
    """Seconds from accept to its arrival."""
    held_by: str | None = None
    """The fault that held it back when it arrived."""


class Arrivals:
    """The ends that have arrived on one connection."""

    __slots__ = ("client", "first", "server", "then")

    def __init__(self) -> None:
        self.client: SideEnd | None = None
        """The first end of the client's side; None while it has not ended by itself."""
        self.server: SideEnd | None = None
        self.first: SideEnd | None = None
        self.then: SideEnd | None = None
        """The latest end that arrived after the first."""

    def note(self, side: Side, ending: Ending, after_s: float) -> SideEnd | None:
        """Note the end of one side; None where the same is known of that side already."""
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
        """The side that ended first by itself; None where neither has, or the network broke first."""
        return None if self.first is None or self.first.ending.by == "network" else self.first.side

    @property
    def ending(self) -> Ending:
        """The ending of a connection that nobody but its peers or the network has ended."""
        return self.first.ending if self.first is not None else Ending("network", "closed", error="connection lost")
