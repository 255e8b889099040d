"""One call at a time set, on the scheduler's clock."""

from __future__ import annotations

from collections.abc import Callable

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Alarm"]


class Alarm:
    """Calls once when it is due; to be set again or cancelled at any time, also from its own call."""

    __slots__ = ("_call", "_scheduler", "scheduled_at")

    def __init__(self, scheduler: Scheduler, call: Callable[[], None]) -> None:
        self.scheduled_at = NEVER
        self._scheduler = scheduler
        self._call = call

    def set(self, due: float) -> None:
        """Call at `due`, and not at the time set before."""
        self._scheduler.schedule(self, due)

    def cancel(self) -> None:
        """Do not call."""
        self._scheduler.schedule(self, NEVER)

    @property
    def is_set(self) -> bool:
        return self.scheduled_at != NEVER

    def on_due(self, _now: float) -> None:
        self._call()

    def on_bug(self) -> None:
        """Do nothing: the scheduler has logged it, and no connection depends on an alarm."""
