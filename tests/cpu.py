"""Measure CPU time, for bounds that a busy machine does not break."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["CpuTime", "cpu_time"]


class CpuTime:
    """The CPU time that a block has used."""

    seconds = 0.0


@contextmanager
def cpu_time() -> Iterator[CpuTime]:
    """Measure the CPU time of this thread in the block, without garbage collections.

    A worker of the whole suite has half a million objects. A full collection of them takes most of a second,
    and begins at any time.
    """
    used = CpuTime()
    was_on = gc.isenabled()
    gc.disable()
    began = time.thread_time()
    try:
        yield used
    finally:
        used.seconds = time.thread_time() - began
        if was_on:
            gc.enable()
