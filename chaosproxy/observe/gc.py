"""Measure the pauses of the loop by garbage collection, and make the full ones when they are short.

A full collection takes about 1 µs per tracked object, and nothing else runs meanwhile. So these pauses
limit the accuracy of every fault's timing. `app` keeps Python from making full collections by itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from chaosproxy.heap import is_light
from chaosproxy.tallies import Histogram

__all__ = ["PAUSE_BOUNDS", "FullCollections", "GcPauses"]

PAUSE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


FULL_EVERY_S = 600.0
"""Seconds between two full collections. The data plane makes no cyclic garbage, and others little."""
_AGAIN_S = 0.25
"""Seconds after which it is looked again whether the heap is light."""
_MOST_WAITS = 400
"""Waits for that, at most."""


class _Handle(Protocol):
    def cancel(self) -> object: ...


class FullCollections:
    """Makes a full collection from time to time, when no thread holds very many objects."""

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], _Handle], collect: Callable[[], object] = gc.collect
    ) -> None:
        self._call_later, self._collect = call_later, collect
        self._handle: _Handle | None = None
        self._waits = 0

    def start(self) -> None:
        """Make the first one after FULL_EVERY_S."""
        self._handle = self._call_later(FULL_EVERY_S, self._try)

    def stop(self) -> None:
        """Make no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _try(self) -> None:
        if not is_light() and self._waits < _MOST_WAITS:
            self._waits += 1
            self._handle = self._call_later(_AGAIN_S, self._try)
            return
        self._waits = 0
        self._collect()
        self.start()


class GcPauses:
    """Measures the duration of each collection between `start` and `stop`, in seconds."""

    def __init__(self) -> None:
        self.last = 0.0
        self.max = 0.0
        self.histogram = Histogram(PAUSE_BOUNDS)
        self._began: float | None = None

    def start(self) -> None:
        """Start measuring."""
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Stop measuring; the measured values stay."""
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        elif self._began is not None:
            self.last = time.perf_counter() - self._began
            self._began = None
            self.max = max(self.max, self.last)
            self.histogram.add(self.last)
