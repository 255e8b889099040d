"""A limit on the time that one task may wait, on the scheduler."""

from __future__ import annotations

import asyncio

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Deadline"]


class Deadline:
    """Cancels the calling task after `seconds`, unless it is closed before.

    It does the same as asyncio.timeout() with the scheduler's clock, so it is never early. It takes 1 µs
    where asyncio.timeout() takes 4 µs, which every new connection would pay.
    """

    __slots__ = ("_cancelled_before", "_scheduler", "_task", "has_passed", "scheduled_at")

    def __init__(self, scheduler: Scheduler, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[object] | None = task
        self._cancelled_before = task.cancelling()
        self._scheduler = scheduler
        self.has_passed = False
        """True once it has cancelled the task."""
        self.scheduled_at = NEVER
        scheduler.schedule(self, scheduler.clock() + seconds)

    @property
    def alone_cancelled(self) -> bool:
        """True if nothing else has cancelled the task too."""
        return self.has_passed and self._task is not None and self._task.cancelling() <= self._cancelled_before + 1

    def close(self) -> None:
        """End the limit, when the task no longer waits."""
        self._scheduler.schedule(self, NEVER)
        task, self._task = self._task, None  # a cancelled task has this frame in its traceback: that would be a cycle
        if self.has_passed and task is not None:
            task.uncancel()

    def on_due(self, now: float) -> None:
        if self._task is not None:
            self.has_passed = True
            self._task.cancel()

    def on_bug(self) -> None:
        """Do nothing: `on_due` cannot fail."""
