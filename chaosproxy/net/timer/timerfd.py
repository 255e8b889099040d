"""A kernel timer as a file descriptor (Linux, timerfd_create(2)).

Python has it from 3.13 on. This module calls the C library, for older versions too.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import time
from collections.abc import Callable

__all__ = ["TimerFd"]

_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_LATEST = 3e9
"""Seconds, about a century: a later time is set as this one, since it may not fit into the kernel's struct."""


class _Itimerspec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


_libc = ctypes.CDLL(None, use_errno=True)


class TimerFd:
    """Fires at or after the time it is armed for, on CLOCK_MONOTONIC, and never earlier."""

    def __init__(self, fire: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._fire, self._loop = fire, loop
        self._fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _Itimerspec()
        self._at = ctypes.byref(self._spec)
        self._set = _libc.timerfd_settime
        loop.add_reader(self._fd, self._on_time)

    def arm(self, due: float) -> None:
        # Round up to the next nanosecond, so that the timer is never early; 0 would disarm it.
        nanoseconds = max(1, math.ceil(min(due, _LATEST) * 1e9))
        self._spec.value_s, self._spec.value_ns = divmod(nanoseconds, 1_000_000_000)
        if self._set(self._fd, _TFD_TIMER_ABSTIME, self._at, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _on_time(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # armed again since it fired
            return
        self._fire()
