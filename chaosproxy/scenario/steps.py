"""A step of a scenario: when it happens, and its action.

A step has exactly one key of an action, and some keys that say when. A crash and a pause may say how long they last in
their own words (`down`, `for`), which is the step's `for` from then on. A step without a name gets that of its action,
or of the type of its fault, with its number in the list: reports name it so. `random` has a list of actions, each with
a `for` of its own, of which one is drawn again and again.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from chaosproxy.declare import Choice, Duration, Problems, Whole, param, read_struct
from chaosproxy.errors import Code, Path, shown
from chaosproxy.model.names import read_name
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.scenario.actions import ACTIONS, LASTS, Action, ActionName, Cut, FaultOn, Ramp, read_action

__all__ = ["MOST_TIMES", "Choices", "Option", "Step", "Times", "read_step"]

MOST_TIMES = 10_000
MOST_OPTIONS = 100
LONGEST_DRAWN = 180
"""The most characters in the name of a step that draws: what it draws is named after it."""
LEAST_GAP = 0.01
"""Seconds between two draws, at least on average."""
_DRAWN: tuple[ActionName, ...] = ("fault", "partition", "crash", "pause", "run", "mark")
"""The actions that can be drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a step happens, and for how long."""

    at: float = param(
        Duration(), "begins at this time after the end of the baseline, or of the step in `after`", default=0.0,
        example="30s",
    )  # fmt: skip
    lasts: float | None = param(
        Duration(above_zero=True), "ends after this time; default: with the scenario", default=None, name="for",
        example="20s",
    )  # fmt: skip
    every: float | None = param(Duration(above_zero=True), "begins again after this time", default=None, example="10s")
    times: int = param(Whole(1, MOST_TIMES), "the number of times that it begins", default=1, example="3")
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One of the actions that are drawn, and the seconds for which it stays."""

    action: Action
    lasts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The gaps between two draws."""

    gap: float = param(Duration(above_zero=True), "mean time between two draws", example="5s")
    distribution: str = param(
        Choice("exponential", "uniform", "constant"), "of the gaps", default="exponential", example="uniform"
    )


@dataclass(frozen=True, slots=True)
class Choices:
    """Draws one of several actions again and again while the step lasts."""

    options: tuple[Option, ...]
    gaps: Gaps


@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    name: str
    index: int
    """Its place in the list, from 0."""
    times: Times
    action: Action | Choices


def read_step(data: object, index: int, problems: Problems, path: Path, taken: Container[str] = ()) -> Step | None:
    """Read a step from plain data; if it is wrong, note all problems and return None.

    `taken` has the names that others are given, which a step without a name does not get.
    """
    before = len(problems)
    keys = (*ACTIONS, "random")
    if not isinstance(data, Mapping):
        example = "{at: 0s, for: 20s, fault: {proxy: db, type: stall}}"
        problems.add(path, "wrong-type", f"{shown(data)} is not a mapping; use one, such as {example}")
        return None
    given = [key for key in keys if key in data]
    if len(given) != 1:
        none, several = f"does nothing; add one of {', '.join(keys)}", f"has {' and '.join(given)}; use a step for each"
        problems.add(path, "invalid-together" if given else "missing", several if given else none)
    name = _name(data, given, index, problems, path, taken)
    times = read_struct(
        Times, {key: value for key, value in data.items() if key not in (*keys, "name", "after")}, problems, path,
        also_known=("name", "after", *keys), after=_after(data, problems, path),
    )  # fmt: skip
    if len(given) != 1:
        return None
    [key] = given
    action: Action | Choices | None
    if key == "random":
        action = _choices(data[key], name, problems, (*path, key))
    else:
        action = read_action(cast("ActionName", key), data[key], name, problems, (*path, key))
    if times is None or action is None:
        return None
    own_duration = key in LASTS and isinstance(action, FaultOn) and action.fault.placement.ttl is not None
    action, times = _with_duration(key, action, times, problems, path)
    for word, code, message in _mistakes(action, times):
        problems.add((*path, key, LASTS[key]) if word == "for" and own_duration else (*path, word), code, message)
    return Step(name, index, times, action) if len(problems) == before else None


def _name(
    data: Mapping[str, Any], given: list[str], index: int, problems: Problems, path: Path, taken: Container[str]
) -> str:
    """Return the step's name; without one, that of its action, or of its fault's type, with its number."""
    kind = given[0] if given else "step"
    value = data.get(kind)
    if kind in ("fault", "ramp") and isinstance(value, Mapping) and value.get("type") in FAULT_TYPES:
        kind = value["type"]
    name = f"{kind}-{index + 1}"
    if (wanted := data.get("name")) is not None:
        before = len(problems)
        read_name(wanted, problems, (*path, "name"))
        if len(problems) > before:
            return name  # so that its fault is read, and no name is complained of twice
        if "random" in given and len(wanted) > LONGEST_DRAWN:
            message = f"is too long for `random`, which adds numbers; use at most {LONGEST_DRAWN} characters"
            problems.add((*path, "name"), "too-large", message)
        return str(wanted)
    while name in taken:
        name += "'"
    return name


def _after(data: Mapping[str, Any], problems: Problems, path: Path) -> str | None:
    after = data.get("after")
    if after is None or isinstance(after, str):
        return after
    problems.add((*path, "after"), "wrong-type", f"{shown(after)} is not text; use the name of another step")
    return None


def _choices(value: object, name: str, problems: Problems, path: Path) -> Choices | None:
    if not isinstance(value, Mapping):
        example = "{gap: 5s, of: [{for: 2s, pause: {proxy: api}}]}"
        problems.add(path, "wrong-type", f"{shown(value)} is not a mapping; use one, such as {example}")
        return None
    gaps = read_struct(
        Gaps, {key: one for key, one in value.items() if key != "of"}, problems, path, also_known=("of",)
    )
    if gaps is not None and gaps.gap < LEAST_GAP:
        problems.add((*path, "gap"), "out-of-range", f"is below {LEAST_GAP * 1000:g} ms; use a longer one")
    options = value.get("of")
    if not isinstance(options, list) or not options:
        code: Code = "missing" if options is None else "wrong-type"
        problems.add((*path, "of"), code, "needs a list of actions, such as [{for: 2s, pause: {proxy: api}}]")
        return None
    if len(options) > MOST_OPTIONS:
        problems.add((*path, "of"), "too-large", f"has {len(options)} actions; use at most {MOST_OPTIONS}")
        return None
    found = [_option(one, name, problems, (*path, "of", at)) for at, one in enumerate(options)]
    read = tuple(one for one in found if one is not None)
    return None if gaps is None or len(read) < len(found) else Choices(read, gaps)


def _option(data: object, name: str, problems: Problems, path: Path) -> Option | None:
    if not isinstance(data, Mapping) or not any(key in _DRAWN for key in data):
        example = "{for: 2s, pause: {proxy: api}}"
        message = f"is not an action; use `for` and one of {', '.join(_DRAWN)}, such as {example}"
        problems.add(path, "wrong-type" if not isinstance(data, Mapping) else "missing", message)
        return None
    for key in data:
        if key not in (*_DRAWN, "for"):
            message = f"cannot be drawn; use `for` and one of {', '.join(_DRAWN)}"
            where = key if isinstance(key, str) else shown(key)
            problems.add((*path, where), "not-applicable", message, at_key=True)
            return None
    step = read_step({**data, "name": name}, 0, problems, path)
    return None if step is None or isinstance(step.action, Choices) else Option(step.action, step.times.lasts)


def _with_duration(
    key: str, action: Action | Choices, times: Times, problems: Problems, path: Path
) -> tuple[Action | Choices, Times]:
    """Return a crash or a pause whose duration is the step's, as that of a fault is."""
    if key not in LASTS or not isinstance(action, FaultOn) or action.fault.placement.ttl is None:
        return action, times
    lasts = action.fault.placement.ttl
    if times.lasts is not None:
        problems.add(
            (*path, key, LASTS[key]), "invalid-together", "is given next to the step's `for`; use one of the two"
        )
    fault = replace(action.fault, placement=replace(action.fault.placement, ttl=None))
    return replace(action, fault=fault), replace(times, lasts=lasts)


def _mistakes(action: Action | Choices, times: Times) -> Iterator[tuple[str, Code, str]]:
    """Yield the key, the code and the message of each contradiction."""
    if times.lasts is not None and not isinstance(action, FaultOn | Cut | Ramp | Choices):
        yield "for", "not-applicable", "has no meaning for an action of a moment; remove it"
    if times.lasts is None and isinstance(action, Ramp | Choices):
        yield "for", "missing", "is missing; add how long it goes on, such as for: 60s"
    if times.times > 1 and times.every is None:
        yield "every", "missing", "is missing; add the time from one begin to the next, such as every: 10s"
    if times.every is not None and times.times == 1:
        yield "times", "missing", "is missing or 1; add how often it happens, such as times: 3"
    if times.every is not None and times.lasts is not None and times.lasts > times.every:
        yield "for", "invalid-together", "is longer than `every`, so that the step would overlap itself"
    if times.every is not None and times.lasts is None and isinstance(action, FaultOn | Cut):
        yield "for", "missing", "is missing; a step that happens again must end before, such as for: 5s"
