"""The faults of a pipe in a row: steps enter at one end and leave at the other when due.

A Chain holds one Link per fault, and a Link holds a Stage with its two queues, so that a fault
can be added, changed or removed at any time:

    push ─▶ [waiting → Stage → timed] ─▶ [waiting → Stage → timed] ─▶ leaving ─▶ leave(step)

The chain is pure. A pipe calls `push` with each step that it reads and `advance` with the current
time; the chain calls `leave` with each step that has passed every stage, and returns the time at
which to call `advance` again. `arrange` replaces the links while steps are in them.

Many steps may be due at once: a megabyte can be cut into single bytes. `advance` therefore takes a
function that says whether there is time for more, asks it between steps, and leaves the rest in its
queues. A long Send stays one object in its queue, and each piece is cut off when the stage takes it.

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
from itertools import islice, takewhile

from chaosproxy.faults.base import NEVER, Close, Reset, Send, Stage, Step
from chaosproxy.tallies import FaultTally

__all__ = ["CHUNK_COST", "Chain", "HasTime", "Link", "Marker"]

HasTime = Callable[[], bool]
"""Returns whether there is time for another step in this turn of the event loop."""

CHUNK_COST = 256
"""Bytes that a held chunk costs in addition to its data, so that a queue of tiny chunks is bounded too."""


def _always() -> bool:
    return True


class Marker:
    """The key of a link that is not a fault; equal only to itself."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


_IDLE = Stage()
"""The stage of remnants; it is never called."""


class Link:
    """One stage with its queues.

    A link that is removed while steps are in it becomes a remnant: it passes them on, a slice at a time, and then
    disappears.
    """

    __slots__ = (
        "arrived", "is_released", "is_remnant", "key", "left", "owner", "stage", "stamp", "taken", "tally", "timed",
        "waiting",
    )  # fmt: skip

    def __init__(self, key: str | Marker, stage: Stage, tally: FaultTally, owner: object = None) -> None:
        self.key = key
        """The fault's name, or a Marker for a link that is not a fault."""
        self.owner = owner
        """The object that made the link; a link of another owner with the same key replaces it."""
        self.stage = stage
        self.tally = tally
        self.waiting: deque[Step] = deque()
        """Steps that have not been passed to the stage."""
        self.taken = 0
        """Bytes of the first of them that were passed to the stage already."""
        self.timed: deque[Step] = deque()
        """Steps that the stage has returned and that are not due yet."""
        self.arrived = 0.0
        """The arrival time of the step that `timed` came from."""
        self.left = 0.0
        """The time at which the last step left."""
        self.is_remnant = False
        self.is_released = False
        """True for a remnant whose steps no longer wait for anything."""
        self.stamp = 0.0
        """The due time of a remnant's steps."""

    def remnant(self) -> Link:
        """Empty both queues and the stage into another link, which stamps its steps with their arrival time."""
        self.cut()
        other = Link(self.key, _IDLE, self.tally)
        other.is_remnant, other.stamp = True, self.arrived
        other.timed, other.waiting = self.timed, self.waiting
        other.timed.extend(self.stage.let_go())
        self.timed, self.waiting = deque(), deque()
        return other

    def release(self, now: float) -> None:
        """Stamp all steps of a remnant with `now`, since no successor delays them."""
        self.is_released, self.stamp = True, now

    def next(self) -> tuple[Step, bool]:
        """Take the first waiting step, or as many of its bytes as the stage accepts; return whether it was cut."""
        step, stage, taken = self.waiting[0], self.stage, self.taken
        if isinstance(step, Send) and len(step.data) - taken > stage.quantum and stage.cuts(step):
            self.taken = taken + stage.quantum
            return step.piece(taken, self.taken), True
        self.cut()
        return self.waiting.popleft(), taken > 0

    def cut(self) -> None:
        """Replace the first waiting step by the rest of it, if a part was taken."""
        if self.taken:
            step = self.waiting[0]
            assert isinstance(step, Send)
            self.waiting[0], self.taken = step.piece(self.taken, len(step.data)), 0


class Chain:
    """The stages of one pipe, in order, and the steps that they hold."""

    __slots__ = ("_has_time", "_leave", "_leaving", "_path", "_unfinished", "blocked", "chunks", "held", "links")

    def __init__(self, leave: Callable[[Step], None]) -> None:
        self._leave = leave
        self._leaving: deque[Step] = deque()
        self._has_time: HasTime = _always
        self._unfinished = False
        """True if the time ended before the work in the latest `advance`."""
        self.links: list[Link] = []
        """The links of the faults."""
        self._path: list[Link] = []
        """These links, and the remnants of earlier ones, from the source to the sink."""
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
        (self._path[0].waiting if self._path else self._leaving).append(step)

    def advance(self, now: float, has_time: HasTime = _always) -> float:
        """Move every step that is due by `now`; return the time of the next call, or NEVER.

        That time is `now` if `has_time` returned False before all work was done.
        """
        self._has_time = has_time
        if self._unfinished:
            # Steps further along go first: if the time is always too short, the rest waits before the first stage,
            # where the pipe's limit stops the sender.
            self._emit()
            self._move_all(now, reverse=True)
        next_due = self._move_all(now)
        if len(self._path) > len(self.links):
            self._path = [link for link in self._path if not link.is_remnant or link.timed or link.waiting]
        if self._leaving:
            self._emit()
            if self._leaving and not self.blocked:
                next_due = now
        self._unfinished = next_due <= now
        return next_due

    def _move_all(self, now: float, reverse: bool = False) -> float:
        """Run each link once; return the earliest time at which one has work."""
        links = self._path
        last = len(links) - 1
        next_due = NEVER
        for place in range(last, -1, -1) if reverse else range(last + 1):
            onward = self._leaving if place == last else links[place + 1].waiting
            link = links[place]
            due = self._pass_on(link, onward, now) if link.is_remnant else self._move(link, onward, now)
            if due < next_due:
                next_due = due
        return next_due

    def arrange(self, wanted: Sequence[Link], now: float) -> None:
        """Make `wanted` the links, in that order; the caller must call `advance` next.

        A link that stays keeps its steps. A link that is removed releases its steps to the next
        link that stays. A new link with the key of a removed one replaces it, and recomputes the
        times of its steps. Links that change their order release all steps first, since steps
        further along must stay ahead; those in front that stay in their places keep theirs.
        No step is moved here, since there may be many.
        """
        place = {link.key: index for index, link in enumerate(wanted)}
        present = set(self.links)
        fresh = {link.key: link for link in wanted if link not in present}
        kept = [place[link.key] for link in self.links if link.key in place]
        in_order = kept == sorted(kept)
        leading = {link for link, _ in takewhile(_are_same, zip(self.links, wanted, strict=False))}
        for link in fresh.values():
            link.left = now  # steps held until now leave now at the earliest
        before: dict[Link, list[Link]] = {}
        """The remnants in front of each link that stays or replaces another one."""
        remnants: list[Link] = []
        unreleased: list[Link] = []
        """The last of them, which wait for a successor."""
        for link in self._path:
            successor = None if link.is_remnant else fresh.get(link.key)
            if successor is not None:
                successor.stage.take_over(link.stage)
            stays = (in_order or link in leading) and not link.is_remnant and link.key in place
            if stays and successor is None:
                before[link], remnants, unreleased = remnants, [], []
                continue
            remnant = link if link.is_remnant else self._remnant(link)
            if remnant is not None:
                remnants.append(remnant)
                unreleased.append(remnant)
            if stays and successor is not None:
                before[successor], remnants, unreleased = remnants, [], []
            elif not link.is_remnant or not in_order:
                for one in unreleased:
                    one.release(now)
                unreleased = []
        self.links = list(wanted)
        self._path = [one for link in wanted for one in (*before.get(link, ()), link)] + remnants

    def _remnant(self, link: Link) -> Link | None:
        """Return the remnant of a link; None if nothing is in it."""
        before = len(link.timed)
        remnant = link.remnant()
        for kept in islice(remnant.timed, before, None):  # the stage had kept them, so they were counted as gone
            self._count(kept, 1)
        return remnant if remnant.timed or remnant.waiting else None

    def clear(self) -> None:
        """Drop everything: the pipe has ended."""
        self.links, self._path = [], []
        self._leaving.clear()
        self.held = self.chunks = 0

    def _move(self, link: Link, onward: deque[Step], now: float) -> float:
        """Run one link until no step of it is due or the time is over; return the time at which to run it again."""
        stage, timed, waiting, has_time = link.stage, link.timed, link.waiting, self._has_time
        while True:
            while timed and timed[0].due <= now:
                step = timed.popleft()
                if step.due < link.left:
                    step.due = link.left  # jitter must not let a step overtake another
                else:
                    link.left = step.due
                link.tally.delay.add(step.due - link.arrived)
                onward.append(step)
                if timed and not has_time():
                    return now
            if stage.alarm <= now and (timed or not waiting or stage.alarm <= waiting[0].due):
                self._ring(link, now)  # in order of time: after a step that arrived before the alarm
            elif timed:
                return min(timed[0].due, stage.alarm)
            elif waiting:
                if not has_time():
                    return now
                self._show(link)
            else:
                return stage.alarm

    def _pass_on(self, link: Link, onward: deque[Step], now: float) -> float:
        """Pass on the steps of a remnant until the time is over; return the time at which to go on."""
        timed, waiting = link.timed, link.waiting
        while timed or waiting:
            if timed:
                step = timed.popleft()
                step.due = link.stamp
            else:
                step = waiting.popleft()
                if link.is_released and step.due < link.stamp:
                    step.due = link.stamp
            onward.append(step)
            if not self._has_time():
                return now
        return NEVER

    def _ring(self, link: Link, now: float) -> None:
        """Call the stage's alarm and queue the steps that it returns."""
        if not link.timed:
            link.arrived = link.stage.alarm
        for step in link.stage.on_alarm(now):
            _sign(step, link)
            self._count(step, 1)
            link.timed.append(step)
            link.tally.chunks += 1

    def _show(self, link: Link) -> None:
        """Pass the stage its next step and queue the steps that it returns."""
        step, is_cut = link.next()
        link.arrived = arrived = step.due
        if isinstance(step, Send):
            self.held -= len(step.data)
        if not link.taken:
            self.chunks -= 1
        touched = True
        for one in link.stage.on_step(step):
            if one is not step:
                _sign(one, link)
            elif one.due == arrived:
                touched = is_cut
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
            if leaving and not self._has_time():
                return
        if leaving and isinstance(leaving[-1], Reset):
            # A RST does not wait for the receive window; data that waits for it is lost (RFC 9293 §3.10.7.4).
            end = leaving[-1]
            self.clear()
            self._leave(end)


def _are_same(pair: tuple[Link, Link]) -> bool:
    return pair[0] is pair[1]


def _sign(step: Step, link: Link) -> None:
    """Write the fault's name into an end that it made, so that the network is not blamed for it."""
    if isinstance(step, Close | Reset) and step.origin is None:
        step.origin = link.key if isinstance(link.key, str) else link.key.name
