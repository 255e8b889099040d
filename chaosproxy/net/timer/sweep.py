"""One action on many objects, in slices, so that thousands of connections do not hold the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.timer.slices import Slices

__all__ = ["Sweep"]

T = TypeVar("T")


class Sweep(Slices, Generic[T]):
    """Calls `act` with each of many objects: a few at once, the others in their turn on the scheduler.

    `act` must not raise, and must accept an object that has ended since `start`.
    """

    def __init__(
        self, scheduler: Scheduler, act: Callable[[T], None], cpu_clock: Callable[[], float] = time.thread_time
    ) -> None:
        """`cpu_clock` limits the first slice: unlike a wall clock, it does not count the work of others."""
        super().__init__(scheduler, cpu_clock)
        self._act = act
        self._rest: deque[T] = deque()
        self._treated = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Each with the number of treated objects that it waits for."""

    def start(self, objects: Iterable[T]) -> None:
        """Treat these objects, after those that are left from an earlier start, so that frequent starts starve none."""
        left = set(self._rest)
        self._rest.extend(one for one in objects if one not in left)
        self.begin()

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

    def _step(self) -> bool:
        if self._rest:
            self._treated += 1
            self._act(self._rest.popleft())
        while self._waiting and self._waiting[0][0] <= self._treated:
            _, done = self._waiting.popleft()
            if not done.done():
                done.set_result(None)
        return bool(self._rest)
