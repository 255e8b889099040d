"""The times in which faults were active."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """The time from the start of a fault to its end; or of several faults, each of which overlaps with another."""

    faults: tuple[str, ...]
    """`proxy/fault`, or `partition/id`; in the order in which they began."""
    types: tuple[str, ...]
    """The type of each; `partition` for a partition."""
    proxies: frozenset[str]
    """The proxies on which they act."""
    started: float
    ended: float | None
    """None while one is active."""

    def has(self, at: float) -> bool:
        """Return whether a time is in the window."""
        return self.started <= at and (self.ended is None or at < self.ended)
