"""The course of a probe: at each look it decides on the next order, as a state machine without a clock.

    baseline ─▶ fault ─▶ rest ─▶ fault ─▶ rest … ─▶ over
        └─────────┴────────┴──────────────────────────▲   no traffic, another fault, healed from outside, a restart

`next(seen)` returns one order. `Put` is followed by `Heal` before any other `Put` or `Stop`: at most one fault is on,
and none when the course is over. `on` is the fault that must be healed if the caller ends the course itself.

A fault ends as soon as it has shown its goals (`plan.Step`), as the clients have stopped trying, or after its most
seconds. A rest ends when the load is as before, or after its most seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from chaosproxy.probe.plan import TTL_MARGIN_S, Plan, Step
from chaosproxy.probe.seen import Seen, is_reached, timeout_of
from chaosproxy.probe.trickling import trickle
from chaosproxy.units import seconds_text

__all__ = ["LOOK_S", "Course", "Done", "Heal", "Order", "Put", "Stop", "Wait"]

LOOK_S = 0.5
"""Seconds from one look to the next."""
_SHORTEST_S = 0.01
"""A shorter wait may be lost in rounding, and the course would turn without an end."""
_ENOUGH = 10
"""Answered turns that end the baseline."""
_QUIET_S = 3.0
"""The shortest silence after which clients have stopped trying: counts come once a second."""
_QUIET = 3
"""They have stopped after this many times the longest silence between two attempts."""


@dataclass(frozen=True, slots=True)
class Put:
    """Put a fault on."""

    name: str
    type: str
    settings: Mapping[str, str | int]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Heal:
    """Heal the fault that is on."""

    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The course is over; `reason` is empty if it has come to its end."""

    reason: str


Order: TypeAlias = Put | Heal | Wait | Stop


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is over."""

    step: Step
    seconds: float
    because: str
    is_skipped: bool = False
    is_whole: bool = False
    """True if it lasted as long as it might."""


class Course:
    """The course of one probe."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = list(plan.steps)
        self._step: Step | None = None
        self._began: Seen | None = None
        """The first look of the baseline, fault or rest."""
        self._reached_s: float | None = None
        self._changed: tuple[tuple[int, ...], float] = (), 0.0
        """The clients' activity so far, and the time of its last change."""
        self._longest_idle_s = 0.0
        """The longest time without a change in the fault or the baseline."""
        self._usual_idle_s = 0.0
        """The same of the baseline alone."""
        self._answer_bytes = 0.0
        self._latest: Seen | None = None
        self._was_refused = False
        """True if the latest fault was not put on, so that nothing has to rest."""
        self._reason: str | None = None
        self.on: str | None = None
        """The fault that is on."""
        self.done: list[Done] = []

    @property
    def reason(self) -> str | None:
        """The reason for which it is over; empty at its end, None before."""
        return self._reason

    def next(self, seen: Seen) -> Order:
        """Return the order that follows from a look."""
        if self._reason is None and (outside := self._outside(seen)):
            return self._stop(seen, outside)
        if self._reason is not None:
            return Stop(self._reason)
        self._latest = seen
        if self._was_refused:
            self._was_refused = False
            return self._next_fault(seen)
        if self._began is None:
            self._began = seen
        if self.on is not None:
            return self._in_fault(seen)
        return self._in_rest(seen) if self._step else self._in_baseline(seen)

    def _outside(self, seen: Seen) -> str:
        """Return the reason to stop if another has changed the faults of the proxy, or it is new; empty if not."""
        if self._latest is not None and seen.answered < self._latest.answered:
            return "the probe stopped, since the proxy has begun to count again: it was made again, or the server was"
        others = sorted(seen.faults - {self.on})
        if others:
            return f"the probe stopped, since another fault is on the proxy now: {', '.join(others)}"
        if self.on is not None and self.on not in seen.faults:
            assert self._step is not None and self._began is not None
            if seen.at - self._began.at < self._step.most_s:
                return f"the probe stopped, since {self.on} was healed from outside"
        return ""

    def _stop(self, seen: Seen, reason: str) -> Order:
        if self.on is not None:
            healed = self._heal(seen, reason)
            self._reason = reason
            return healed
        self._reason = reason
        return Stop(reason)

    def _in_baseline(self, seen: Seen) -> Order:
        assert self._began is not None
        lasted = seen.at - self._began.at
        answered = max(0, seen.answered - self._began.answered)
        self._note_activity(seen, None)
        if lasted >= self._plan.baseline_least_s and answered >= _ENOUGH or lasted >= self._plan.baseline_most_s:
            if not answered:
                waiting = f", and {seen.open} {'is' if seen.open == 1 else 'are'} open" if seen.open else ""
                return self._stop(
                    seen, f"no traffic to learn from: no turn was answered within {seconds_text(lasted)}{waiting}"
                )
            self._usual_idle_s = self._longest_idle_s
            self._answer_bytes = max(0, seen.bytes_downstream - self._began.bytes_downstream) / answered
            return self._next_fault(seen)
        return _wait(self._plan.baseline_most_s - lasted, self._plan.baseline_least_s - lasted)

    def _next_fault(self, seen: Seen) -> Order:
        while self._left:
            step = self._adapted(self._left.pop(0), seen)
            if step is None:
                continue
            self._step, self._began, self._reached_s, self.on = step, seen, None, step.fault
            self._changed, self._longest_idle_s = (_activity(seen, step), seen.at), self._usual_idle_s
            return Put(step.fault, step.type, step.settings, step.most_s + TTL_MARGIN_S)
        self._reason = ""
        return Stop("")

    def _adapted(self, step: Step, seen: Seen) -> Step | None:
        """Return a step with settings for these clients; None if it is skipped."""
        timeout_s = timeout_of(seen)
        if step.name != "trickle" and not step.needs_timeout:
            return step
        if timeout_s is None:
            self._skip(step, "no time-out is known")
            return None
        if step.name != "trickle":
            return step
        found = trickle(timeout_s, self._answer_bytes, step.most_s)
        if isinstance(found, str):
            self._skip(step, found)
            return None
        settings, least_s, most_s = found
        return replace(step, settings={**step.settings, **settings}, least_s=least_s, most_s=most_s)

    def _skip(self, step: Step, reason: str) -> None:
        self.done.append(Done(step, 0.0, f"skipped: {reason}", is_skipped=True))

    def _in_fault(self, seen: Seen) -> Order:
        assert self._began is not None and self._step is not None
        step, lasted = self._step, seen.at - self._began.at
        self._note_activity(seen, step)
        if lasted >= step.most_s:
            return self._heal(seen, f"its longest time, {seconds_text(step.most_s)}, was over", is_whole=True)
        if lasted >= step.least_s and (because := self._enough(seen, step, lasted)):
            return self._heal(seen, because)
        return _wait(step.most_s - lasted, step.least_s - lasted)

    def _note_activity(self, seen: Seen, step: Step | None) -> None:
        activity, changed_at = self._changed
        if (now := _activity(seen, step)) != activity:
            if activity:
                self._longest_idle_s = max(self._longest_idle_s, seen.at - changed_at)
            self._changed = now, seen.at

    def _enough(self, seen: Seen, step: Step, lasted: float) -> str:
        """Return why a fault has shown enough; empty if it has not."""
        if step.until and all(is_reached(goal, step, seen) for goal in step.until):
            self._reached_s = self._reached_s or lasted
            shown = f"shown: {', '.join(step.until)}"
            if all(is_reached(goal, step, seen) for goal in step.also):
                return ", ".join([shown, *step.also])
            if lasted >= 2 * self._reached_s:
                return shown
        told = seen.reactions.get(step.fault)
        failed = told is not None and (told["gave_up"]["count"] or seen.failed > (self._began or seen).failed)
        quiet = seen.at - self._changed[1]
        if step.ends_when_quiet and failed and not seen.open and quiet >= max(_QUIET_S, _QUIET * self._longest_idle_s):
            return "the clients stopped trying"
        return ""

    def _heal(self, seen: Seen, because: str, is_whole: bool = False) -> Order:
        assert self._began is not None and self._step is not None and self.on is not None
        self.done.append(Done(self._step, seen.at - self._began.at, because, is_whole=is_whole))
        name, self.on, self._began = self.on, None, None
        return Heal(name)

    def left_s(self, at: float) -> float:
        """Return the seconds until the part that runs has lasted as long as it may; 0 before the first look."""
        if self._began is None:
            return 0.0
        on = self._step if self.on is not None else None
        most_s = on.most_s if on else self._plan.rest_most_s if self._step else self._plan.baseline_most_s
        return max(0.0, self._began.at + most_s - at)

    def refused(self, reason: str) -> None:
        """Note that the server has refused the fault that was to be put on; the next one follows."""
        assert self._step is not None and self.on is not None
        self._skip(self._step, reason)
        self.on, self._was_refused = None, True

    def end(self, at: float, because: str) -> None:
        """Note that the caller has healed the fault that is on, and ends the course."""
        if self.on is not None:
            self._heal(Seen(at), because)
        self._reason = self._reason or because

    def _in_rest(self, seen: Seen) -> Order:
        assert self._began is not None and self._step is not None
        lasted = seen.at - self._began.at
        told = seen.reactions.get(self._step.fault)
        is_back = told is not None and told["recovered_after_s"] is not None
        if lasted >= self._plan.rest_least_s and is_back:
            return self._next_fault(seen)
        if lasted >= self._plan.rest_most_s:
            if seen.answered <= self._began.answered and self._left:
                away = [one["to"] for one in seen.failovers if one["failed_back_after_s"] is None]
                moved = f"; {away[-1]} has their load now" if away else ""
                return self._stop(
                    seen,
                    f"no traffic to learn from any more: no turn was answered within {seconds_text(lasted)}"
                    f" after {self._step.words}{moved}",
                )
            return self._next_fault(seen)
        return _wait(self._plan.rest_most_s - lasted, self._plan.rest_least_s - lasted)


def _activity(seen: Seen, step: Step | None) -> tuple[int, ...]:
    """Return counts that change whenever a client tries, or gives up."""
    told = None if step is None else seen.reactions.get(step.fault)
    return seen.answered, seen.failed, seen.open, 0 if told is None else told["gave_up"]["count"]


def _wait(*until: float) -> Wait:
    """Return the order to wait until the next look, or the first of these times that is not over."""
    return Wait(max(_SHORTEST_S, min([LOOK_S, *(one for one in until if one > 0)])))
