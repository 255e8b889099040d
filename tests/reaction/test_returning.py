"""First good turns after a heal, where older turns are answered too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.reaction.returning import Sighting, counted_since, first_good_turn
from chaosproxy.reaction.span import Span
from tests.reaction.counted import Story

SEEN = Span(10.0, 30.0)


def story(released: int, held_s: float = 5.0, phase: float = 0.3) -> Story:
    made = Story(cuts=(10.0,), phase=phase)
    made.proxy("db")
    for number in range(released):
        made.good("db", 10.001 + number * 1e-4, felt=held_s)
    return made


def first(made: Story) -> Sighting | None:
    return first_good_turn(made.facts(30).proxies["db"], SEEN)


def test_answers_that_a_fault_released_are_not_good_turns() -> None:
    assert first(story(released=20)) is None


def test_the_first_good_turn_is_exact_without_old_ones() -> None:
    made = story(released=0)
    made.steady("db", 12.34, 20)
    assert first(made) == Sighting(pytest.approx(12.35), pytest.approx(0))


def test_an_interval_with_old_answers_tells_how_uncertain_it_is() -> None:
    made = story(released=20)
    made.steady("db", 10.05, 20)
    sighting = first(made)
    assert sighting is not None
    assert sighting.at == pytest.approx(10.06, abs=0.1)
    assert sighting.spread_s == pytest.approx(0.3, abs=0.05), "the interval ends at 10.3"


@given(
    st.integers(0, 50), st.lists(st.tuples(st.floats(0.001, 8), st.floats(0.001, 0.05)), min_size=1, max_size=50),
    st.floats(0, 0.99),
)  # fmt: skip
def test_the_truth_is_within_the_spread(released: int, turns: list[tuple[float, float]], phase: float) -> None:
    made = story(released, phase=phase)
    for opened_s, felt in turns:
        made.good("db", 10.0 + opened_s + felt, felt)
    sighting = first(made)
    truth = 10.0 + min(opened_s + felt for opened_s, felt in turns)
    assert sighting is not None
    assert abs(sighting.at - truth) <= sighting.spread_s + 0.002, "2 % of 0.05 s, the width of a bucket"


def test_intervals_without_the_answers_to_older_turns() -> None:
    made = story(released=3)
    made.good("db", 10.2)
    made.good("db", 11.25)
    found = counted_since(made.facts(30).proxies["db"], SEEN)
    assert [(one.good, sum(one.felt.values())) for one in found] == [(1, 1), (1, 1)]
    assert [one.interval.answered for one in found] == [4, 1]
