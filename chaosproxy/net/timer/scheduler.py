"""The one timer of the process: wakes each pipe when its next step is due, and each alarm at its time.

A heap of (due, owner), at most one valid entry per owner; the kernel is told of the
earliest alone, and only when that changes (arming costs about 20 µs). On Linux the timer
is a timerfd on CLOCK_MONOTONIC: never early, 0.1 to 0.35 ms late, where an event loop's
own timers have 1 ms grain and may fire early (uvloop) or round up (epoll_wait).
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
"""Seconds of work before everything else gets its turn; what is left is woken again at once."""

Clock = Callable[[], float]
"""Seconds that only go forward, from an arbitrary zero."""

logger = logging.getLogger(__name__)


class Timed(Protocol):
    """Who can be woken."""

    scheduled_at: float
    """When its valid entry is due; NEVER when it has none. The emitter's to write."""

    def on_due(self, now: float) -> None:
        """It is `wake` or later; schedules itself anew if it wants more."""

    def on_bug(self) -> None:
        """`on_due` raised: end what it belongs to."""


class Timer(Protocol):
    """Calls back once at a time."""

    def arm(self, due: float) -> None:
        """Call back at `due`, and not at the time set before."""

    def close(self) -> None: ...


MakeTimer = Callable[[Callable[[], None]], Timer]
"""Makes the timer that is to call back."""


class Scheduler:
    """Wakes whoever is scheduled, in order of time."""

    def __init__(self, clock: Clock, make_timer: MakeTimer) -> None:
        self.clock = clock
        self._heap: list[tuple[float, int, Timed]] = []
        self._ordinals = itertools.count()
        self._armed = NEVER
        self._stale = 0
        self._firing = False
        self._timer = make_timer(self._fire)

    def schedule(self, who: Timed, due: float) -> None:
        """Wake `who` at `due` and not at the time asked for before; NEVER only takes that back."""
        if due == who.scheduled_at:
            return
        if who.scheduled_at != NEVER:
            self._stale += 1
        who.scheduled_at = due
        if due != NEVER:
            heapq.heappush(self._heap, (due, next(self._ordinals), who))
            if due < self._armed and not self._firing:
                self._armed = due
                self._timer.arm(due)
        if self._stale > 64 and self._stale > len(self._heap) // 2:
            self._compact()

    def close(self) -> None:
        """Wake nobody any more."""
        self._heap.clear()
        self._timer.close()

    def _fire(self) -> None:
        self._armed, self._firing = NEVER, True
        heap = self._heap
        now = self.clock()
        try:
            while heap and heap[0][0] <= now and self.clock() - now < _SLICE:
                due, _, who = heapq.heappop(heap)
                if due != who.scheduled_at:
                    self._stale -= 1
                    continue
                who.scheduled_at = NEVER
                try:
                    who.on_due(now)
                except Exception:  # one owner's defect must not stop everybody's timer
                    logger.exception("a defect: a scheduled call failed; if it was a pipe's, its connection is reset")
                    who.on_bug()
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
    """A timer on the event loop's own clock; goes round again where the loop fires early."""

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
    """The most exact timer for this platform and clock."""
    if sys.platform == "linux" and clock is time.monotonic:
        from chaosproxy.net.timer.timerfd import TimerFd

        return lambda fire: TimerFd(fire, loop)
    return lambda fire: LoopTimer(fire, loop, clock)
