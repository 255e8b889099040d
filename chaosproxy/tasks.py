"""Background tasks, each of which has an owner and a name, and calls that may block."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

__all__ = ["TaskOwner", "in_thread"]

T = TypeVar("T")
V = TypeVar("V")

logger = logging.getLogger(__name__)


class TaskOwner:
    """Keeps references to tasks until they end, logs a task that fails, and cancels all of them in `end`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Run `coroutine` as a task called `<owner>.<name>`."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task %s failed", task.get_name(), exc_info=error)


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Call a function that may block, in a thread of its own; return a future of its result.

    In contrast to `asyncio.to_thread`, a call that never returns keeps neither the process from ending nor
    name lookups from starting, since it takes no thread of a pool.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            result = function()
        except Exception as error:
            report(done.set_exception, error)
        else:
            report(done.set_result, result)

    def report(settle: Callable[[V], None], value: V) -> None:
        def settle_unless_cancelled() -> None:
            if not done.done():
                settle(value)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any longer
            loop.call_soon_threadsafe(settle_unless_cancelled)

    _thread.start_new_thread(call, ())  # Thread.start would wait until the thread runs
    return done
