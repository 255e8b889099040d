"""The one timer of the process: calls each pipe when its next step is due, and each alarm at its time.

The Scheduler keeps a heap of (due time, owner), with at most one valid entry per owner. The timer is
armed for the earliest entry only, and only when that changes, since arming costs about 20 µs. On
Linux the timer is a timerfd on CLOCK_MONOTONIC, which is never early and 0.1 to 0.35 ms late. The
event loops' own timers have a resolution of 1 ms, and fire early (uvloop) or round up (epoll_wait).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from chaosproxy.faults.base import NEVER

__all__ = ["Clock", "LoopTimer", "MakeTimer", "Scheduler", "Timed", "best_timer"]

_SLICE = 0.005
"""Seconds of work before the loop runs other callbacks; the remaining entries follow right after."""

Clock = Callable[[], float]
"""A monotonic clock: seconds since an arbitrary zero."""

logger = logging.getLogger(__name__)


class Timed(Protocol):
    """An object that can be scheduled, such as a pipe."""

    scheduled_at: float
    """The time of its valid entry; NEVER if it has none. Only the scheduler writes it."""

    def on_due(self, now: float) -> None:
        """Do the work that was scheduled; called at `scheduled_at` or later. Schedule again if more is due later."""

    def on_bug(self) -> None:
        """End the connection that this belongs to, if any; called when `on_due` has raised."""


class Timer(Protocol):
    """Fires once each time it is armed."""

    def arm(self, due: float) -> None:
        """Fire at `due`, instead of at the time set before."""

    def close(self) -> None: ...


MakeTimer = Callable[[Callable[[], None]], Timer]
"""A factory for the timer, which gets the function that the timer calls when it fires."""


class Scheduler:
    """Calls scheduled objects in the order of their due times."""

    def __init__(self, clock: Clock, make_timer: MakeTimer) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Timed]] = []
        self._ordinals = itertools.count()
        self._armed = NEVER
        self._stale = 0
        self._firing = False
        self._timer = make_timer(self._fire)

    def schedule(self, timed: Timed, due: float) -> None:
        """Call `timed.on_due` at `due` instead of at the time set before; NEVER cancels."""
        if due == timed.scheduled_at:
            return
        if timed.scheduled_at != NEVER:
            self._stale += 1
        timed.scheduled_at = due
        if due != NEVER:
            heapq.heappush(self._heap, (due, next(self._ordinals), timed))
            if due < self._armed and not self._firing:
                self._armed = due
                self._timer.arm(due)
        if self._stale > 64 and self._stale > len(self._heap) // 2:
            self._compact()

    def close(self) -> None:
        """Cancel all entries, and close the timer."""
        self._heap.clear()
        self._timer.close()

    def _fire(self) -> None:
        self._armed, self._firing = NEVER, True
        heap = self._heap
        now = self.clock()
        try:
            while heap and heap[0][0] <= now and self.clock() - now < _SLICE:
                due, _, timed = heapq.heappop(heap)
                if due != timed.scheduled_at:
                    self._stale -= 1
                    continue
                timed.scheduled_at = NEVER
                try:
                    timed.on_due(now)
                except Exception:  # a failing call must not stop the timer for the others
                    logger.exception("a scheduled call failed; if it was a pipe's, its connection is reset")
                    timed.on_bug()
        finally:
            self._firing = False
            if heap:
                self._armed = heap[0][0]
                self._timer.arm(self._armed)

    def _compact(self) -> None:
        """Remove stale entries, in place: `_fire` may be iterating over the heap."""
        self._heap[:] = [entry for entry in self._heap if entry[0] == entry[2].scheduled_at]
        heapq.heapify(self._heap)
        self._stale = 0


class LoopTimer:
    """A timer of the event loop, which is armed again if the loop calls it early."""

    def __init__(self, fire: Callable[[], None], loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._fire, self._loop, self._clock = fire, loop, clock
        self._handle: asyncio.TimerHandle | None = None
        self._due = NEVER

    def arm(self, due: float) -> None:
        self.close()
        self._due = due
        self._handle = self._loop.call_later(max(0.0, due - self._clock()), self._on_time)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_time(self) -> None:
        self._handle = None
        if self._clock() < self._due:
            self.arm(self._due)
        else:
            self._fire()


def best_timer(loop: asyncio.AbstractEventLoop, clock: Clock) -> MakeTimer:
    """Return a factory for the most accurate timer on this platform and clock."""
    if sys.platform == "linux" and clock is time.monotonic:
        from chaosproxy.net.timer.timerfd import TimerFd

        return lambda fire: TimerFd(fire, loop)
    return lambda fire: LoopTimer(fire, loop, clock)
