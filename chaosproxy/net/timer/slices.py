"""Work of many small steps, in slices, so that it does not hold the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import TURN, Scheduler

__all__ = ["AT_ONCE", "Slices"]

AT_ONCE = 32
"""The most steps that are taken before `begin` returns, so that a small change is immediate."""


class Slices:
    """Repeats a step until it returns False: a few times at once, then in its turn on the scheduler.

    A subclass has the step. It is not a function passed to this class: a bound one would make a reference cycle.
    """

    def __init__(self, scheduler: Scheduler, cpu_clock: Callable[[], float] = time.thread_time) -> None:
        """`cpu_clock` limits the first slice: unlike a clock of the wall, it does not count the work of others."""
        self.scheduled_at = NEVER
        self._scheduler = scheduler
        self._cpu_clock = cpu_clock
        self._settling: list[asyncio.Future[None]] = []

    def _step(self) -> bool:
        """Take a step, if there is something to do; return whether there is more."""
        raise NotImplementedError(type(self).__name__)

    def begin(self) -> None:
        """Take the first steps; the others follow on the scheduler."""
        ends = self._cpu_clock() + TURN
        more = True
        try:
            for _ in range(AT_ONCE):
                more = self._step()
                if not more or self._cpu_clock() >= ends:
                    break
        finally:
            self._continue(more)

    @property
    def is_busy(self) -> bool:
        """True if there is something left to do."""
        return self.scheduled_at != NEVER

    async def settled(self) -> None:
        """Return when there is nothing left to do, or the scheduler is closed."""
        if self.is_busy:
            done = self._scheduler.waiter()
            self._settling.append(done)
            await done

    def on_due(self, now: float) -> None:
        more = True
        if self._scheduler.begin():
            try:
                while more and self._scheduler.has_time():
                    more = self._step()
            finally:
                self._scheduler.end()
        self._continue(more)

    def on_bug(self) -> None:
        """Go on with the next step; the scheduler has logged the exception."""
        self._continue(True)

    def _continue(self, more: bool) -> None:
        if more:
            self._scheduler.defer(self)
            return
        self._scheduler.schedule(self, NEVER)
        for done in self._settling:
            if not done.done():
                done.set_result(None)
        self._settling.clear()
