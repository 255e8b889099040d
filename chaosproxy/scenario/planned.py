"""The things that the steps of a scenario do, and when: repetitions, draws and ramps spelt out. Pure.

Times are whole nanoseconds, so that a step that ends when another begins does so exactly; times in seconds would differ
in their last digits. They count from the end of the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from chaosproxy.declare import Problems
from chaosproxy.errors import Path, shown
from chaosproxy.model.fault import FaultSpec
from chaosproxy.scenario.actions import Action, Change, Cut, FaultOn, HealAll, Hook, Mark, Ramp
from chaosproxy.scenario.steps import Choices, Step
from chaosproxy.seed import Seed

__all__ = ["BEGIN", "CHANGE", "END", "HEAL", "MARK", "Planned", "begins_of", "end_of", "nanoseconds", "planned_by"]

END, HEAL, BEGIN, CHANGE, MARK = range(5)
"""The order of what happens at the same time."""
_SHORTEST = 1_000_000
"""Nanoseconds between two draws, at least."""


@dataclass(frozen=True, slots=True, order=True)
class Planned:
    """One thing that a step does, before it is known what is on then."""

    at: int
    order: int
    index: int
    """Of the step."""
    number: int
    """Of the thing within the step."""
    step: Step = field(compare=False)
    action: Action = field(compare=False)
    name: str = field(compare=False)
    value: tuple[str, FaultSpec] | None = field(compare=False, default=None)
    """Of a ramp: the value as it is written, and the fault with it."""
    begin: int | None = field(compare=False, default=None)
    """Of an end: the number of the begin that it belongs to."""


def nanoseconds(seconds: float) -> int:
    """Return a duration in whole nanoseconds."""
    return round(seconds * 1e9)


def begins_of(steps: Sequence[Step], problems: Problems) -> dict[str, int]:
    """Return when each step begins; note problems if steps wait for each other, or for an end that is not known."""
    by_name = {step.name: step for step in steps}
    begins: dict[str, int] = {}
    left = list(steps)
    while left:
        known = [step for step in left if step.times.after is None or step.times.after in begins]
        if not known:
            for step in left:
                path: Path = ("steps", step.index, "after")
                message = "waits for a step that waits for this one, or for such a step; break the circle"
                problems.add(path, "invalid-together", message)
            break
        for step in known:
            after = step.times.after
            begins[step.name] = nanoseconds(step.times.at)
            if after is not None:
                begins[step.name] += end_of(by_name[after], begins[after])
                _check_end(step, by_name[after], problems)
        left = [step for step in left if step.name not in begins]
    return begins


def _check_end(step: Step, after: Step, problems: Problems) -> None:
    path, name = ("steps", step.index, "after"), shown(after.name)
    if isinstance(after.action, FaultOn | Cut) and after.times.lasts is None:
        message = f"step {name} lasts until the end; add `for` to it, or wait for the step that heals it"
        problems.add(path, "invalid-together", message)
    if isinstance(after.action, Hook):
        message = f"the end of the command of step {name} is not known before; use `at` instead"
        problems.add(path, "not-applicable", message)


def end_of(step: Step, begin: int) -> int:
    """Return when the last occurrence of a step ends; one without an end counts by its begin."""
    times = step.times
    return begin + nanoseconds(times.every or 0.0) * (times.times - 1) + nanoseconds(times.lasts or 0.0)


def planned_by(step: Step, begin: int, length: int, seed: Seed) -> Iterator[Planned]:
    """Yield what a step does, in no order; `length` is the end of the scenario."""
    lasts = None if step.times.lasts is None else nanoseconds(step.times.lasts)
    every, number = nanoseconds(step.times.every or 0.0), 0
    for occurrence in range(step.times.times):
        at = begin + every * occurrence
        if isinstance(step.action, Choices):
            some = _drawn(step, step.action, at, at + (lasts or 0), occurrence, seed)
        else:
            some = _once(step, step.action, step.name, at, length if lasts is None else at + lasts)
        first = number
        for one in some:
            # The end of a thing that is drawn or ramped belongs to the latest begin.
            first = number if one.order == BEGIN else first
            yield replace(one, index=step.index, number=number, begin=first if one.order == END else None)
            number += 1


def _once(step: Step, action: Action, name: str, at: int, end: int) -> Iterator[Planned]:
    order = {HealAll: HEAL, Change: CHANGE, Mark: MARK, Hook: MARK}.get(type(action), BEGIN)
    if isinstance(action, Ramp):
        for number, value in enumerate(action.faults):
            # The last value is reached before the end, so that it acts as long as the others.
            due = at + (end - at) * number // len(action.faults)
            yield Planned(due, CHANGE if number else BEGIN, 0, 0, step, action, name, value)
    else:
        yield Planned(at, order, 0, 0, step, action, name)
    if order == BEGIN:
        yield Planned(end, END, 0, 0, step, action, name)


def _drawn(step: Step, choices: Choices, begin: int, end: int, occurrence: int, seed: Seed) -> Iterator[Planned]:
    # Two streams of dice: another option does not change the times.
    gaps, options = (seed.at("scenario", step.name, occurrence, what) for what in ("gaps", "options"))
    mean, at, drawn = choices.gaps.gap, begin, 0
    while True:
        match choices.gaps.distribution:
            case "exponential":
                gap = gaps.expovariate(1 / mean)
            case "uniform":
                gap = gaps.uniform(0, 2 * mean)
            case _:
                gap = mean
        at += max(nanoseconds(gap), _SHORTEST)
        if at >= end:
            return
        option, drawn = options.choice(choices.options), drawn + 1
        lasts = math.inf if option.lasts is None else nanoseconds(option.lasts)
        yield from _once(step, option.action, f"{step.name}-{occurrence + 1}.{drawn}", at, int(min(at + lasts, end)))
