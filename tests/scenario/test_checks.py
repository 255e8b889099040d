"""A scenario that does not fit its proxies."""

from __future__ import annotations

from typing import Any

import pytest

from chaosproxy.declare import Problems
from chaosproxy.model import read_config
from chaosproxy.scenario import read_scenario, timeline_of
from chaosproxy.scenario.checks import check_scenario
from chaosproxy.seed import Seed

Json = dict[str, Any]  # Any: JSON

CONFIG = {
    "version": 1,
    "proxies": {
        "db": {"listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "from": "app", "to": "db", "service": "data",
               "faults": {"far": {"type": "latency", "delay": "1ms"}}},
        "web": {"listen": "127.0.0.1:3", "upstream": "127.0.0.1:4", "protocol": "http", "from": "app", "to": "web"},
    },
}  # fmt: skip
STALL = {"proxy": "db", "type": "stall"}


def checked(*steps: Json) -> dict[str, str]:
    problems = Problems()
    config = read_config(CONFIG, problems)
    scenario = read_scenario({"version": 1, "name": "test", "steps": list(steps)}, problems)
    assert config is not None and scenario is not None, [str(one) for one in problems]
    timeline = timeline_of(scenario, Seed(1), problems)
    assert timeline is not None, [str(one) for one in problems]
    check_scenario(scenario, timeline, config.proxies, Seed(1), problems)
    return {one.field: one.code for one in problems}


def test_a_scenario_that_fits() -> None:
    assert checked(
        {"for": "1s", "fault": STALL}, {"at": "1s", "crash": {"node": "app", "down": "1s"}},
        {"at": "2s", "for": "1s", "fault": {"proxies": "*", "type": "latency", "delay": "1s"}},
        {"at": "2s", "for": "1s", "fault": {"proxy": "web", "type": "http_abort", "status": 503}},
        {"at": "3s", "for": "1s", "partition": {"from": "app", "to": "db"}},
        {"at": "4s", "for": "1s", "pause": {"service": "data"}}, {"at": "4s", "for": "1s", "fault": STALL},
    ) == {}  # fmt: skip


@pytest.mark.parametrize(
    ("step", "problems"),
    [
        ({"for": "1s", "fault": {**STALL, "proxy": "dp"}}, {"steps.0": "not-found"}),
        ({"for": "1s", "fault": {"proxies": "x-*", "type": "stall"}}, {"steps.0": "not-found"}),
        ({"for": "1s", "pause": {"service": "date"}}, {"steps.0": "not-found"}),
        ({"for": "1s", "crash": {"node": "dba"}}, {"steps.0": "not-found"}),
        ({"for": "1s", "fault": {"proxies": "*", "type": "http_abort", "status": 503}},
         {"steps.0.fault.type": "not-applicable"}),
        ({"for": "1s", "ramp": {"proxy": "db", "type": "http_delay", "delay": {"from": "0s", "to": "1s"}}},
         {"steps.0.ramp.type": "not-applicable"}),
        ({"name": "far", "for": "1s", "fault": STALL}, {"steps.0.name": "name-taken"}),
        ({"for": "1s", "partition": {"from": "app", "to": "dp"}}, {"steps.0.partition.to": "unknown-node"}),
        ({"for": "1s", "partition": {"from": "db", "to": "web"}}, {"steps.0.partition": "no-effect"}),
        ({"for": "9s", "random": {"gap": "1s", "of": [{"mark": "a"}, {"pause": {"proxy": "dp"}}]}},
         {"steps.0.random.of.1": "not-found"}),
        ({"for": "500s", "random": {"gap": "1s", "of": [{"fault": {**STALL}}]}}, {"steps.0": "invalid-together"}),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit_the_proxies(step: Json, problems: dict[str, str]) -> None:
    assert checked(step) == problems


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"crash": {"proxy": "db", "down": "5s"}}, {"crash": {"node": "app", "down": "5s"}}),
        ({"crash": {"node": "app", "down": "5s"}}, {"crash": {"node": "app", "down": "1s"}}),
        ({"pause": {"proxy": "db", "for": "5s"}}, {"crash": {"service": "data", "down": "5s"}}),
        ({"for": "5s", "fault": {"proxy": "db", "type": "unreachable"}}, {"pause": {"proxy": "db", "for": "1s"}}),
    ],
)
def test_steps_that_stop_the_same_proxy(first: Json, second: Json) -> None:
    assert checked(first, {"at": "4s", **second}) == {"steps.1": "invalid-together"}
    assert checked(first, {"at": "5s", **second}) == {}
