"""Limit of time: after a time the connection ends or hangs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, param
from chaosproxy.faults.base import NEVER, Depth, Fault, Opening, Stage, Step
from chaosproxy.faults.limits import THEN, afterwards, ending

__all__ = ["LimitTime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTime(Fault):
    """Ends the connection after `time`, or stalls its direction.

    `close` and `reset` act on time even on an idle connection, and later data is lost. `stall`
    holds later data until the fault is healed. The time of each connection starts when the fault
    begins to act on it; changing the fault does not restart it.
    """

    type: ClassVar[str] = "limit_time"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "ends or stalls the connection after a time"
    models: ClassVar[str] = "Session timeouts of balancers and firewalls, servers that recycle connections."
    example: ClassVar[str] = "{type: limit_time, time: 30s, then: close}"

    time: float = param(Duration(), "time until the limit", example="30s")
    then: str = param(THEN, "action after that", default="close", example="reset")

    def open(self, opening: Opening) -> Stage:
        return _Deadline(self.time, self.then, opening.now)


class _Deadline(Stage):
    def __init__(self, time: float, then: str, since: float) -> None:
        self._time = time
        self._then = then
        self._since = since
        self._set_out()

    def _set_out(self) -> None:
        self._end = self._since + self._time
        self.alarm = NEVER if self._then == "stall" else self._end

    def on_step(self, step: Step) -> Iterable[Step]:
        return (step,) if step.due < self._end else afterwards(self._then, step)

    def on_alarm(self, now: float) -> Iterable[Step]:
        self.alarm = NEVER
        return ending(self._then, self._end)

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Deadline):
            self._since = old._since
            self._set_out()
