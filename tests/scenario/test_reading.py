"""Scenarios that are read, and the errors of those that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from chaosproxy.declare import Problems, params_of
from chaosproxy.model.selection import Selection
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.scenario import Scenario, read_scenario
from chaosproxy.scenario.actions import Change, Cut, FaultOn, HealAll, Hook, Mark, Ramp
from chaosproxy.scenario.steps import Choices

Json = dict[str, Any]  # Any: JSON

STEPS = """
- {at: 0s,  for: 20s, partition: {from: app, to: db-primary, one_way: true}}
- {at: 30s, for: 10s, fault: {proxy: db-replica, type: latency, delay: 300ms, jitter: 100ms}}
- {at: 45s, crash: {proxy: api, down: 5s}}
- {at: 50s, pause: {proxy: api, for: 2s}}
- {at: 52s, heal: all}
- {name: slow, for: 9s, every: 10s, times: 3, after: partition-1, fault: {service: db, type: stall}}
- {at: 1s, after: partition-1, set: {step: slow, direction: both}}
- {at: 3s, run: {command: [systemctl, restart, db], timeout: 5s}}
- {at: 4s, mark: the deploy begins}
- {at: 60s, for: 20s, ramp: {node: api, type: latency, delay: {from: 0ms, to: 2s}, steps: 4}}
- {at: 80s, for: 60s, random: {gap: 5s, of: [{for: 2s, pause: {node: api}}, {mark: nothing}]}}
"""


def read(steps: object, **more: object) -> Scenario:
    problems = Problems()
    scenario = read_scenario({"version": 1, "name": "test", "steps": steps, **more}, problems)
    assert scenario is not None, [str(one) for one in problems]
    return scenario


def wrong(data: object) -> dict[str, str]:
    problems = Problems()
    assert read_scenario(data, problems) is None
    return {one.field: one.code for one in problems}


def step_wrong(step: object, *others: object) -> dict[str, str]:
    """The codes of what is wrong with a step, by the path in it."""
    found = wrong({"version": 1, "name": "test", "steps": [step, *others]})
    return {path.removeprefix("steps.0").removeprefix("."): code for path, code in found.items()}


def test_each_action_is_read() -> None:
    steps = read(yaml.safe_load(STEPS)).steps
    assert [type(step.action) for step in steps] == [
        Cut, FaultOn, FaultOn, FaultOn, HealAll, FaultOn, Change, Hook, Mark, Ramp, Choices,
    ]  # fmt: skip
    assert [step.name for step in steps] == [
        "partition-1", "latency-2", "crash-3", "pause-4", "heal-5", "slow", "set-7", "run-8", "mark-9", "latency-10",
        "random-11",
    ]  # fmt: skip
    crash, pause, slow = (step for step in steps if step.name in ("crash-3", "pause-4", "slow"))
    assert isinstance(crash.action, FaultOn) and isinstance(slow.action, FaultOn)
    assert (crash.times.lasts, pause.times.lasts, slow.times.lasts) == (5.0, 2.0, 9.0)
    assert crash.action.fault.type == "refuse" and crash.action.fault.placement.ttl is None
    assert slow.action.on == Selection(service="db") and slow.action.fault.name == "slow"


def test_a_ramp_has_each_value_from_the_first_to_the_last() -> None:
    [step] = read([{"for": "5s", "ramp": {
        "proxy": "db", "type": "bandwidth", "rate": {"from": "10MB/s", "to": "2MB/s"}, "steps": 4,
    }}]).steps  # fmt: skip
    assert isinstance(step.action, Ramp) and step.action.parameter == "rate"
    rates = [(value, getattr(fault.settings, "rate")) for value, fault in step.action.faults]  # noqa: B009
    assert rates == [("10MB/s", 10e6), ("8MB/s", 8e6), ("6MB/s", 6e6), ("4MB/s", 4e6), ("2MB/s", 2e6)]


@pytest.mark.parametrize(
    ("fault", "values"),
    [
        ({"type": "latency", "delay": {"from": "0ms", "to": "100ms"}, "steps": 3},
         ["0s", "33.3333333ms", "66.6666667ms", "100ms"]),
        ({"type": "latency", "delay": "1s", "probability": {"from": 0, "to": 1}, "steps": 2}, ["0.0", "0.5", "1.0"]),
        ({"type": "limit_data", "size": {"from": "1B", "to": "3B"}, "steps": 4}, ["1B", "2B", "3B"]),
    ],
)  # fmt: skip
def test_a_ramp_has_exactly_its_ends(fault: Json, values: list[str]) -> None:
    [step] = read([{"for": "5s", "ramp": {"proxy": "db", **fault}}]).steps
    assert isinstance(step.action, Ramp) and [value for value, _ in step.action.faults] == values


def test_a_step_without_a_name_gets_one_that_no_other_has() -> None:
    assert [step.name for step in read([{"name": "mark-2", "mark": "a"}, {"mark": "b"}]).steps] == ["mark-2", "mark-2'"]


def test_a_crash_of_a_node_has_the_name_by_which_it_is_shown() -> None:
    [step] = read([{"crash": {"node": "db", "down": "1s"}}]).steps
    assert isinstance(step.action, FaultOn) and step.action.fault.name == "crash:db"


def test_a_command_is_a_list_or_a_text_for_the_shell() -> None:
    steps = read([{"run": ["ls", "-l"]}, {"run": "ls | wc"}, {"run": {"command": "ls", "timeout": "1s"}}]).steps
    commands = [step.action.command for step in steps if isinstance(step.action, Hook)]
    assert commands == [("ls", "-l"), ("/bin/sh", "-c", "ls | wc"), ("/bin/sh", "-c", "ls")]


def test_no_parameter_of_a_fault_has_a_word_of_the_scenario() -> None:
    words = {"step", "steps", "proxy", "proxies", "service", "node"}
    assert not words & {param.name for of in FAULT_TYPES.values() for param in params_of(of)}


def test_keys_that_another_reads_are_known() -> None:
    problems = Problems()
    assert read_scenario({"version": 1, "name": "a", "steps": [], "expect": []}, problems, ["expect"]) is not None
    assert read_scenario({"version": 1, "name": "a", "steps": [], "expct": []}, problems, ["expect"]) is None
    assert "did you mean 'expect'?" in str(next(iter(problems)))


def test_a_scenario_has_a_baseline_and_a_cooldown() -> None:
    scenario = read([], seed=7)
    assert (scenario.name, scenario.seed, scenario.baseline, scenario.cooldown) == ("test", 7, 5.0, 10.0)


@pytest.mark.parametrize(
    ("step", "problems"),
    [
        ("stall", {"": "wrong-type"}),
        ({"at": "0s"}, {"": "missing"}),
        ({"heal": "all", "mark": "now"}, {"": "invalid-together"}),
        ({"at": "0s", "fualt": {}}, {"": "missing", "fualt": "unknown-key"}),
        ({"at": 5, "mark": "now"}, {"at": "unit-missing"}),
        ({"mark": ""}, {"mark": "empty"}),
        ({"mark": "now", "for": "5s"}, {"for": "not-applicable"}),
        ({"fault": {"type": "stall"}}, {"fault.proxy": "missing"}),
        ({"fault": {"proxy": "db", "service": "db", "type": "stall"}}, {"fault.proxy": "invalid-together"}),
        ({"fault": {"proxy": "db", "type": "stal"}}, {"fault.type": "unknown-fault-type"}),
        ({"fault": {"proxy": "db", "type": "latency"}}, {"fault.delay": "missing"}),
        ({"fault": {"proxy": "db", "type": "stall", "ttl": "5s"}}, {"fault.ttl": "not-applicable"}),
        ({"fault": {"proxy": ["db"], "type": "stall"}}, {"fault.proxy": "wrong-type"}),
        ({"partition": {"from": "app"}}, {"partition.to": "missing"}),
        ({"partition": {"from": "app", "to": "db", "ttl": "1s"}}, {"partition.ttl": "not-applicable"}),
        ({"crash": {"proxy": "api", "for": "5s"}}, {"crash.for": "unknown-key"}),
        ({"crash": {"proxy": "api", "down": "5"}}, {"crash.down": "unit-missing"}),
        ({"for": "1s", "pause": {"proxy": "api", "for": "5s"}}, {"pause.for": "invalid-together"}),
        ({"set": {"delay": "1s"}}, {"set.step": "missing"}),
        ({"set": {"step": "mark-2"}}, {"set": "no-effect"}),
        ({"set": {"step": "mark-2", "type": "stall"}}, {"set.type": "immutable"}),
        ({"set": {"step": "mark-2", "delay": "1s"}}, {"set.step": "not-applicable"}),
        ({"set": {"step": "mork-2", "delay": "1s"}}, {"set.step": "not-found"}),
        ({"heal": "mark-3"}, {"heal": "not-found"}),
        ({"name": "partition:x", "mark": "now"}, {"name": "invalid-name"}),
        ({"name": "partition:x", "fault": {"proxy": "a", "type": "stall"}}, {"name": "invalid-name"}),
        ({"name": "x" * 190, "for": "1s", "random": {"gap": "1s", "of": [{"mark": "a"}]}}, {"name": "too-large"}),
        ({"heal": "mark-2"}, {"heal": "not-applicable"}),
        ({"partition": {"from": "a", "to": "b", "preset": "bad-switch"}}, {"partition.preset": "not-applicable"}),
        ({"mark": {"text": {"text": "now"}}}, {"mark.text": "wrong-type"}),
        ({"crash": {"proxy": "api", None: 1}}, {"crash.null": "unknown-key"}),
        ({"after": "later", "mark": "now"}, {"after": "not-found"}),
        ({"after": 3, "mark": "now"}, {"after": "wrong-type"}),
        ({"run": []}, {"run.command": "malformed"}),
        ({"run": ["a\0b"]}, {"run.command": "malformed"}),
        ({"every": "1s", "times": 2, "crash": {"proxy": "a", "down": "2s"}}, {"crash.down": "invalid-together"}),
        ({"for": "1s", "ramp": {"proxy": "a", "type": "latency", "delay": {"from": "1s", "to": "1s"}}},
         {"ramp.delay.to": "no-effect"}),
        ({"for": "1s", "random": {"gap": "1ms", "of": [{"mark": "now"}]}}, {"random.gap": "out-of-range"}),
        ({"every": "1s", "mark": "now"}, {"times": "missing"}),
        ({"times": 2, "mark": "now"}, {"every": "missing"}),
        ({"every": "1s", "times": 2, "for": "2s", "pause": {"proxy": "a"}}, {"for": "invalid-together"}),
        ({"every": "1s", "times": 2, "pause": {"proxy": "a"}}, {"for": "missing"}),
        ({"ramp": {"proxy": "a", "type": "latency", "delay": {"from": "0s", "to": "1s"}}}, {"for": "missing"}),
        ({"for": "1s", "ramp": {"proxy": "a", "type": "latency", "delay": "1s"}}, {"ramp": "missing"}),
        ({"for": "1s", "ramp": {"proxy": "a", "type": "latency", "delay": {"from": "0s", "to": 1}}},
         {"ramp.delay.to": "unit-missing"}),
        ({"for": "1s", "ramp": {"proxy": "a", "type": "packet_loss", "rate": "1%", "mode": {"from": "a", "to": "b"}}},
         {"ramp.mode": "unknown-value"}),
        ({"random": {"gap": "1s", "of": [{"mark": "now"}]}}, {"for": "missing"}),
        ({"for": "1s", "random": {"gap": "1s"}}, {"random.of": "missing"}),
        ({"for": "1s", "random": {"of": [{"mark": "now"}]}}, {"random.gap": "missing"}),
        ({"for": "1s", "random": {"gap": "1s", "of": [{"heal": "all"}]}}, {"random.of.0": "missing"}),
        ({"for": "1s", "random": {"gap": "1s", "of": [{"mark": "x", "at": "1s"}]}},
         {"random.of.0.at": "not-applicable"}),
        ({"for": "1s", "random": {"gap": "1s", "of": [{"pause": {}}]}}, {"random.of.0.pause.proxy": "missing"}),
    ],
)  # fmt: skip
def test_a_step_that_is_wrong_names_the_field(step: object, problems: dict[str, str]) -> None:
    assert step_wrong(step, {"mark": "another"}) == problems


def test_names_that_are_taken() -> None:
    soak = {"name": "soak", "for": "1s", "random": {"gap": "1s", "of": [{"mark": "a"}]}}
    steps = [{"name": "a", "mark": "x"}, {"name": "a", "mark": "y"}, soak, {"name": "soak-1.1", "mark": "z"}]
    found = wrong({"version": 1, "name": "test", "steps": steps})
    assert found == {"steps.1.name": "name-taken", "steps.3.name": "name-taken"}


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        ([], {"": "wrong-type"}),
        ({}, {"version": "missing", "steps": "missing", "name": "missing"}),
        ({"version": 2, "name": "a", "steps": []}, {"version": "unsupported-version"}),
        ({"version": 1, "name": "a", "steps": {}}, {"steps": "wrong-type"}),
        ({"version": 1, "name": "a", "steps": [], "basline": "1s"}, {"basline": "unknown-key"}),
        ({"version": 1, "name": "a", "steps": [{"mark": "now"}] * 1001}, {"steps": "too-large"}),
    ],
)  # fmt: skip
def test_a_scenario_that_is_wrong_names_the_field(data: object, problems: dict[str, str]) -> None:
    assert wrong(data) == problems


def test_the_nearest_name_is_suggested() -> None:
    problems = Problems()
    steps = [
        {"name": "slow", "fault": {"proxy": "db", "type": "stall"}},
        {"set": {"step": "slwo", "direction": "both"}},
    ]
    assert read_scenario({"version": 1, "name": "test", "steps": steps}, problems) is None
    [problem] = problems
    assert str(problem) == ("steps.1.set.step: no step is called 'slwo' (did you mean 'slow'?); use the name of a step")
