"""Measure the lag of the loop, and name the holder of a turn that lasts too long.

    loop:   a heartbeat every PERIOD ─▶ its lag ─▶ histogram, and LoopStalled from THRESHOLD on
    thread: if a heartbeat is late ─▶ samples of the loop's frames ─▶ Holder

No code of the data plane takes part. The thread sleeps until the next heartbeat would be late, so it
wakes ten times a second, and samples only while the loop is held. Heartbeats and thread together use
0.1 to 0.3 % of a core, nearly all of it for waking up.

- A turn of THRESHOLD + PERIOD is always reported, and a shorter one than THRESHOLD never: the lag of a
  heartbeat counts from the time at which it was due, which may be up to PERIOD after the begin of the turn.
- The event is published when the loop runs again.
- If the process did not run (it was stopped, or the machine was busy), nothing holds the loop. Then the
  thread has overslept too, and the loop's thread has used little CPU time.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from chaosproxy.events import Event, LoopStalled
from chaosproxy.observe.gc import GcPauses
from chaosproxy.observe.holder import Holder, describe, holder_of
from chaosproxy.tallies import Histogram

__all__ = ["LAG_BOUNDS", "PERIOD", "THRESHOLD", "Sample", "Watchdog", "judge"]

PERIOD = 0.05
"""Seconds between two heartbeats."""
THRESHOLD = 0.1
"""Seconds of lag from which on a stall is reported."""
LAG_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_LATE = THRESHOLD / 2
"""Seconds of lag at which the first sample is taken, which is before the end of each reported stall."""
_SAMPLE_S = 0.02
"""The longest that a report waits for a sample that is being taken, in seconds."""
_BETWEEN = 0.02
"""Seconds between two samples of a stall that has just begun."""
_COLLECTION = Holder("garbage collection", "")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """The holder of the loop as the thread saw it while the heartbeat of the time `due` was late."""

    due: float
    holder: Holder
    overslept: float
    """Seconds by which the thread itself had woken too late."""


def judge(lag: float, cpu: float, collected: float, samples: Sequence[Sample]) -> Holder:
    """Return the holder of the loop during a stall of `lag` seconds. Pure.

    `cpu` is the CPU time of the loop's thread meanwhile, `collected` the duration of garbage collections.
    """
    if collected >= lag / 2:
        return _COLLECTION
    overslept = max((one.overslept for one in samples), default=0.0)
    if not samples or (overslept >= lag / 2 and cpu < min(lag / 5, THRESHOLD)):
        return Holder(None, "")
    [(name, _)] = Counter(one.holder.name for one in samples).most_common(1)
    return next(one.holder for one in samples if one.holder.name == name)


class Watchdog:
    """Watches the loop in which `start` is called."""

    def __init__(
        self,
        publish: Callable[[Event], None],
        pauses: GcPauses,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`cpu_clock` returns the CPU time of the thread that calls it."""
        self.histogram = Histogram(LAG_BOUNDS)
        self.max = 0.0
        self._publish = publish
        self._pauses = pauses
        self._clock, self._cpu_clock = clock, cpu_clock
        self._due = 0.0
        self._cpu = 0.0
        """The CPU time at the last heartbeat."""
        self._collected = 0.0
        """The duration of all garbage collections until then."""
        self._samples: list[Sample] = []
        self._sampling = threading.Lock()
        """Held by the thread while it takes a sample."""
        self._stopped = threading.Event()
        self._handle: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; call this in the loop's thread."""
        self._expect(self._clock())
        watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, args=(watched,), name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; the measured values stay."""
        if self._handle is not None and self._thread is not None:
            self._handle.cancel()
            self._stopped.set()
            self._thread.join()

    def _expect(self, now: float) -> None:
        """Wait for the next heartbeat."""
        self._cpu, self._collected = self._cpu_clock(), self._pauses.histogram.sum
        self._due = now + PERIOD
        self._handle = asyncio.get_running_loop().call_later(PERIOD, self._beat)

    def _beat(self) -> None:
        now = self._clock()
        lag = max(0.0, now - self._due)
        self.histogram.add(lag)
        self.max = max(self.max, lag)
        if lag >= THRESHOLD:
            self._report(now, lag)
        self._expect(now)

    def _report(self, now: float, lag: float) -> None:
        # A holder that never let the thread run has just ended: the thread has begun its sample, and was interrupted.
        if self._sampling.acquire(timeout=_SAMPLE_S):
            self._sampling.release()
        taken, self._samples = self._samples, []
        cpu = self._cpu_clock() - self._cpu
        collected = self._pauses.histogram.sum - self._collected
        holder = judge(lag, cpu, collected, [one for one in taken if one.due == self._due])
        self._publish(LoopStalled(at=now, seconds=lag, cpu_s=cpu, held_by=holder.name, where=holder.where))

    def _watch(self, watched: int) -> None:
        wakes_at = self._due + _LATE
        while not self._stopped.wait(max(0.0, wakes_at - self._clock())):
            with self._sampling:
                frame = sys._current_frames().get(watched)  # first of all, since the loop may go on at any moment
                now, due = self._clock(), self._due
                overslept, late = now - wakes_at, now - due
                if late < _LATE:
                    wakes_at = due + _LATE
                    continue
                self._sample(frame, due, overslept)
            wakes_at = self._clock() + max(_BETWEEN, late / 10)

    def _sample(self, frame: FrameType | None, due: float, overslept: float) -> None:
        try:
            holder = holder_of(describe(frame))
        except Exception:  # an object that its own thread changes meanwhile must not end the watch
            logger.exception("the holder of the loop could not be named")
            holder = Holder(None, "")
        samples = self._samples
        if samples and samples[-1].due != due:  # of a stall that was too short to be reported
            samples.clear()
        samples.append(Sample(due, holder, overslept))
