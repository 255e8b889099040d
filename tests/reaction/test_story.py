"""The reactions put together: the promised shape, and sentences."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from chaosproxy.events import Event, FaultAdded, FaultRemoved, ProxyAdded, TurnsCounted
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.reactions import reactions_of
from chaosproxy.reaction.story import story
from chaosproxy.reaction.view import view
from tests.reaction.journals import Policy, World

PROMISED: dict[str, Any] = {  # Any: JSON
    "turns": {"answered": 0, "failed": 0, "open": 0, "felt_s": {"p50": 0, "p99": 0}},
    "gave_up": {"count": 0, "waited_s": {"min": 0, "p50": 0, "max": 0}, "inferred_timeout_s": 0, "timeouts": []},
    "retries": {
        "amplification": 0, "backoff": "", "factor": 0, "first_gap_s": 0, "cap_s": 0, "jittered": False,
        "attempts_max": 0, "reconnects": 0, "double_effects": 0,
    },
    "circuit_breaker": None, "recovered_after_s": 0, "story": [],
}  # fmt: skip
"""The keys that REST promises for each proxy."""


def impatient(workers: int = 3) -> World:
    world = World(random.Random(1))
    policy = Policy(timeout_s=1.0, law="exponential", first_s=0.1, factor=2.0, attempts=4)
    for index in range(workers):
        world.client(policy, f"h{index}", think=world.thinking(0.3, 0.6), start=0.1 * index)
    return world


def shown(events: list[Event], end: float | None = None) -> Any:  # Any: JSON
    told = view(reactions_of(facts_of(events, end)), lambda moment: f"at {moment:g}")
    return json.loads(json.dumps(told))


def lacks(promised: Any, given: Any, path: str = "") -> list[str]:  # Any: JSON
    if not isinstance(promised, dict):
        return []
    missing = [f"{path}.{key}" for key in promised if key not in given]
    return missing + [
        one for key in promised if key in given for one in lacks(promised[key], given[key], f"{path}.{key}")
    ]


def test_the_story_of_clients_with_a_timeout_and_retries() -> None:
    lines = story(reactions_of(impatient().facts()))
    assert lines[0].startswith("db, while `db/stall-1` was on (30.0 s, touched ")
    [gave_up] = [line for line in lines if "gave up after" in line]
    assert "1.00 s ±" in gave_up and "(sure)" in gave_up and "time-out of 1 s" in gave_up
    [again] = [line for line in lines if "tried again" in line]
    assert "exponential back-off × 2" in again and "no jitter" in again
    assert any("at most 4 attempts" in line for line in lines)
    assert any(line.strip().startswith("after the heal: first good turn") for line in lines)


def test_the_shape_is_the_promised_one() -> None:
    told = shown(impatient().events())
    assert lacks(PROMISED, told["proxies"]["db"]) == []
    one = told["proxies"]["db"]
    assert one["gave_up"]["inferred_timeout_s"] == pytest.approx(1.0, abs=0.02)
    assert one["gave_up"]["timeouts"][0]["confidence"] == "sure"
    assert (one["retries"]["backoff"], one["retries"]["attempts_max"]) == ("exponential", 4)
    [window] = told["windows"]
    assert (window["faults"], window["started"], window["ended"]) == (["db/stall-1"], "at 20", "at 50")
    assert window["touched"]["connections"] > 0 and window["story"] == story(reactions_of(impatient().facts()))
    assert told["services"] == {}


def test_without_a_fault_there_is_no_reaction() -> None:
    events: list[Event] = [
        replace(one, faults={}) if isinstance(one, TurnsCounted) else one
        for one in impatient().events()
        if not isinstance(one, FaultAdded | FaultRemoved)
    ]
    assert story(reactions_of(facts_of(events))) == ["no fault was on, so no reaction can be told"]
    told = shown(events)
    assert told["windows"] == [] and lacks(PROMISED, told["proxies"]["db"]) == []
    assert told["proxies"]["db"]["gave_up"]["inferred_timeout_s"] is None


def test_a_fault_that_touched_nothing_says_so() -> None:
    added = ProxyAdded(at=0.0, proxy="db", listen="l", upstream="u", by="file")
    fault = FaultAdded(at=1.0, proxy="db", fault="f", type="stall", effective_mode="", mode_reason="", by="rest")
    assert story(reactions_of(facts_of([added, fault], end=3.5))) == ["`db/f` is on (2.5 s) and touched nothing"]


def test_patient_clients_are_told_of() -> None:
    world = World(random.Random(2))
    world.client(Policy(timeout_s=None), "h", think=world.thinking(0.2, 0.4))
    lines = story(reactions_of(world.facts()))
    assert any("no time-out within" in line and "1 turn waited" in line for line in lines), lines


def test_windows_and_proxies_can_be_selected() -> None:
    facts = impatient().facts()
    assert reactions_of(facts, since=50.0).windows and not reactions_of(facts, since=50.1).windows
    assert not reactions_of(facts, ["other"]).windows
    assert list(view(reactions_of(facts, ["other"]), str)["proxies"]) == []  # type: ignore[call-overload]  # a mapping
