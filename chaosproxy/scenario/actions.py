"""The things that a step of a scenario does, each read from the value of its key.

    fault      puts a fault on proxies        crash      resets and refuses
    partition  cuts nodes off                 pause      holds everything
    heal       removes faults                 set        changes the fault of another step
    run        runs a command                 mark       notes a text
    ramp       changes one parameter step by step         random     draws from a list, again and again

An action is a frozen value. Whether the proxies and nodes that it names exist is checked against the configuration,
since a scenario is read before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from chaosproxy.declare import (
    Duration,
    ListOf,
    Number,
    Param,
    Problems,
    Rate,
    Share,
    Size,
    Text,
    Whole,
    nearest,
    param,
    params_of,
    read_struct,
    write_value,
)
from chaosproxy.errors import BadValue, InvalidInput, Path, shown
from chaosproxy.model.fault import FaultSpec, read_fault
from chaosproxy.model.names import LONGEST
from chaosproxy.model.partition import PartitionSpec, read_partition
from chaosproxy.model.placement import Placement
from chaosproxy.model.selection import SELECTORS, Selection, read_selection
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.model.verbs import Verb, verb_fault

__all__ = [
    "ACTIONS", "LASTS", "Action", "ActionName", "Change", "Cut", "FaultOn", "HealAll", "Hook", "Mark", "Ramp",
    "read_action",
]  # fmt: skip

Json: TypeAlias = Mapping[str, Any]  # Any: JSON
ActionName = Literal["fault", "partition", "crash", "pause", "heal", "set", "run", "mark", "ramp"]

MOST_RAMP_STEPS = 200
_LONGEST_TEXT = 1_000
LASTS: Mapping[str, str] = {"crash": "down", "pause": "for"}
"""The key of a crash and of a pause that says how long it lasts."""
_RAMPED = (Duration, Size, Rate, Share, Number, Whole)
"""The kinds of parameters that a ramp can change."""


@dataclass(frozen=True, slots=True)
class FaultOn:
    """A fault on the proxies of a selection, for the step's `for`."""

    on: Selection
    fault: FaultSpec
    data: tuple[tuple[str, object], ...] = ()
    """The fault as it is written, with which changes are merged."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A partition, for the step's `for`."""

    partition: PartitionSpec


@dataclass(frozen=True, slots=True)
class HealAll:
    """Removes what the scenario has put on: everything, or what one step has."""

    step: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Changes parameters of the fault of another step while it is on."""

    step: str
    settings: tuple[tuple[str, object], ...]
    """The parameters as they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Runs a command."""

    command: tuple[str, ...] = param(
        ListOf(Text()), "the command and its arguments", example='["systemctl", "restart", "db"]'
    )
    timeout: float = param(Duration(above_zero=True), "ends the command after this time", default=30.0, example="10s")


@dataclass(frozen=True, slots=True)
class Mark:
    """Notes a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Ramp:
    """A fault of which one parameter goes from one value to another in equal steps, during the step's `for`."""

    on: Selection
    parameter: str
    faults: tuple[tuple[str, FaultSpec], ...]
    """The values of the parameter as they are written, from the first to the last, and the fault with each."""


Action: TypeAlias = FaultOn | Cut | HealAll | Change | Hook | Mark | Ramp


def read_action(kind: ActionName, value: object, name: str, problems: Problems, path: Path) -> Action | None:
    """Read the value of an action's key; if it is wrong, note all problems and return None.

    `name` is that of the step, which its fault or partition gets.
    """
    return ACTIONS[kind](value, name, problems, path)


def _fault(value: object, name: str, problems: Problems, path: Path) -> FaultOn | None:
    found = _targeted(value, problems, path, "{proxy: db, type: latency, delay: 100ms}")
    if found is None:
        return None
    on, data = found
    _refuse_ttl(data, problems, path)
    fault = read_fault(data, name, problems, path, "http")
    return None if on is None or fault is None else FaultOn(on, fault, tuple(data.items()))


def _partition(value: object, name: str, problems: Problems, path: Path) -> Cut | None:
    if isinstance(value, Mapping):
        _refuse_ttl(value, problems, path)
    partition = read_partition(value, name, problems, path)
    if partition is not None and partition.preset == "bad-switch":
        message = "ends at a random time of its own; give the step a `for`, or draw one with `random`"
        problems.add((*path, "preset"), "not-applicable", message)
        return None
    return None if partition is None else Cut(partition)


def _crash(value: object, name: str, problems: Problems, path: Path) -> FaultOn | None:
    return _verb("crash", value, name, problems, path)


def _pause(value: object, name: str, problems: Problems, path: Path) -> FaultOn | None:
    return _verb("pause", value, name, problems, path)


def _verb(verb: Verb, value: object, name: str, problems: Problems, path: Path) -> FaultOn | None:
    """Read a crash or a pause, whose duration is its ttl until the step takes it."""
    lasts = LASTS[verb]
    found = _targeted(value, problems, path, f"{{proxy: api, {lasts}: 5s}}")
    if found is None:
        return None
    on, data = found
    ttl: float | None = None
    for key, given in data.items():
        if key != lasts:
            known = ["proxy", *SELECTORS, lasts]
            message = f"unknown key{nearest(key, known)}; known keys: {', '.join(known)}"
            problems.add((*path, _step(key)), "unknown-key", message, at_key=True)
        elif given is not None:
            try:
                ttl = Duration(above_zero=True).read(given)
            except BadValue as bad:
                problems.add((*path, key), bad.code, str(bad))
    return None if on is None else FaultOn(on, verb_fault(verb, ttl, on.node, name))


def _heal(value: object, name: str, problems: Problems, path: Path) -> HealAll | None:
    if value in (None, "all", {}):
        return HealAll()
    step = _text(value, "step", problems, path)
    return None if step is None else HealAll(step)


def _text(value: object, key: str, problems: Problems, path: Path) -> str | None:
    """Read a text alone, or in a mapping under a key."""
    if isinstance(value, Mapping) and [*value] == [key]:
        value, path = value[key], (*path, key)
    try:
        return Text(_LONGEST_TEXT, shortest=1).read(value)
    except BadValue as bad:
        problems.add(path, bad.code, str(bad))
        return None


def _set(value: object, name: str, problems: Problems, path: Path) -> Change | None:
    if not isinstance(value, Mapping):
        message = f"{shown(value)} is not a mapping; use one, such as {{step: slow, delay: 300ms}}"
        problems.add(path, "wrong-type", message)
        return None
    settings = {key: one for key, one in value.items() if key != "step"}
    if "step" not in value:
        problems.add((*path, "step"), "missing", "is missing; add the name of the step whose fault changes")
    for key in ("type", "ttl"):
        if key in settings:
            message = "cannot be changed; end the step, and let another begin"
            problems.add((*path, key), "immutable", message, at_key=True)
    if not settings:
        problems.add(path, "no-effect", "changes nothing; add a parameter, such as delay: 300ms")
    step = _text(value["step"], "step", problems, (*path, "step")) if "step" in value else None
    return None if step is None else Change(step, tuple(settings.items()))


def _run(value: object, name: str, problems: Problems, path: Path) -> Hook | None:
    data = {"command": value} if isinstance(value, list | str) else value
    if isinstance(data, Mapping) and isinstance(data.get("command"), str):
        data = {**data, "command": ["/bin/sh", "-c", data["command"]]}
    hook = read_struct(Hook, data, problems, path)
    if hook is not None and (not hook.command or not hook.command[0] or "\0" in "".join(hook.command)):
        message = 'is not a command; use a text for the shell, or a list such as ["systemctl", "restart", "db"]'
        problems.add((*path, "command"), "malformed", message)
        return None
    return hook


def _mark(value: object, name: str, problems: Problems, path: Path) -> Mark | None:
    text = _text(value, "text", problems, path)
    return None if text is None else Mark(text)


def _ramp(value: object, name: str, problems: Problems, path: Path) -> Ramp | None:
    example = "{proxy: db, type: latency, delay: {from: 0ms, to: 2s}, steps: 20}"
    found = _targeted(value, problems, path, example)
    if found is None:
        return None
    on, data = found
    _refuse_ttl(data, problems, path)
    given = data.pop("steps", None)
    steps = 20 if given is None else _steps(given, problems, (*path, "steps"))
    ramped = [key for key, one in data.items() if isinstance(one, Mapping) and {*one} == {"from", "to"}]
    if len(ramped) != 1:
        some = f"changes {len(ramped)} parameters" if ramped else "changes no parameter"
        problems.add(path, "missing" if not ramped else "invalid-together", f"{some}; give one, such as {example}")
        return None
    [key] = ramped
    param = _ramped(data.get("type"), key)
    if param is None:
        first = {**data, key: data[key]["from"]}
        if read_fault(first, name, problems, path, "http") is not None:
            message = "cannot go from one value to another; use a duration, a size, a rate, a share or a number"
            problems.add((*path, key), "not-applicable", message)
        return None
    ends = [_end(param, data[key][word], problems, (*path, key, word)) for word in ("from", "to")]
    if steps is None or None in ends:
        return None
    begin, end = (one for one in ends if one is not None)
    if begin == end:
        problems.add((*path, key, "to"), "no-effect", "is the same as `from`; use another value, or `fault`")
        return None
    fault = read_fault({**data, key: write_value(param.kind, begin)}, name, problems, path, "http")
    if fault is None or read_fault({**data, key: write_value(param.kind, end)}, name, problems, path, "http") is None:
        return None
    faults: dict[str, FaultSpec] = {}
    for value in _between(begin, end, steps, isinstance(param.kind, Size | Whole)):
        one = _with(fault, param, value)
        problems.extend(one.settings.check(), path)
        faults[str(write_value(param.kind, value))] = one  # a whole number may stay the same
    return None if on is None else Ramp(on, key, tuple(faults.items()))


def _between(begin: float, end: float, steps: int, is_whole: bool) -> Iterator[float]:
    """Yield the values from one to another in equal steps, both included exactly."""
    yield begin
    for number in range(1, steps):
        value = begin + (end - begin) * number / steps
        yield round(value) if is_whole else float(f"{value:.9g}")
    yield end


def _with(fault: FaultSpec, param: Param, value: float) -> FaultSpec:
    """Return the fault with another value of one parameter."""
    change: dict[str, Any] = {param.attribute: value}  # Any: the types of the fields differ
    if any(one.name == param.name for one in params_of(Placement)):
        return replace(fault, placement=replace(fault.placement, **change))
    settings: Any = fault.settings  # each fault type is a dataclass, which `Fault` does not say
    return replace(fault, settings=replace(settings, **change))


def _steps(value: object, problems: Problems, path: Path) -> int | None:
    try:
        return Whole(1, MOST_RAMP_STEPS).read(value)
    except BadValue as bad:
        problems.add(path, bad.code, str(bad))
        return None


def _ramped(fault_type: object, key: str) -> Param | None:
    """Return the declaration of a parameter that a ramp can change; None if it is none."""
    of = FAULT_TYPES.get(fault_type) if isinstance(fault_type, str) else None
    params = [*params_of(of), *params_of(Placement)] if of is not None else []
    return next((one for one in params if one.name == key and isinstance(one.kind, _RAMPED)), None)


def _end(param: Param, value: object, problems: Problems, path: Path) -> float | None:
    try:
        read = param.kind.read(value)
    except BadValue as bad:
        problems.add(path, bad.code, str(bad))
        return None
    assert isinstance(read, int | float)
    return read


def _targeted(
    value: object, problems: Problems, path: Path, example: str
) -> tuple[Selection | None, dict[str, Any]] | None:
    """Return the selection in a mapping, None if it is wrong, and the other keys; None if it is not a mapping."""
    if not isinstance(value, Mapping):
        problems.add(path, "wrong-type", f"{shown(value)} is not a mapping; use one, such as {example}")
        return None
    rest = {key: one for key, one in value.items() if key not in ("proxy", *SELECTORS)}
    given = {key: value[key] for key in SELECTORS if value.get(key) is not None}
    if value.get("proxy") is not None:
        if given:
            message = f"cannot be combined with {', '.join(given)}; use one of them"
            problems.add((*path, "proxy"), "invalid-together", message, at_key=True)
            return None, rest
        try:
            return Selection((Text(LONGEST, shortest=1).read(value["proxy"]),)), rest
        except BadValue as bad:
            problems.add((*path, "proxy"), bad.code, str(bad))
            return None, rest
    try:
        selection = read_selection(given)
    except InvalidInput as wrong:
        problems.extend(wrong.problems, path)
        return None, rest
    if selection is None:
        message = f"no proxy is named; add one, such as {example}"
        problems.add((*path, "proxy"), "missing", message)
    return selection, rest


def _step(key: object) -> str:
    return key if isinstance(key, str) else shown(key)


def _refuse_ttl(data: Json, problems: Problems, path: Path) -> None:
    if data.get("ttl") is not None:
        message = "is the step's to say; use the step's `for` instead, next to `at`"
        problems.add((*path, "ttl"), "not-applicable", message, at_key=True)


ACTIONS: Mapping[ActionName, Callable[[object, str, Problems, Path], Action | None]] = {
    "fault": _fault, "partition": _partition, "crash": _crash, "pause": _pause, "heal": _heal, "set": _set,
    "run": _run, "mark": _mark, "ramp": _ramp,
}  # fmt: skip
"""The readers, by the key of a step of which one says what it does."""
