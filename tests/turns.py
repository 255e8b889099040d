"""Measure how long the event loop's turns are, in CPU time, which a busy machine does not stretch."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

__all__ = ["Turns", "measured_turns"]


class Turns:
    """The turns of the loop in a block."""

    longest = 0.0
    """CPU seconds of the longest one."""
    count = 0


@asynccontextmanager
async def measured_turns(cpu_clock: Callable[[], float] = time.thread_time) -> AsyncIterator[Turns]:
    """Measure the turns of the running loop in the block, without garbage collections (see tests/cpu.py).

    With `time.process_time`, a thread that keeps the interpreter's lock lengthens a turn too.
    """
    turns = Turns()

    async def tick() -> None:
        before = cpu_clock()
        while True:
            await asyncio.sleep(0)  # once in every turn
            now = cpu_clock()
            turns.longest = max(turns.longest, now - before)
            turns.count += 1
            before = now

    was_on = gc.isenabled()
    gc.disable()
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        yield turns
    finally:
        await asyncio.sleep(0)  # the turn that ends the block counts too
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        if was_on:
            gc.enable()
