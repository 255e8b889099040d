"""Measure the pauses of the loop by garbage collection.

A full collection takes about 1 µs per tracked object, and nothing else runs meanwhile. So these pauses
limit the accuracy of every fault's timing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping

from chaosproxy.tallies import Histogram

__all__ = ["PAUSE_BOUNDS", "GcPauses"]

PAUSE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


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
