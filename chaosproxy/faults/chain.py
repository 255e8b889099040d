"""The faults of a pipe in a row: steps enter at one end and leave at the other when due.

A Chain holds one Link per fault, and a Link holds a Stage with its two queues, so that a fault
can be added, changed or removed at any time:

    push ─▶ [waiting → Stage → timed] ─▶ [waiting → Stage → timed] ─▶ leaving ─▶ leave(step)

The chain is pure. A pipe calls `push` with each step that it reads and `advance` with the current
time; the chain calls `leave` with each step that has passed every stage, and returns the time at
which to call `advance` again. `arrange` replaces the links while steps are in them.

These rules hold:
- a stage receives a step only when everything that it returned before has moved on;
- a step enters the next stage at the time at which it was *due*, not at the time at which the
  timer fired, so that the lateness of timers does not add up;
- steps never overtake each other, and none is lost or doubled when links change;
- `held` and `chunks` count the bytes and steps in the chain at every moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from chaosproxy.faults.base import NEVER, Close, Reset, Send, Stage, Step
from chaosproxy.tallies import FaultTally

__all__ = ["CHUNK_COST", "WORK", "Chain", "Link", "Marker"]

CHUNK_COST = 256
"""Bytes that a held chunk costs in addition to its data, so that a queue of tiny chunks is bounded too."""

WORK = 2000
"""Steps passed to stages in one `advance` (about 10 ms): a megabyte cut into single bytes must not block the loop."""


class Marker:
    """The key of a link that is not a fault; equal only to itself."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Link:
    """One stage with its queues."""

    __slots__ = ("arrived", "key", "left", "owner", "stage", "tally", "timed", "waiting")

    def __init__(self, key: str | Marker, stage: Stage, tally: FaultTally, owner: object = None) -> None:
        self.key = key
        """The fault's name, or a Marker for a link that is not a fault."""
        self.owner = owner
        """The object that made the link; a link of another owner with the same key replaces it."""
        self.stage = stage
        self.tally = tally
        self.waiting: deque[Step] = deque()
        """Steps that have not been passed to the stage."""
        self.timed: deque[Step] = deque()
        """Steps that the stage has returned and that are not due yet."""
        self.arrived = 0.0
        """The arrival time of the step that `timed` came from."""
        self.left = 0.0
        """The time at which the last step left."""

    def unwind(self) -> list[Step]:
        """Empty both queues and the stage; return the held steps in order, each stamped with its arrival time."""
        kept = [*self.stage.let_go()]
        for step in (*self.timed, *kept):
            step.due = self.arrived
        held = [*self.timed, *kept, *self.waiting]
        self.timed.clear()
        self.waiting.clear()
        return held


class Chain:
    """The stages of one pipe, in order, and the steps that they hold."""

    __slots__ = ("_leave", "_leaving", "_work", "blocked", "held", "links", "chunks")

    def __init__(self, leave: Callable[[Step], None]) -> None:
        self._leave = leave
        self._leaving: deque[Step] = deque()
        self._work = WORK
        self.links: list[Link] = []
        self.blocked = False
        """True while the sink is full: steps pass the stages but do not leave."""
        self.held = 0
        """Bytes held."""
        self.chunks = 0
        """Chunks held."""

    @property
    def cost(self) -> int:
        """Return the memory that the held steps use, in bytes."""
        return self.held + self.chunks * CHUNK_COST

    @property
    def held_by_stages(self) -> int:
        """Return the bytes that have not passed every stage; bytes that only wait for the sink do not count."""
        if not self.links:
            return 0
        return self.held - sum(len(step.data) for step in self._leaving if isinstance(step, Send))

    @property
    def holder(self) -> str | None:
        """Return the fault that holds the newest step; None if that step has passed every fault."""
        for link in self.links:
            if link.waiting or link.timed or link.stage.unread:
                return link.key if isinstance(link.key, str) else None
        return None

    def push(self, step: Step) -> None:
        """Add a step that arrived at `step.due`; `advance` moves it on."""
        if step.__class__ is Send:
            self.held += len(step.data)
        self.chunks += 1
        (self.links[0].waiting if self.links else self._leaving).append(step)

    def advance(self, now: float) -> float:
        """Move every step that is due by `now`; return the time of the next call, `now` if work is left, or NEVER."""
        links = self.links
        self._work = WORK
        last = len(links) - 1
        next_due = NEVER
        for place, link in enumerate(links):
            onward = self._leaving if place == last else links[place + 1].waiting
            due = self._move(link, onward, now)
            if due < next_due:
                next_due = due
        if self._leaving:
            self._emit()
        return next_due

    def arrange(self, wanted: Sequence[Link], now: float) -> None:
        """Make `wanted` the links, in that order; the caller must call `advance` next.

        A link that stays keeps its steps. A link that is removed releases its steps to the next
        link that stays. A new link with the key of a removed one replaces it, and recomputes the
        times of its steps. Links that change their order release all steps first, since steps
        further along must stay ahead.
        """
        place = {link.key: index for index, link in enumerate(wanted)}
        fresh = {link.key: link for link in wanted if link not in self.links}
        kept = [place[link.key] for link in self.links if link.key in place]
        in_order = kept == sorted(kept)
        for link in fresh.values():
            link.left = now  # steps held until now leave now at the earliest
        onward = self._leaving
        for link in reversed(self.links):  # from the sink back: steps further along go first
            successor = fresh.get(link.key)
            if successor is not None:
                successor.stage.take_over(link.stage)
            if not in_order or link.key not in place:
                for step in self._unwind(link):
                    step.due = now
                    onward.append(step)
            elif successor is not None:
                successor.waiting.extend(self._unwind(link))
                onward = successor.waiting
            else:
                onward = link.waiting
        self.links = list(wanted)

    def _unwind(self, link: Link) -> list[Step]:
        for step in (*link.timed, *link.waiting):
            self._count(step, -1)
        held = link.unwind()
        for step in held:  # including the steps that the stage had kept, which were counted as gone
            self._count(step, 1)
        return held

    def clear(self) -> None:
        """Drop everything: the pipe has ended."""
        self.links = []
        self._leaving.clear()
        self.held = self.chunks = 0

    def _move(self, link: Link, onward: deque[Step], now: float) -> float:
        """Run one link until no step of it is due; return the time at which to run it again."""
        stage, timed, waiting = link.stage, link.timed, link.waiting
        while True:
            while timed and timed[0].due <= now:
                step = timed.popleft()
                if step.due < link.left:
                    step.due = link.left  # jitter must not let a step overtake another
                else:
                    link.left = step.due
                link.tally.delay.add(step.due - link.arrived)
                onward.append(step)
            if stage.alarm <= now and (timed or not waiting or stage.alarm <= waiting[0].due):
                self._ring(link, now)  # in order of time: after a step that arrived before the alarm
            elif timed:
                return min(timed[0].due, stage.alarm)
            elif waiting:
                if not self._work:
                    return now
                self._work -= 1
                self._show(link, self._next(waiting, stage.quantum))
            else:
                return stage.alarm

    def _next(self, waiting: deque[Step], quantum: int) -> Step:
        """Take the first step, or as much of it as `quantum` allows.

        Halve a long step until it is short enough: cutting one quantum after another off its front
        would copy the rest each time.
        """
        step = waiting.popleft()
        while isinstance(step, Send) and len(step.data) > quantum:
            half = -(-len(step.data) // quantum) // 2 * quantum
            waiting.appendleft(Send(step.due, step.data[half:]))
            step = Send(step.due, step.data[:half])
            self.chunks += 1
        return step

    def _ring(self, link: Link, now: float) -> None:
        """Call the stage's alarm and queue the steps that it returns."""
        if not link.timed:
            link.arrived = link.stage.alarm
        for step in link.stage.on_alarm(now):
            _sign(step, link)
            self._count(step, 1)
            link.timed.append(step)
            link.tally.chunks += 1

    def _show(self, link: Link, step: Step) -> None:
        """Pass the stage its next step and queue the steps that it returns."""
        link.arrived = arrived = step.due
        self._count(step, -1)
        touched = True
        for one in link.stage.on_step(step):
            if one is not step:
                _sign(one, link)
            elif one.due == arrived:
                touched = False
            self._count(one, 1)
            link.timed.append(one)
        if touched:
            link.tally.chunks += 1

    def _count(self, step: Step, sign: int) -> None:
        self.chunks += sign
        if isinstance(step, Send):
            self.held += sign * len(step.data)

    def _emit(self) -> None:
        leaving = self._leaving
        while leaving and not self.blocked:
            step = leaving.popleft()
            self._count(step, -1)
            self._leave(step)
        if leaving and isinstance(leaving[-1], Reset):
            # A RST does not wait for the receive window; data that waits for it is lost (RFC 9293 §3.10.7.4).
            end = leaving[-1]
            self.clear()
            self._leave(end)

    def flush(self) -> None:
        """Let every step that has passed all stages leave, even while the sink is blocked."""
        leaving = self._leaving
        while leaving:
            step = leaving.popleft()
            self._count(step, -1)
            self._leave(step)


def _sign(step: Step, link: Link) -> None:
    """Write the fault's name into an end that it made, so that the network is not blamed for it."""
    if isinstance(step, Close | Reset) and step.origin is None:
        step.origin = link.key if isinstance(link.key, str) else link.key.name
