"""The timeline of a scenario: a pure function of the scenario and its seed.

    planned   what each step does and when, one by one, repetitions and draws spelt out
    plot      plays these in order, knows what is on, and writes the moments

Times count from the end of the baseline. At one moment, what ends comes before what begins, and a change before a mark.
A heal becomes one moment for each thing that it takes away. So a runner only waits and does, and the windows of all
steps are known before anything has begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

from chaosproxy.declare import Problems
from chaosproxy.errors import shown
from chaosproxy.model.fault import FaultSpec, read_fault
from chaosproxy.model.partition import PartitionSpec
from chaosproxy.model.selection import Selection
from chaosproxy.scenario.actions import Change, Cut, FaultOn, HealAll, Hook, Mark, Ramp
from chaosproxy.scenario.planned import BEGIN, END, Planned, begins_of, end_of, nanoseconds, planned_by
from chaosproxy.scenario.spec import Scenario
from chaosproxy.scenario.steps import Step
from chaosproxy.seed import Seed

__all__ = [
    "MOST_MOMENTS",
    "Deed",
    "Moment",
    "Note",
    "Put",
    "RunHook",
    "Sever",
    "Span",
    "Take",
    "Timeline",
    "timeline_of",
]

MOST_MOMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Put:
    """Puts a fault on, or changes the one of its name if `is_change`."""

    on: Selection
    fault: FaultSpec
    is_change: bool = False
    value: str | None = None
    """Of a ramp: the value of its parameter from now on."""


@dataclass(frozen=True, slots=True)
class Sever:
    """Begins a partition."""

    partition: PartitionSpec


@dataclass(frozen=True, slots=True)
class Take:
    """Takes a fault or a partition away."""

    name: str
    on: Selection | None
    """None for a partition."""


@dataclass(frozen=True, slots=True)
class RunHook:
    """Runs a command."""

    hook: Hook


@dataclass(frozen=True, slots=True)
class Note:
    """Notes a text."""

    text: str


Deed: TypeAlias = Put | Sever | Take | RunHook | Note


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that is done at a time."""

    at: float
    """Seconds after the end of the baseline."""
    step: str
    """The step that does it; one that heals takes away what others have put on."""
    do: Deed


@dataclass(frozen=True, slots=True)
class Span:
    """The time for which something of a step is on."""

    step: str
    name: str
    """Of the fault or partition."""
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The moments of a scenario, in order."""

    moments: tuple[Moment, ...]
    spans: tuple[Span, ...]
    """In the order in which they end."""
    windows: Mapping[str, tuple[float, float]]
    """The begin of each step, and the end of its last occurrence."""
    length: float
    """Seconds from the end of the baseline until the last step has ended."""

    def spans_of(self, step: str) -> list[Span]:
        """Return the times for which a step is on, in order."""
        return [span for span in self.spans if span.step == step]


def timeline_of(scenario: Scenario, seed: Seed, problems: Problems) -> Timeline | None:
    """Return the timeline; if steps contradict each other, note all problems and return None."""
    before = len(problems)
    begins = begins_of(scenario.steps, problems)
    if len(problems) > before:
        return None
    ends = {step.name: end_of(step, begins[step.name]) for step in scenario.steps}
    length = max(ends.values(), default=0) if scenario.duration is None else nanoseconds(scenario.duration)
    planned: list[Planned] = []
    for step in scenario.steps:
        _check_room(step, begins[step.name], ends[step.name], length, problems)
        planned += islice(planned_by(step, begins[step.name], length, seed), MOST_MOMENTS + 1 - len(planned))
        if len(planned) > MOST_MOMENTS:
            message = f"with this step, the scenario has more than {MOST_MOMENTS} moments; use fewer"
            problems.add(("steps", step.index), "too-large", message)
            return None
    if len(problems) > before:
        return None
    plot = _Plot(length, problems)
    for one in sorted(planned):
        plot.play(one)
    plot.end()
    if len(problems) > before:
        return None
    windows = {
        step.name: (begins[step.name] / 1e9, _last_end(step, ends[step.name], length)) for step in scenario.steps
    }
    return Timeline(tuple(plot.moments), tuple(plot.spans), windows, length / 1e9)


def _last_end(step: Step, end: int, length: int) -> float:
    return (length if step.times.lasts is None and isinstance(step.action, FaultOn | Cut) else end) / 1e9


def _check_room(step: Step, begin: int, end: int, length: int, problems: Problems) -> None:
    path = ("steps", step.index)
    if end > length:
        problems.add(
            path, "out-of-range", f"goes on after the end of the scenario at {length / 1e9:g} s; let it end before"
        )
    elif begin >= length and step.times.lasts is None and isinstance(step.action, FaultOn | Cut):
        message = "is missing: the step begins when the scenario ends; add `for`, or a `duration` to the scenario"
        problems.add((*path, "for"), "missing", message)


@dataclass(slots=True)
class _On:
    """A fault or a partition that is on."""

    since: int
    step: Step
    number: int
    """Of the begin."""
    on: Selection | None
    fault: FaultSpec | None
    data: dict[str, object]
    """The fault as it is written, with changes."""


class _Plot:
    """Plays the planned things in order, knows what is on, and writes the moments."""

    def __init__(self, length: int, problems: Problems) -> None:
        self._length, self._problems = length, problems
        self._on: dict[str, _On] = {}
        """By the names of steps and of what they draw."""
        self._by_step: dict[str, dict[str, None]] = {}
        self._wrong: set[int] = set()
        """The steps whose problem is noted."""
        self.moments: list[Moment] = []
        self.spans: list[Span] = []

    def play(self, one: Planned) -> None:
        """Play the next thing."""
        if one.order == END:
            if one.name in self._on and self._on[one.name].number == one.begin:
                self._take(one.name, one.at, one.step)
            return
        match one.action:
            case FaultOn(on, fault, data):
                named = fault if fault.name != one.step.name else replace(fault, name=one.name)
                self._put_on(one, on, named, dict(data))
                self._add(one, Put(on, named))
            case Ramp(on, _, _):
                assert one.value is not None
                value, fault = one.value
                if one.order == BEGIN:
                    self._put_on(one, on, fault, {})
                if one.name in self._on:
                    self._add(one, Put(on, replace(fault, name=one.name), one.order != BEGIN, value))
            case Cut(partition):
                self._put_on(one, None, None, {})
                self._add(one, Sever(replace(partition, id=one.name)))
            case HealAll(step):
                self._heal(one, step)
            case Change() as change:
                self._change(one, change)
            case Hook() as hook:
                self._add(one, RunHook(hook))
            case Mark(text):
                self._add(one, Note(text))

    def end(self) -> None:
        """End what is still on."""
        for name in list(self._on):
            self._take(name, self._length, self._on[name].step)

    def _put_on(self, one: Planned, on: Selection | None, fault: FaultSpec | None, data: dict[str, object]) -> None:
        self._on[one.name] = _On(one.at, one.step, one.number, on, fault, data)
        self._by_step.setdefault(one.step.name, {})[one.name] = None

    def _take(self, name: str, at: int, by: Step) -> None:
        gone = self._on.pop(name)
        del self._by_step[gone.step.name][name]
        fault = name if gone.fault is None else gone.fault.name
        self.moments.append(Moment(at / 1e9, by.name, Take(fault, gone.on)))
        self.spans.append(Span(gone.step.name, fault, gone.since / 1e9, at / 1e9))

    def _heal(self, one: Planned, step: str | None) -> None:
        names = list(self._on if step is None else self._by_step.get(step, ()))
        if step is not None and not names:
            message = f"step {shown(step)} is not on at {one.at / 1e9:g} s; heal it while it is"
            self._note(one, ("heal",), message)
        for name in names:
            self._take(name, one.at, one.step)

    def _change(self, one: Planned, change: Change) -> None:
        present = self._on.get(change.step)
        if present is None or present.fault is None or present.on is None:
            message = f"step {shown(change.step)} is not on at {one.at / 1e9:g} s; change it while it is"
            self._note(one, ("set", "step"), message)
            return
        data = {**present.data, **dict(change.settings)}
        path = ("steps", one.step.index, "set")
        problems = self._problems if one.step.index not in self._wrong else Problems()
        changed = read_fault(data, present.fault.name, problems, path, "http")
        if changed is None:
            self._wrong.add(one.step.index)
            return
        present.fault, present.data = changed, data
        self._add(one, Put(present.on, changed, is_change=True))

    def _note(self, one: Planned, path: tuple[str, ...], message: str) -> None:
        """Note a problem once per step."""
        if one.step.index not in self._wrong:
            self._wrong.add(one.step.index)
            self._problems.add(("steps", one.step.index, *path), "invalid-together", message)

    def _add(self, one: Planned, deed: Deed) -> None:
        self.moments.append(Moment(one.at / 1e9, one.step.name, deed))
