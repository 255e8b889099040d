"""The limit of the bytes that faults hold in the whole process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chaosproxy.events import Event, HeldLimitReached
from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["MAX_HELD", "PROCESS_FULL", "HeldBytes", "Holder"]

MAX_HELD = 2**30
PROCESS_FULL = 32
"""A reason to pause a pipe: all pipes together hold too much."""
_RESUMED_AT_ONCE = 50
"""Pipes whose readers resume in one turn of the loop; each takes about 20 µs."""
_QUIET = 10.0
"""Seconds after an event about the full limit in which no other is published."""


class Holder(Protocol):
    """A pipe, as the limit sees it."""

    counted: int
    """Bytes that it has been counted with. Only the HeldBytes writes it."""

    def pause(self, reason: int) -> None: ...
    def resume(self, reason: int) -> None: ...


class HeldBytes:
    """Counts the bytes that pipes hold, and pauses the pipes that hold more while there are too many.

    A pipe that grows above the limit is paused. All continue when 1/16 of the limit is free. One that holds nothing
    any more continues before that: its fault has been healed, its dial has ended, or others hold what fills the limit.
    A pipe calls `update` when its chain has changed; pipes without a chain are not involved.
    """

    def __init__(self, scheduler: Scheduler, publish: Callable[[Event], None]) -> None:
        self.limit = MAX_HELD
        self.total = 0
        """The bytes held now, with the memory around them (faults.chain.CHUNK_COST)."""
        self.times_full = 0
        """How often the limit was reached."""
        self.scheduled_at = NEVER
        self._scheduler = scheduler
        self._publish = publish
        self._reported_at = -NEVER
        self._is_full = False
        """True from the time at which the limit was reached until 1/16 of it is free."""
        self._paused: dict[Holder, None] = {}
        """The pipes that wait until there is room."""
        self._drained: dict[Holder, None] = {}
        """The pipes that are paused no longer than until the next turn, since they hold nothing."""

    def set_limit(self, limit: int) -> None:
        """Change the limit. Pipes that are paused continue if it leaves room for them."""
        self.limit = limit
        if self._paused and self._has_room:
            self._scheduler.schedule(self, self._scheduler.clock())

    def update(self, pipe: Holder, held: int) -> None:
        """Count a pipe with the bytes that it holds now."""
        more = held - pipe.counted
        pipe.counted = held
        self.total += more
        if more > 0 and self.total > self.limit:
            if not self._is_full:
                self._note_full()
            self._drained.pop(pipe, None)
            self._paused[pipe] = None
            pipe.pause(PROCESS_FULL)
            return
        if self._has_room:
            self._is_full = False
        if self._paused:
            if not held and pipe in self._paused:
                del self._paused[pipe]
                self._drained[pipe] = None
            if self._has_room or self._drained:
                self._scheduler.schedule(self, self._scheduler.clock())

    def forget(self, pipe: Holder) -> None:
        """Count a pipe that has ended, or that holds nothing any more, with nothing; the caller resumes it."""
        if self._paused or self._drained:
            self._paused.pop(pipe, None)
            self._drained.pop(pipe, None)
        if pipe.counted or self._paused:
            self.update(pipe, 0)

    @property
    def _has_room(self) -> bool:
        return self.total <= self.limit - self.limit // 16

    def _note_full(self) -> None:
        self._is_full = True
        self.times_full += 1
        now = self._scheduler.clock()
        if now - self._reported_at >= _QUIET:
            self._reported_at = now
            self._publish(HeldLimitReached(at=now, held=self.total, limit=self.limit))

    def on_due(self, now: float) -> None:
        """Resume some pipes: those that hold nothing, and the others while there is room."""
        for pipe in [*self._drained, *self._paused][:_RESUMED_AT_ONCE]:
            if pipe in self._drained:
                del self._drained[pipe]
            elif not self._has_room:
                return
            elif pipe in self._paused:
                del self._paused[pipe]
            else:
                continue  # resuming one may end the wait of another
            pipe.resume(PROCESS_FULL)
        if self._drained or self._paused:
            self._scheduler.defer(self)

    def on_bug(self) -> None:
        """Do nothing: no connection belongs to the limit."""
