"""One function call at a set time, on the scheduler's clock."""

from __future__ import annotations

from collections.abc import Callable

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Alarm"]


class Alarm:
    """Calls a function once at the set time; may be set or cancelled at any time, also from within the function."""

    __slots__ = ("_call", "_scheduler", "scheduled_at")

    def __init__(self, scheduler: Scheduler, call: Callable[[], None]) -> None:
        self.scheduled_at = NEVER
        self._scheduler = scheduler
        self._call = call

    def set(self, due: float) -> None:
        """Call the function at `due`, instead of at the time set before."""
        self._scheduler.schedule(self, due)

    def cancel(self) -> None:
        """Cancel the call."""
        self._scheduler.schedule(self, NEVER)

    def on_due(self, _now: float) -> None:
        self._call()

    def on_bug(self) -> None:
        """Do nothing: the scheduler has logged the exception, and an alarm belongs to no connection."""
