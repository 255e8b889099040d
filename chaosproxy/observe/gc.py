"""How long garbage collection stopped everything.

A full collection costs about 1 µs per tracked object and nothing else runs meanwhile, so
a fault's timing is only as good as these pauses are short.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping

from chaosproxy.tallies import Histogram

__all__ = ["PAUSE_BOUNDS", "GcPauses"]

PAUSE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class GcPauses:
    """Measures each collection between `start` and `stop`; seconds."""

    def __init__(self) -> None:
        self.last = 0.0
        self.max = 0.0
        self.histogram = Histogram(PAUSE_BOUNDS)
        self._began: float | None = None

    def start(self) -> None:
        """Measure from now on."""
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Measure no more; what was measured stays."""
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        elif self._began is not None:
            self.last = time.perf_counter() - self._began
            self._began = None
            self.max = max(self.max, self.last)
            self.histogram.add(self.last)
