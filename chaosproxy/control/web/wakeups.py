"""Wake the readers of a stream together, at most once per interval, so that news costs the same for any number."""

from __future__ import annotations

import asyncio
import math

__all__ = ["INTERVAL_S", "Wakeups"]

INTERVAL_S = 0.05
"""Seconds between two wake-ups at least. The first news after a longer silence wakes in the next turn of the loop."""


class Wakeups:
    """Readers wait for news, and `notify` wakes all of them."""

    def __init__(self, interval: float = INTERVAL_S) -> None:
        """Create it inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._woke_at = -math.inf

    def notify(self) -> None:
        """Wake the readers that wait, soon. It takes the same time for any number of readers."""
        if self._timer is None and self._waiting:
            delay = self._woke_at + self._interval - self._loop.time()
            self._timer = self._loop.call_later(max(0.0, delay), self.wake)

    def wake(self) -> None:
        """Wake the readers that wait now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._woke_at = self._loop.time()
        waiting, self._waiting = self._waiting, set()
        for one in waiting:
            _settle(one)

    async def wait(self, seconds: float) -> None:
        """Return at the next wake-up, or after that time."""
        future = self._loop.create_future()
        self._waiting.add(future)
        timer = self._loop.call_later(seconds, _settle, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
