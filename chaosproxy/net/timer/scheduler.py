"""The one timer of the process: calls each pipe when its next step is due, and each alarm at its time.

The Scheduler keeps a heap of (due time, owner), with at most one valid entry per owner. The timer is
armed for the earliest entry only, and only when that changes, since arming costs about 20 µs. On
Linux the timer is a timerfd on CLOCK_MONOTONIC, which is never early and 0.1 to 0.35 ms late. The
event loops' own timers have a resolution of 1 ms, and fire early (uvloop) or round up (epoll_wait).

The Scheduler also divides a turn of the loop among the pipes, since work on bytes must not delay other
connections. A pipe asks `begin` before it works, `has_time` between two steps, and calls `end`. It gets
at most SHARE seconds, and all pipes together get TURN. A pipe that is not finished calls `defer`: it
waits in a queue behind all others, until everything else that is due has been called.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from chaosproxy.faults.base import NEVER

__all__ = ["SHARE", "TURN", "Clock", "LoopTimer", "MakeTimer", "Scheduler", "Timed", "best_timer"]

TURN = 0.002
"""Seconds of work before the loop runs other callbacks; the remaining work follows in the loop's next turn."""
SHARE = 0.0005
"""Seconds of work for one pipe before others have their share."""
_DEFERRED = -NEVER
"""The due time of an object in the queue of deferred ones."""

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
        self._deferred: deque[Timed] = deque()
        self._ordinals = itertools.count()
        self._armed = NEVER
        self._stale = 0
        self._firing = False
        self._window_ends = -NEVER
        """The time at which the pipes may work again for TURN seconds."""
        self._worked = 0.0
        """Seconds that pipes have worked in the current window."""
        self._began = 0.0
        self._share_ends = NEVER
        self._working = 0
        """The number of `begin` without an `end`."""
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_closed = False
        self._timer = make_timer(self._fire)

    def schedule(self, timed: Timed, due: float) -> None:
        """Call `timed.on_due` at `due` instead of at the time set before; NEVER cancels."""
        if due == timed.scheduled_at:
            return
        if timed.scheduled_at not in (NEVER, _DEFERRED):
            self._stale += 1
        timed.scheduled_at = due
        if due != NEVER:
            heapq.heappush(self._heap, (due, next(self._ordinals), timed))
            self._arm(due)
        if self._stale > 64 and self._stale > len(self._heap) // 2:
            self._compact()

    def defer(self, timed: Timed) -> None:
        """Call `timed.on_due` soon, after everything else that is due."""
        if timed.scheduled_at != _DEFERRED:
            self.schedule(timed, NEVER)
            timed.scheduled_at = _DEFERRED
            self._deferred.append(timed)
            self._arm(self.clock())

    def begin(self) -> bool:
        """Begin work; return False if it must be deferred instead, since this turn's time is over.

        Work that begins within other work has no time of its own. If this returns True, call `end`.
        """
        now = self.clock()
        if self._working:
            has_time = now < self._share_ends
        else:
            self._began = now
            if now >= self._window_ends:
                self._open_window(now)
            left = TURN - self._worked
            self._share_ends = now + (left if left < SHARE else SHARE)
            has_time = left > 0
        self._working += has_time
        return has_time

    def has_time(self) -> bool:
        """Return whether the work that has begun may take another step."""
        return self.clock() < self._share_ends

    def end(self) -> None:
        """End the work that has begun last."""
        self._working -= 1
        if not self._working:
            self._worked += self.clock() - self._began

    def waiter(self) -> asyncio.Future[None]:
        """Return a future for scheduled work that its owner ends; `close` ends it too, since the work is never done."""
        waiter = asyncio.get_running_loop().create_future()
        if self._is_closed:
            waiter.set_result(None)
        else:
            self._waiters.add(waiter)
            waiter.add_done_callback(self._waiters.discard)
        return waiter

    def close(self) -> None:
        """Cancel all entries, end all waiters, and close the timer; nothing is called after that."""
        self._is_closed = True
        self._heap.clear()
        self._deferred.clear()
        self._timer.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _arm(self, due: float) -> None:
        if due < self._armed and not self._firing and not self._is_closed:
            self._armed = due
            self._timer.arm(due)

    def _open_window(self, now: float) -> None:
        # In a turn without the timer, pipes work when their data arrives. They may use half of the time.
        self._window_ends, self._worked = now + 2 * TURN, 0.0

    def _fire(self) -> None:
        self._armed, self._firing = NEVER, True
        heap, deferred = self._heap, self._deferred
        now = self.clock()
        self._open_window(now)
        try:
            # Deferred objects are called last, but at least one has its share in every turn.
            while heap and heap[0][0] <= now and self.clock() - now < TURN:
                due, _, timed = heapq.heappop(heap)
                if due != timed.scheduled_at:
                    self._stale -= 1
                    continue
                self._call(timed, now)
            self._worked = min(self._worked, TURN - SHARE)
            while deferred:
                timed = deferred.popleft()
                if timed.scheduled_at == _DEFERRED:
                    self._call(timed, now)
                    if self.clock() - now >= TURN:
                        break
        finally:
            self._firing = False
            if deferred:
                self._arm(now)
            elif heap:
                self._arm(heap[0][0])

    def _call(self, timed: Timed, now: float) -> None:
        timed.scheduled_at = NEVER
        try:
            timed.on_due(now)
        except Exception:  # a failing call must not stop the timer for the others
            logger.exception("a scheduled call failed; if it was a pipe's, its connection is reset")
            timed.on_bug()

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
