"""Checks of a scenario against the proxies of its configuration: names, protocols, effects and overlaps. Pure.

A scenario is read before its configuration, so that the mistakes of both are told at once. These checks come after
that, and need the timeline as well: two steps contradict each other only if they overlap on a proxy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaosproxy.declare import Problems
from chaosproxy.errors import InvalidInput, NotFound, Path, shown
from chaosproxy.model.fault import FaultSpec, check_protocol
from chaosproxy.model.partition import PartitionSpec, check_effect, check_nodes, cut_by, nodes_of
from chaosproxy.model.proxy import MOST_FAULTS, ProxySpec
from chaosproxy.model.selection import Selection, selected_names
from chaosproxy.scenario.actions import Action, Cut, FaultOn, Ramp
from chaosproxy.scenario.spec import Scenario
from chaosproxy.scenario.steps import Choices, Step
from chaosproxy.scenario.timeline import Put, Take, Timeline
from chaosproxy.seed import Seed

__all__ = ["check_scenario"]

_STOPS = ("refuse", "unreachable", "pause")
"""The types of faults under which a proxy carries nothing, so that two of them at once show only one."""


def check_scenario(
    scenario: Scenario, timeline: Timeline, proxies: Sequence[ProxySpec], seed: Seed, problems: Problems
) -> None:
    """Note the problems of a scenario with these proxies; `seed` is that of drawn topologies."""
    before = len(problems)
    for step in scenario.steps:
        for path, action in _actions(step):
            if isinstance(action, FaultOn):
                key = "fault" if action.data else "pause" if action.fault.type == "pause" else "crash"
                _check_fault(action.on, action.fault, proxies, problems, path, key)
            elif isinstance(action, Ramp):
                _check_fault(action.on, action.faults[0][1], proxies, problems, path, "ramp")
            elif isinstance(action, Cut):
                _check_partition(action.partition, proxies, seed, problems, path)
    if len(problems) == before:
        _check_overlaps(scenario, timeline, proxies, problems)


def _actions(step: Step) -> Iterator[tuple[Path, Action]]:
    """Yield each action of a step with its path."""
    path: Path = ("steps", step.index)
    if isinstance(step.action, Choices):
        for number, option in enumerate(step.action.options):
            yield (*path, "random", "of", number), option.action
    else:
        yield path, step.action


def _check_fault(
    on: Selection, fault: FaultSpec, proxies: Sequence[ProxySpec], problems: Problems, path: Path, key: str
) -> None:
    try:
        names = selected_names(on, proxies)
    except NotFound as error:
        problems.add(path, "not-found", str(error))
        return
    for proxy in proxies:
        if proxy.name not in names:
            continue
        for problem in check_protocol(fault, proxy.protocol):
            problems.add((*path, key, *problem.path), problem.code, f"on proxy {shown(proxy.name)}: {problem.message}")
        if proxy.fault(fault.name) is not None:
            message = (
                f"the proxy {shown(proxy.name)} has a fault {shown(fault.name)} of its own; name the step otherwise"
            )
            problems.add((*path, "name"), "name-taken", message)


def _check_partition(
    partition: PartitionSpec, proxies: Sequence[ProxySpec], seed: Seed, problems: Problems, path: Path
) -> None:
    nodes = nodes_of(proxies)
    wrong = check_nodes(partition, nodes)
    if not wrong:
        try:
            wrong = check_effect(partition, cut_by(partition, nodes, seed), proxies)
        except InvalidInput as error:
            wrong = list(error.problems)
    problems.extend(wrong, (*path, "partition"))


def _check_overlaps(scenario: Scenario, timeline: Timeline, proxies: Sequence[ProxySpec], problems: Problems) -> None:
    """Note steps that stop a proxy which is stopped already, and those with which it has too many faults."""
    by_name = {step.name: step for step in scenario.steps}
    specs = {proxy.name: proxy for proxy in proxies}
    selected: dict[Selection, frozenset[str]] = {}
    on: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in specs}
    """By proxy and fault: the step, and the type."""
    noted: set[str] = set()
    for moment in timeline.moments:
        match moment.do:
            case Put(selection, fault, False):
                names = selected.setdefault(selection, selected_names(selection, proxies))
                for name in names:
                    if moment.step not in noted and (message := _contradiction(name, fault, on[name], specs[name])):
                        noted.add(moment.step)
                        problems.add(("steps", by_name[moment.step].index), "invalid-together", message)
                    on[name][fault.name] = moment.step, fault.type
            case Take(fault_name, selection) if selection is not None:
                for name in selected[selection]:
                    on[name].pop(fault_name, None)


def _contradiction(name: str, fault: FaultSpec, on: dict[str, tuple[str, str]], spec: ProxySpec) -> str:
    """Return why a fault contradicts those that are on a proxy; empty if it does not."""
    if fault.name in on:
        return (
            f"puts the fault {shown(fault.name)} on proxy {shown(name)}, where step {shown(on[fault.name][0])} has it"
        )
    if len(on) + len(spec.faults) >= MOST_FAULTS:
        return f"makes more than {MOST_FAULTS} faults on proxy {shown(name)} at a time; let some end before"
    if fault.type in _STOPS:
        for step, kind in on.values():
            if kind in _STOPS:
                return f"overlaps step {shown(step)}, under which proxy {shown(name)} carries nothing already"
    return ""
