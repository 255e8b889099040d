"""The timeline of a scenario: what is done when."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.declare import Problems
from chaosproxy.scenario import Timeline, read_scenario, timeline_of
from chaosproxy.scenario.timeline import Note, Put, Sever, Take
from chaosproxy.seed import Seed

Json = dict[str, Any]  # Any: JSON
STALL = {"proxy": "db", "type": "stall"}


def timeline(steps: object, seed: int = 1, **more: object) -> Timeline:
    found, problems = attempt(steps, seed, **more)
    assert found is not None, [str(one) for one in problems]
    return found


def attempt(steps: object, seed: int = 1, **more: object) -> tuple[Timeline | None, Problems]:
    problems = Problems()
    scenario = read_scenario({"version": 1, "name": "test", "steps": steps, **more}, problems)
    assert scenario is not None, [str(one) for one in problems]
    return timeline_of(scenario, Seed(seed), problems), problems


def told(found: Timeline) -> list[tuple[float, str]]:
    """Each moment in words."""
    words = []
    for one in found.moments:
        match one.do:
            case Put(_, fault, is_change):
                words.append((one.at, f"{'change' if is_change else 'put'} {fault.name}"))
            case Sever(partition):
                words.append((one.at, f"sever {partition.id}"))
            case Take(name):
                words.append((one.at, f"take {name}"))
            case Note(text):
                words.append((one.at, text))
            case _:
                words.append((one.at, "run"))
    return words


def test_the_promised_example() -> None:
    steps = yaml.safe_load("""
      - {at: 0s,  for: 20s, partition: {from: app, to: db-primary, one_way: true}}
      - {at: 30s, for: 10s, fault: {proxy: db-replica, type: latency, delay: 300ms, jitter: 100ms}}
      - {at: 45s, crash: {proxy: api, down: 5s}}
      - {at: 50s, pause: {proxy: api, for: 2s}}
    """)
    found = timeline(steps)
    assert told(found) == [
        (0, "sever partition-1"), (20, "take partition-1"), (30, "put latency-2"), (40, "take latency-2"),
        (45, "put crash-3"), (50, "take crash-3"), (50, "put pause-4"), (52, "take pause-4"),
    ]  # fmt: skip
    assert found.length == 52
    assert [(span.begin, span.end) for span in found.spans] == [(0, 20), (30, 40), (45, 50), (50, 52)]


def test_a_step_without_an_end_lasts_until_the_others_have_ended_or_for_the_duration() -> None:
    steps = [{"name": "slow", "fault": STALL}, {"at": "7s", "mark": "now"}]
    assert told(timeline(steps)) == [(0, "put slow"), (7, "take slow"), (7, "now")]
    assert told(timeline(steps, duration="9s"))[-1] == (9, "take slow")


def test_a_step_begins_after_another_has_ended() -> None:
    steps = [
        {"after": "b", "at": "1s", "mark": "third"}, {"name": "a", "for": "2s", "fault": STALL},
        {"name": "b", "after": "a", "at": "1s", "for": "1s", "every": "5s", "times": 2, "fault": STALL},
    ]  # fmt: skip
    assert [at for at, what in told(timeline(steps)) if what in ("put b", "third")] == [3, 8, 10]


def test_a_step_is_repeated_also_without_a_pause() -> None:
    steps = [{"name": "a", "for": "100ms", "every": "100ms", "times": 30, "fault": STALL}]
    found = told(timeline(steps))
    assert [what for _, what in found] == ["put a", "take a"] * 30
    assert found[-1][0] == pytest.approx(3.0)


def test_a_step_may_wait_for_a_later_one() -> None:
    steps = [{"name": "a", "after": "c", "for": "10s", "fault": STALL}, {"name": "c", "for": "5s", "fault": STALL}]
    found = timeline(steps)
    assert found.length == 15 and found.windows == {"a": (5, 15), "c": (0, 5)}


def test_times_that_a_float_cannot_hold_meet_exactly() -> None:
    steps = [
        {"name": "a", "at": "100ms", "for": "200ms", "fault": STALL},
        {"name": "b", "at": "300ms", "for": "600ms", "every": "600ms", "times": 2, "fault": STALL},
    ]  # fmt: skip
    found = told(timeline(steps, duration="1500ms"))
    assert [what for _, what in found] == ["put a", "take a", "put b", "take b", "put b", "take b"]


def test_a_change_is_merged_with_the_fault_as_it_is_written() -> None:
    """A fault on messages has a direction that follows from its settings."""
    steps = [
        {"name": "slow", "for": "9s", "fault": {"proxy": "web", "type": "http_delay", "delay": "1s"}},
        {"at": "1s", "set": {"step": "slow", "on": "response"}},
    ]
    [_, change] = [one.do for one in timeline(steps).moments if isinstance(one.do, Put)]
    assert change.is_change and change.fault.placement.direction == "downstream"


def test_a_heal_takes_what_is_on_and_nothing_else() -> None:
    steps = [
        {"name": "a", "for": "9s", "fault": STALL}, {"name": "b", "for": "9s", "fault": STALL},
        {"at": "2s", "heal": "a"}, {"name": "c", "at": "3s", "for": "1s", "fault": STALL}, {"at": "5s", "heal": "all"},
    ]  # fmt: skip
    found = timeline(steps)
    assert told(found) == [
        (0, "put a"), (0, "put b"), (2, "take a"), (3, "put c"), (4, "take c"), (5, "take b"),
    ]  # fmt: skip
    assert [(span.begin, span.end) for span in found.spans_of("b")] == [(0, 5)]


def test_changes_of_a_fault_add_up() -> None:
    steps = [
        {"name": "slow", "for": "9s", "fault": {"proxy": "db", "type": "latency", "delay": "100ms"}},
        {"at": "1s", "set": {"step": "slow", "jitter": "10ms"}},
        {"at": "2s", "set": {"step": "slow", "delay": "200ms"}},
    ]
    puts = [one.do for one in timeline(steps).moments if isinstance(one.do, Put)]
    settings = [(getattr(one.fault.settings, "delay"), getattr(one.fault.settings, "jitter")) for one in puts]  # noqa: B009
    assert settings == [(0.1, 0.0), (0.1, 0.01), (0.2, 0.01)]
    assert [one.is_change for one in puts] == [False, True, True]


def test_a_ramp_holds_each_value_equally_long() -> None:
    ramp = {"proxy": "db", "type": "latency", "delay": {"from": "0ms", "to": "300ms"}, "steps": 3}
    found = timeline([{"name": "r", "at": "1s", "for": "8s", "ramp": ramp}])
    assert told(found) == [(1, "put r"), (3, "change r"), (5, "change r"), (7, "change r"), (9, "take r")]
    values = [one.do.value for one in found.moments if isinstance(one.do, Put)]
    assert values == ["0s", "100ms", "200ms", "300ms"]


@pytest.mark.parametrize(
    ("steps", "more", "problems"),
    [
        ([{"name": "a", "after": "b", "mark": "x"}, {"name": "b", "after": "a", "mark": "y"}], {},
         {"steps.0.after": "invalid-together", "steps.1.after": "invalid-together"}),
        ([{"name": "a", "after": "a", "mark": "x"}], {}, {"steps.0.after": "invalid-together"}),
        ([{"name": "a", "fault": STALL}, {"after": "a", "mark": "x"}], {}, {"steps.1.after": "invalid-together"}),
        ([{"at": "9s", "for": "2s", "fault": STALL}], {"duration": "10s"}, {"steps.0": "out-of-range"}),
        ([{"name": "a", "for": "1s", "fault": STALL}, {"at": "1s", "set": {"step": "a", "direction": "both"}}], {},
         {"steps.1.set.step": "invalid-together"}),
        ([{"name": "a", "for": "9s", "fault": {"proxy": "db", "type": "latency", "delay": "1s"}},
          {"at": "1s", "set": {"step": "a", "correlation": 0.5}}], {}, {"steps.1.set.correlation": "invalid-together"}),
        ([{"for": "24h", "random": {"gap": "10ms", "of": [{"mark": "x"}]}}], {}, {"steps.0": "too-large"}),
        ([{"for": "100s", "every": "100s", "times": 10000, "random": {"gap": "10ms", "of": [{"mark": "x"}]}}], {},
         {"steps.0": "too-large"}),
        ([{"fault": STALL}], {}, {"steps.0.for": "missing"}),
        ([{"at": "10s", "mark": "x"}, {"at": "10s", "fault": STALL}], {}, {"steps.1.for": "missing"}),
        ([{"name": "r", "run": ["ls"]}, {"after": "r", "mark": "x"}], {}, {"steps.1.after": "not-applicable"}),
        ([{"name": "a", "for": "1s", "fault": STALL}, {"at": "2s", "heal": "a"}], {},
         {"steps.1.heal": "invalid-together"}),
        ([{"name": "a", "for": "100ms", "fault": STALL},
          {"at": "1s", "every": "1s", "times": 900, "set": {"step": "a", "direction": "both"}}], {},
         {"steps.1.set.step": "invalid-together"}),
    ],
)  # fmt: skip
def test_steps_that_contradict_each_other(steps: object, more: Json, problems: dict[str, str]) -> None:
    found, noted = attempt(steps, **more)
    assert found is None
    assert {one.field: one.code for one in noted} == problems


RANDOM = [{"name": "soak", "at": "3s", "for": "60s", "random": {"gap": "2s", "of": [
    {"for": "5s", "fault": STALL}, {"for": "1s", "partition": {"from": "a", "to": "b"}}, {"mark": "nothing"},
]}}]  # fmt: skip


def test_the_same_seed_draws_the_same_timeline() -> None:
    assert timeline(RANDOM, seed=3) == timeline(RANDOM, seed=3) != timeline(RANDOM, seed=4)


@pytest.mark.parametrize("distribution", ["exponential", "uniform", "constant"])
def test_random_gaps_have_their_mean(distribution: str) -> None:
    random = {"gap": "2s", "distribution": distribution, "of": [{"mark": "x"}]}
    found = timeline([{"for": "10000s", "random": random}])
    assert len(found.moments) == pytest.approx(5000, rel=0.05)


times = st.integers(0, 60).map(lambda tenths: f"{tenths * 100}ms")
lengths = st.integers(1, 40).map(lambda tenths: f"{tenths * 100}ms")
faults = st.sampled_from([
    {"fault": STALL}, {"fault": {"service": "db", "type": "latency", "delay": "10ms"}}, {"pause": {"proxy": "db"}},
    {"partition": {"from": "a", "to": "b"}},
    {"ramp": {"proxy": "db", "type": "latency", "delay": {"from": "0ms", "to": "1s"}, "steps": 3}},
    {"random": {"gap": "300ms", "of": [{"for": "500ms", "fault": STALL}, {"pause": {"proxy": "db"}}]}},
])  # fmt: skip
lasting = st.builds(lambda at, lasts, action: {"at": at, "for": lasts, **action}, times, lengths, faults)
repeated = st.builds(
    lambda at, lasts, times, action: {"at": at, "for": lasts, "every": lasts, "times": times, **action},
    times, lengths, st.integers(2, 5), faults,
)  # fmt: skip
endless = st.builds(lambda at: {"at": at, "fault": STALL}, times)
marks = st.builds(lambda at: {"at": at, "mark": "x"}, times)
heals = st.builds(lambda at: {"at": at, "heal": "all"}, times)


@given(st.lists(lasting | repeated | marks, min_size=1, max_size=8), st.data())
def test_each_thing_that_is_put_on_is_taken_away_once(steps: list[Json], data: st.DataObject) -> None:
    steps = [{"name": f"s{number}", **step} for number, step in enumerate(steps)]
    for number, step in enumerate(steps):  # each may wait for a later one, so that there is no circle
        if number + 1 < len(steps) and data.draw(st.booleans()):
            step["after"] = data.draw(st.sampled_from([f"s{later}" for later in range(number + 1, len(steps))]))
    found = timeline([*steps, *data.draw(st.lists(endless | heals))], data.draw(st.integers(0, 5)), duration="300s")
    assert found.length == 300
    assert all(one.at <= other.at for one, other in pairwise(found.moments))
    on: dict[str, float] = {}
    for one in found.moments:
        assert 0 <= one.at <= found.length
        match one.do:
            case Put(_, fault, is_change):
                assert (fault.name in on) is is_change
                on.setdefault(fault.name, one.at)
            case Sever(partition):
                assert partition.id not in on
                on[partition.id] = one.at
            case Take(name):
                begin = on.pop(name)
                assert [span for span in found.spans if (span.name, span.begin, span.end) == (name, begin, one.at)]
    assert on == {}
    assert len(found.spans) == sum(isinstance(one.do, Take) for one in found.moments)
