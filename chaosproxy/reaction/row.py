"""Failures in a row before a silence: how many, how fast, and whether at the same time. Part of `breaker`."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from chaosproxy.reaction.silence import SILENT_S, Cluster
from chaosproxy.reaction.window import Window

__all__ = ["FEWEST_FAILURES", "Row"]

FEWEST_FAILURES = 3
_JUMP = 5
_PACED_S = 0.02
"""A client with less idle time between its turns may as well repeat failed ones at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """The failures before the silence, from the window's start or the last answer on."""

    least: int
    most: int
    is_pure: bool
    """Whether no answer came between the first failure of the window and the last."""
    idle: tuple[float, ...]
    """The idle times from the first failure on."""
    together: bool
    """Whether attempts overlap."""

    @classmethod
    def of(cls, run: Cluster, window: Window) -> Row | None:
        """Return the failures of a cluster that end in its silence; None if they are too few."""
        every = [one for one in run.failed if one.ended >= window.started]
        last_good = max((one.last for one in run.good), default=window.started)
        row = [one for one in every if one.ended > last_good]
        if not row:
            return None
        begin, most = row[0].ended, sum(one.number for one in row)
        last_opened = max(one.opened for one in row)
        least = 1 + sum(one.number for one in row if one.ended <= last_opened and one is not row[-1])
        together = any(a.ended > b.opened for a, b in zip(row, row[1:], strict=False))
        by_client = sum(one.gave_up for one in row)
        if (least if by_client < FEWEST_FAILURES else most) < FEWEST_FAILURES:
            return None  # connections that end at once, by one fault, are one failure to a pool
        idle = tuple(seconds for at, seconds in run.idle if at >= begin)
        return cls(least, most, len(row) == len(every), idle, together)

    def jumps_to(self, silence: float) -> bool:
        """Return whether the silence is much longer than the idle times before it."""
        return silence >= max(SILENT_S, _JUMP * max(self.idle, default=0.0))

    def keeps_pace(self, usual: float) -> bool:
        """Return whether the idle times between the failures are as usual, in seconds."""
        if usual < _PACED_S or not self.idle:
            return False
        return median(self.idle) >= 0.75 * usual and max(self.idle) <= 1.5 * usual

    @property
    def range(self) -> tuple[int, int] | None:
        """The least and the most failures after which the breaker may have opened: attempts that were open then
        fail later. None if answers came between failures, since then they were not in a row."""
        return (self.least, self.most) if self.is_pure else None

    @property
    def exact(self) -> int | None:
        """The number of failures, if it is certain."""
        return self.most if self.is_pure and self.least == self.most else None
