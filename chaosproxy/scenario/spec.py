"""A scenario as declared: its steps, and what is around them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaosproxy.declare import Duration, Problems, Whole, nearest, param, read_struct
from chaosproxy.errors import Path, shown
from chaosproxy.model.names import LONGEST, NodeName
from chaosproxy.model.settings import VERSION, check_version
from chaosproxy.scenario.actions import Change, Cut, FaultOn, HealAll, Ramp
from chaosproxy.scenario.steps import Choices, Step, read_step

__all__ = ["MOST_STEPS", "Scenario", "read_scenario"]

MOST_STEPS = 1_000
_HEALED = (FaultOn, Cut, Ramp, Choices)
"""The actions that put something on, which a heal takes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A timed list of faults."""

    name: str = param(NodeName(LONGEST, shortest=1), "its name, for reports", example="primary-goes-dark")
    seed: int | None = param(Whole(), "the same seed makes the same decisions", default=None, example="7")
    baseline: float = param(Duration(), "observed before the first step, without a fault", default=5.0, example="5s")
    cooldown: float = param(Duration(), "observed after the last step", default=10.0, example="10s")
    duration: float | None = param(
        Duration(above_zero=True), "the time of all steps; default: until the last has ended", default=None,
        example="60s",
    )  # fmt: skip
    steps: tuple[Step, ...] = ()


def read_scenario(data: object, problems: Problems, also_known: Sequence[str] = ()) -> Scenario | None:
    """Read a scenario from plain data; if it is wrong, note all problems and return None.

    `also_known` are keys that another reads, such as the configuration.
    """
    before = len(problems)
    if not isinstance(data, Mapping):
        message = f"{shown(data)} is not a mapping; use at least version: {VERSION}, name and steps"
        problems.add((), "wrong-type", message)
        return None
    check_version(data, problems)
    steps = _read_steps(data.get("steps"), problems)
    own = ("version", "steps", *also_known)
    rest = {key: value for key, value in data.items() if key not in own}
    scenario = read_struct(Scenario, rest, problems, (), also_known=own, steps=steps)
    return scenario if len(problems) == before else None


def _read_steps(data: object, problems: Problems) -> tuple[Step, ...]:
    example = "[{at: 0s, for: 20s, fault: {proxy: db, type: stall}}]"
    if data is None:
        problems.add(("steps",), "missing", f"is missing; add steps: {example}")
        return ()
    if not isinstance(data, list):
        problems.add(("steps",), "wrong-type", f"{shown(data)} is not a list; use steps, such as {example}")
        return ()
    if len(data) > MOST_STEPS:
        problems.add(("steps",), "too-large", f"has {len(data)} steps; use at most {MOST_STEPS}")
        return ()
    before = len(problems)
    given = {one["name"] for one in data if isinstance(one, Mapping) and isinstance(one.get("name"), str)}
    read = [read_step(one, index, problems, ("steps", index), given) for index, one in enumerate(data)]
    steps = tuple(step for step in read if step is not None)
    if len(problems) == before:
        _check_names(steps, problems)
    return steps


def _check_names(steps: tuple[Step, ...], problems: Problems) -> None:
    """Note names that are given twice, and steps that name one which does not exist or cannot be changed."""
    by_name: dict[str, Step] = {}
    drawing = [step.name for step in steps if isinstance(step.action, Choices)]
    for step in steps:
        if any(re.fullmatch(rf"{re.escape(name)}-\d+\.\d+", step.name) for name in drawing):
            message = f"{shown(step.name)} looks like a name of something that `random` draws; use another"
            problems.add(("steps", step.index, "name"), "name-taken", message)
        if (first := by_name.setdefault(step.name, step)) is not step:
            message = f"{shown(step.name)} is the name of step {first.index + 1} already; use another"
            problems.add(("steps", step.index, "name"), "name-taken", message)
    for step in steps:
        path = ("steps", step.index)
        named = {"after": step.times.after}
        if isinstance(step.action, HealAll):
            named["heal"] = step.action.step
        if isinstance(step.action, Change):
            named["set"] = step.action.step
        for key, name in named.items():
            where: Path = (*path, key, "step") if key == "set" else (*path, key)
            if name is not None and name not in by_name:
                hint = nearest(name, by_name)
                problems.add(where, "not-found", f"no step is called {shown(name)}{hint}; use the name of a step")
            elif key == "heal" and name is not None and not isinstance(by_name[name].action, _HEALED):
                message = f"step {shown(name)} puts nothing on; name another step, or use heal: all"
                problems.add(where, "not-applicable", message)
            elif key == "set" and name is not None and not isinstance(by_name[name].action, FaultOn):
                message = f"step {shown(name)} has no fault that could be changed"
                problems.add(where, "not-applicable", f"{message}; name a step with `fault`")
