"""Convert times of the data plane's clock to dates; wall-clock time is used at the edges only."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from chaosproxy.net.timer.scheduler import Clock

__all__ = ["WallClock"]

_DRIFT_S = 1.0
"""Seconds of drift; more means that the wall clock was set, or that the machine was suspended."""


class WallClock:
    """Converts times of the data plane's clock to dates; equal times have equal dates, unless the wall clock jumps."""

    def __init__(self, clock: Clock, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._ahead = wall() - clock()

    def date(self, moment: float) -> str:
        """Return a time of the data plane's clock as RFC 3339, in UTC, to the millisecond."""
        date = datetime.fromtimestamp(self._offset() + moment, UTC)
        return date.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def moment(self, date: datetime) -> float:
        """Return a date, which has a time zone, as a time of the data plane's clock."""
        return date.timestamp() - self._offset()

    def age(self, moment: float) -> float:
        """Return the seconds since `moment`."""
        return round(max(0.0, self._clock() - moment), 3)

    def _offset(self) -> float:
        """Return the seconds by which the wall clock is ahead of the data plane's."""
        ahead = self._wall() - self._clock()
        if abs(ahead - self._ahead) > _DRIFT_S:
            self._ahead = ahead
        return self._ahead
