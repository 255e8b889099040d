"""Limit of data: after some bytes the connection ends or hangs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Size, param
from chaosproxy.faults.base import Depth, Fault, Opening, Send, Stage, Step
from chaosproxy.faults.limits import THEN, afterwards, ending

__all__ = ["LimitData"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitData(Fault):
    """Passes exactly `size` bytes in its direction; then it ends or stalls the connection.

    `close` and `reset` follow the last byte that passes, and later data is lost. `stall` holds
    later data until the fault is healed. A size of 0B acts at the first byte. The count starts
    when the fault begins to act on the connection; changing the fault keeps the count.
    """

    type: ClassVar[str] = "limit_data"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "ends or stalls the connection after a number of bytes"
    models: ClassVar[str] = "A crash in the middle of a response, a quota, a middlebox with a size limit."
    example: ClassVar[str] = "{type: limit_data, size: 64KiB, then: reset}"

    size: int = param(Size(), "bytes that pass", example="64KiB")
    then: str = param(THEN, "action after that", default="close", example="reset")

    def open(self, opening: Opening) -> Stage:
        return _Quota(self.size, self.then)


class _Quota(Stage):
    def __init__(self, size: int, then: str) -> None:
        self._size = size
        self._then = then
        self._passed = 0
        self._over = False

    def on_step(self, step: Step) -> Iterable[Step]:
        if self._over:
            return afterwards(self._then, step)
        if not isinstance(step, Send):
            return (step,)
        left = max(0, self._size - self._passed)
        self._passed += min(len(step.data), left)
        if len(step.data) < left:
            return (step,)
        self._over = True
        end = ending(self._then, step.due)
        if len(step.data) == left:
            return (step, *end)
        inside = (Send(step.due, step.data[:left]),) if left else ()
        return (*inside, *end, *afterwards(self._then, Send(step.due, step.data[left:])))

    def take_over(self, old: Stage) -> None:
        if isinstance(old, _Quota):
            self._passed = old._passed
