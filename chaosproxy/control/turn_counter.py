"""Have the turns of every proxy counted once a second, in slices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from chaosproxy.net.proxy import Proxy
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.timer.slices import Slices

__all__ = ["INTERVAL", "TurnCounter"]

INTERVAL = 1.0
"""Seconds between two counts."""
_AT_ONCE = 50
"""Idle proxies that are passed in one step, in about 50 µs."""


class TurnCounter(Slices):
    """Calls `Proxy.count_turns` of every proxy, and continues where its share of a turn of the loop was over."""

    def __init__(self, proxies: Callable[[], Sequence[Proxy]], scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._proxies = proxies
        self._steps: Iterator[None] = iter(())
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(INTERVAL, self._tick)

    def close(self) -> None:
        """Stop."""
        self._next.cancel()
        self._steps = iter(())

    def _tick(self) -> None:
        self._next = self._loop.call_later(INTERVAL, self._tick)
        if not self.is_busy:  # or else the last count is still under way
            self._steps = self._count()
            self.begin()

    def _count(self) -> Iterator[None]:
        for number, proxy in enumerate(self._proxies()):
            yield from proxy.count_turns()
            if number % _AT_ONCE == 0:
                yield

    def _step(self) -> bool:
        return next(self._steps, self) is not self
