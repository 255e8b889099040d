"""Measure how long the event loop's turns are, in CPU time of its thread, which a busy machine does not stretch."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Turns", "measured_turns"]


class Turns:
    """The turns of the loop in a block."""

    longest = 0.0
    """CPU seconds of the longest one."""
    count = 0


@asynccontextmanager
async def measured_turns() -> AsyncIterator[Turns]:
    """Measure the turns of the running loop in the block, without garbage collections (see tests/cpu.py)."""
    turns = Turns()

    async def tick() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)  # once in every turn
            now = time.thread_time()
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
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        if was_on:
            gc.enable()
