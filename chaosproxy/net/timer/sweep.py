"""One action on many objects, in slices, so that thousands of connections do not hold the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import TURN, Scheduler

__all__ = ["AT_ONCE", "Sweep"]

T = TypeVar("T")

AT_ONCE = 32
"""The most objects that are treated before `start` returns, so that a small change is immediate."""


class Sweep(Generic[T]):
    """Calls `act` with each of many objects: a few at once, the others in their turn on the scheduler.

    `act` must not raise, and must accept an object that has ended since `start`.
    """

    def __init__(
        self, scheduler: Scheduler, act: Callable[[T], None], cpu_clock: Callable[[], float] = time.thread_time
    ) -> None:
        """`cpu_clock` limits the work of `start`: unlike a wall clock, it does not count other processes."""
        self.scheduled_at = NEVER
        self._scheduler = scheduler
        self._act = act
        self._cpu_clock = cpu_clock
        self._rest: deque[T] = deque()
        self._treated = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Each with the number of treated objects that it waits for."""

    def start(self, objects: Iterable[T]) -> None:
        """Treat these objects, after those that are left from an earlier start, so that frequent starts starve none."""
        left = set(self._rest)
        self._rest.extend(one for one in objects if one not in left)
        ends = self._cpu_clock() + TURN
        for _ in range(min(AT_ONCE, len(self._rest))):
            self._treat_next()
            if self._cpu_clock() >= ends:
                break
        self._continue()

    @property
    def is_done(self) -> bool:
        """True if every object has been treated."""
        return not self._rest

    async def wait(self) -> None:
        """Return when every object has been treated that is left now; later starts do not prolong this.

        Return also when the scheduler is closed, which treats no further object.
        """
        if self._rest:
            done = self._scheduler.waiter()
            self._waiting.append((self._treated + len(self._rest), done))
            await done

    def on_due(self, now: float) -> None:
        if self._scheduler.begin():
            try:
                while self._rest and self._scheduler.has_time():
                    self._treat_next()
            finally:
                self._scheduler.end()
        self._continue()

    def on_bug(self) -> None:
        """Go on with the other objects; the scheduler has logged the exception."""
        self._continue()

    def _treat_next(self) -> None:
        self._treated += 1
        self._act(self._rest.popleft())

    def _continue(self) -> None:
        if self._rest:
            self._scheduler.defer(self)
        else:
            self._scheduler.schedule(self, NEVER)
        while self._waiting and self._waiting[0][0] <= self._treated:
            _, done = self._waiting.popleft()
            if not done.done():
                done.set_result(None)
