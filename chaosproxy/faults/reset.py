"""Reset: break the connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, Size, param
from chaosproxy.faults.base import NEVER, Depth, Fault, Opening, Send, Stage, Step
from chaosproxy.faults.base import Reset as ResetStep

__all__ = ["Reset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """Breaks the connection with a reset (RST) on both sides (RFC 9293, 3.5.2).

    With `delay` the reset comes at that time after the fault begins to act on the connection,
    even if the connection is idle. With `size` it comes after that number of bytes in the fault's
    direction (0B: at the first byte, which does not pass). With both, the first of the two
    counts; with neither, the reset comes at once. Later data is lost, and a reset may also
    discard data that the receiver has not read yet. Changing the fault keeps time and count.
    """

    type: ClassVar[str] = "reset"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "resets the connection, at once or after a time or a number of bytes"
    models: ClassVar[str] = "A crashed process, a balancer that lost its table, a firewall that cuts sessions."
    example: ClassVar[str] = "{type: reset, delay: 500ms}"

    delay: float | None = param(Duration(), "time before the reset", default=None, example="500ms")
    size: int | None = param(Size(), "bytes that pass before the reset", default=None, example="64KiB")

    def open(self, opening: Opening) -> Stage:
        return _Break(self.delay, self.size, opening.now)


class _Break(Stage):
    def __init__(self, delay: float | None, size: int | None, since: float) -> None:
        self._delay = delay
        self._size = size
        self._since = since
        self._passed = 0
        self._broken = False
        self._set_out()

    def _set_out(self) -> None:
        delay = 0.0 if self._delay is None and self._size is None else self._delay
        self.alarm = NEVER if delay is None else self._since + delay

    def on_step(self, step: Step) -> Iterable[Step]:
        if self._broken:
            return ()
        if self._size is None or not isinstance(step, Send):
            return (step,)
        left = max(0, self._size - self._passed)
        self._passed += min(len(step.data), left)
        if len(step.data) < left:
            return (step,)
        self._broken, self.alarm = True, NEVER
        end = ResetStep(step.due)
        if len(step.data) == left:
            return (step, end)
        return (Send(step.due, step.data[:left]), end) if left else (end,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        end = ResetStep(self.alarm)
        self._broken, self.alarm = True, NEVER
        return (end,)

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Break):
            self._since, self._passed = old._since, old._passed
            self._set_out()
