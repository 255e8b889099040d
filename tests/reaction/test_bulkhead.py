"""Other proxies of a node while a fault acts on one of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.reaction.bulkhead import Bulkhead, bulkhead_of
from tests.reaction.counted import Story, window


def told(story: Story, end: float = 40, heal: float | None = 20) -> Bulkhead | None:
    facts = story.facts(end)
    return bulkhead_of(facts, facts.proxies["db"], window(10, heal, "db"))


def node(*names: str, phase: float = 0.3) -> Story:
    story = Story(cuts=(10, 20), phase=phase)
    for name in names:
        story.proxy(name)
    story.steady("db", 0, 10)
    story.steady("db", 20, 40)
    return story


@settings(max_examples=25)
@given(st.integers(3, 150), st.floats(0, 0.99), st.floats(0.001, 0.1))
def test_a_steady_load_elsewhere_shows_that_the_bulkhead_held(rate: int, phase: float, felt: float) -> None:
    story = node("db", "api", phase=phase)
    story.steady("api", 0, 40, rate=rate, felt=felt)
    bulkhead = told(story)
    assert bulkhead is not None and bulkhead.held
    assert bulkhead.kept[0].rate_during == pytest.approx(rate, rel=0.1, abs=0.5)


def test_a_fault_that_blocks_the_other_load_spread_to_it() -> None:
    story = node("db", "api", "cache")
    story.steady("api", 0, 10)
    story.steady("api", 10, 20, rate=20)
    story.steady("api", 20, 40)
    story.steady("cache", 0, 40)
    bulkhead = told(story)
    assert bulkhead is not None and not bulkhead.held
    assert [(one.proxy, one.thinned, one.slowed) for one in bulkhead.spread] == [("api", True, False)]
    assert (bulkhead.spread[0].rate_before, bulkhead.spread[0].rate_during) == pytest.approx((50, 20))
    assert [one.proxy for one in bulkhead.kept] == ["cache"]


def test_a_load_that_stops_until_the_heal_spread_and_one_that_ends_did_not() -> None:
    blocked = node("db", "api")
    blocked.steady("api", 0, 10)
    blocked.steady("api", 20, 40)
    bulkhead = told(blocked)
    assert bulkhead is not None and bulkhead.spread[0].rate_during == pytest.approx(0, abs=0.1)
    ended = node("db", "api")
    ended.steady("api", 0, 14)
    bulkhead = told(ended)
    assert bulkhead is not None and bulkhead.held
    before = node("db", "api")
    before.steady("api", 0, 7)
    assert told(before) is None


def test_a_small_difference_between_small_numbers_is_chance() -> None:
    story = node("db", "api")
    for begin, end, number in ((0, 10, 30), (10, 20, 22), (20, 40, 60)):
        story.steady("api", begin, end, rate=number / (end - begin))
    bulkhead = told(story)
    assert bulkhead is not None and bulkhead.held
    assert bulkhead.kept[0].rate_during == pytest.approx(2.2, abs=0.1)


def test_slower_turns_elsewhere() -> None:
    story = node("db", "api")
    rng = random.Random(1)
    for number in range(2000):
        at = number / 50 + 0.01
        slow = 10 < at < 20 and rng.random() < 0.2
        story.good("api", at, 0.1 if slow else 0.01)
    bulkhead = told(story)
    assert bulkhead is not None
    assert [(one.slowed, one.thinned) for one in bulkhead.spread] == [(True, False)]
    assert bulkhead.spread[0].p99_before_s == pytest.approx(0.01, rel=0.03)
    assert bulkhead.spread[0].p99_during_s == pytest.approx(0.1, rel=0.03)


def test_a_node_that_was_restarted_tells_nothing() -> None:
    def story(stays: bool) -> Bulkhead | None:
        made = node("db", "api")
        connection = made.open("api", 0.5)
        made.steady("api", 0.5, 12)
        if not stays:
            made.close("api", 12, connection)
            made.open("api", 16)
        made.steady("api", 16, 40)
        return told(made)

    assert story(stays=False) is None
    bulkhead = story(stays=True)
    assert bulkhead is not None and not bulkhead.held


def test_other_nodes_other_faults_and_too_few_turns_are_skipped() -> None:
    story = node("db", "rare")
    story.proxy("far", node="web")
    story.steady("far", 0, 10)
    story.steady("rare", 0, 40, rate=1)
    assert told(story) is None
    facts = story.facts(40)
    assert bulkhead_of(facts, facts.proxies["db"], window(10, 20, "db", "rare")) is None
