"""A pipe's faults in a row: steps go in at one end and leave at the other when due.

The chain is pure: it is told the time and calls `leave` with each step that has passed
every stage. Between stages it keeps queues, so that a fault can be taken away, changed or
put in at any moment:

    push ─▶ [waiting → Stage → timed] ─▶ [waiting → Stage → timed] ─▶ leaving ─▶ leave(step)

Each stage is given a step only when what it answered before has moved on. Times are exact
in simulation: a step enters the next stage at the time it was *due*, not at the time the
timer fired, so lateness of the machine never adds up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from chaosproxy.faults.base import NEVER, Close, Reset, Send, Stage, Step
from chaosproxy.tallies import FaultTally

__all__ = ["CHUNK_COST", "WORK", "Chain", "Link", "Marker"]

CHUNK_COST = 256
"""Bytes that a held chunk is charged beside its data, so that a queue of tiny ones is bounded too."""

WORK = 2000
"""Steps shown to stages in one `advance` (some 10 ms): a megabyte cut into single bytes must not stop the loop."""


class Marker:
    """The key of a link that is no fault; equal to nothing but itself."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Link:
    """One stage with its queues."""

    __slots__ = ("arrived", "key", "left", "owner", "stage", "tally", "timed", "waiting")

    def __init__(self, key: str | Marker, stage: Stage, tally: FaultTally, owner: object = None) -> None:
        self.key = key
        """The fault's name, or a Marker for a link that is no fault."""
        self.owner = owner
        """Who made it: a link made anew by another owner replaces it."""
        self.stage = stage
        self.tally = tally
        self.waiting: deque[Step] = deque()
        """What has not been shown to the stage."""
        self.timed: deque[Step] = deque()
        """What the stage has answered and is not yet due."""
        self.arrived = 0.0
        """When the step arrived that `timed` came from."""
        self.left = 0.0
        """When the last step left."""

    def unwind(self) -> list[Step]:
        """Empty both queues and the stage: what was held, in order, each stamped with its time of arrival."""
        kept = [*self.stage.let_go()]
        for step in (*self.timed, *kept):
            step.due = self.arrived
        held = [*self.timed, *kept, *self.waiting]
        self.timed.clear()
        self.waiting.clear()
        return held


class Chain:
    """The stages of one pipe, in order, and all they hold."""

    __slots__ = ("_leave", "_leaving", "_work", "blocked", "held", "links", "chunks")

    def __init__(self, leave: Callable[[Step], None]) -> None:
        self._leave = leave
        self._leaving: deque[Step] = deque()
        self._work = WORK
        self.links: list[Link] = []
        self.blocked = False
        """The sink takes nothing more for now: steps pass the stages but do not leave."""
        self.held = 0
        """Bytes held."""
        self.chunks = 0
        """Chunks held."""

    @property
    def cost(self) -> int:
        """What all that is held weighs in memory, in bytes."""
        return self.held + self.chunks * CHUNK_COST

    @property
    def held_by_stages(self) -> int:
        """Bytes that have not passed every stage; those that only wait for the sink are left out."""
        if not self.links:
            return 0
        return self.held - sum(len(step.data) for step in self._leaving if isinstance(step, Send))

    @property
    def holder(self) -> str | None:
        """The fault that holds the step which came in last; None where it has passed every fault."""
        for link in self.links:
            if link.waiting or link.timed or link.stage.unread:
                return link.key if isinstance(link.key, str) else None
        return None

    def push(self, step: Step) -> None:
        """Take in a step that arrived at `step.due`; `advance` moves it on."""
        if step.__class__ is Send:
            self.held += len(step.data)
        self.chunks += 1
        (self.links[0].waiting if self.links else self._leaving).append(step)

    def advance(self, now: float) -> float:
        """Move what is due by `now`; answers when to call next (`now` if there was too much for once), or NEVER."""
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
        """Make `wanted` the links, in that order; `advance` must follow.

        A link that stays keeps what it holds. One that goes releases what it held to the
        next that stays. A new link with the key of one that goes takes its place, and
        times anew what that one held. Links that swap places release all they hold first,
        since what is further along must stay ahead.
        """
        place = {link.key: index for index, link in enumerate(wanted)}
        fresh = {link.key: link for link in wanted if link not in self.links}
        kept = [place[link.key] for link in self.links if link.key in place]
        in_order = kept == sorted(kept)
        for link in fresh.values():
            link.left = now  # what was held until now leaves now at the earliest
        onward = self._leaving
        for link in reversed(self.links):  # from the sink on: what is further along goes first
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
        for step in held:  # with what the stage had kept, which was counted as gone
            self._count(step, 1)
        return held

    def clear(self) -> None:
        """Forget everything: the pipe is no more."""
        self.links = []
        self._leaving.clear()
        self.held = self.chunks = 0

    def _move(self, link: Link, onward: deque[Step], now: float) -> float:
        """Let one link work until nothing more of it is due; answers when it wants to work again."""
        stage, timed, waiting = link.stage, link.timed, link.waiting
        while True:
            while timed and timed[0].due <= now:
                step = timed.popleft()
                if step.due < link.left:
                    step.due = link.left  # jitter may not let a step overtake
                else:
                    link.left = step.due
                link.tally.delay.add(step.due - link.arrived)
                onward.append(step)
            if stage.alarm <= now and (timed or not waiting or stage.alarm <= waiting[0].due):
                self._ring(link, now)  # in the order of time: not ahead of a step that came before it
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

        A long one is halved until it is short enough: to cut one quantum after the other
        off its front would copy the rest each time.
        """
        step = waiting.popleft()
        while isinstance(step, Send) and len(step.data) > quantum:
            half = -(-len(step.data) // quantum) // 2 * quantum
            waiting.appendleft(Send(step.due, step.data[half:]))
            step = Send(step.due, step.data[:half])
            self.chunks += 1
        return step

    def _ring(self, link: Link, now: float) -> None:
        """Let the stage act on its alarm."""
        if not link.timed:
            link.arrived = link.stage.alarm
        for step in link.stage.on_alarm(now):
            _sign(step, link)
            self._count(step, 1)
            link.timed.append(step)
            link.tally.chunks += 1

    def _show(self, link: Link, step: Step) -> None:
        """Give the stage its next step and take its answer."""
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
            # No receive window holds a RST back; what waits for one is lost (RFC 9293 §3.10.7.4).
            end = leaving[-1]
            self.clear()
            self._leave(end)

    def flush(self) -> None:
        """Let what has passed every stage leave even while the sink is blocked."""
        leaving = self._leaving
        while leaving:
            step = leaving.popleft()
            self._count(step, -1)
            self._leave(step)


def _sign(step: Step, link: Link) -> None:
    """An end that a fault made says so: chaosproxy never blames the network for its own doing."""
    if isinstance(step, Close | Reset) and step.origin is None:
        step.origin = link.key if isinstance(link.key, str) else link.key.name
