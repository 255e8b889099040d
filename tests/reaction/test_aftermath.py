"""Effects that outlast a window."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.reaction.aftermath import Aftermath, aftermath_of
from tests.reaction.counted import Story, window

FAULT = window(10, 20, "db")


def story() -> Story:
    made = Story(cuts=(10, 20))
    made.proxy("db")
    made.steady("db", 0, 10)
    return made


def told(made: Story, end: float = 90) -> Aftermath:
    facts = made.facts(end)
    found = aftermath_of(facts, facts.proxies["db"], FAULT)
    assert found is not None
    return found


def test_dead_sockets_are_those_that_a_client_drops_unanswered_after_the_heal() -> None:
    made = story()
    dead, quick, young, answered = (made.open("db", at) for at in (5, 5, 21, 5))
    made.give_up("db", 27.5, 12.0, connection=dead)
    made.give_up("db", 20.001, 5.0, connection=quick)  # within the time of an answer
    made.give_up("db", 23.0, 1.0, connection=young)
    made.give_up("db", 15.0, 1.0, connection=answered)  # before the heal
    assert (told(made).dead_sockets, told(made).dead_for_s) == (1, pytest.approx(7.5))
    assert (told(story()).dead_sockets, told(story()).dead_for_s) == (0, None)


def test_the_herd_is_the_peak_of_connections_opened_after_the_heal() -> None:
    made = story()
    for number in range(5):
        made.open("db", 3.0 + number)
    made.open("db", 3.05)
    for number in range(30):
        made.open("db", 20.2 + number * 0.01)
    for _ in range(50):
        made.open("db", 20.01, dial_s=5)  # accepted before
    assert (told(made).herd_peak, told(made).herd_baseline) == (11, 2)


def test_a_load_that_stays_high_or_failing_is_metastable() -> None:
    high = story()
    high.steady("db", 20, 90, rate=100)
    assert told(high).metastable is True
    assert told(high).load_ratio == pytest.approx(2.0, abs=0.05)
    failing = story()
    failing.steady("db", 20, 90, rate=40)
    for number in range(700):
        failing.fail("db", 20.05 + number * 0.1)
    assert told(failing).metastable is True
    assert told(failing).success_rate == pytest.approx(0.8, abs=0.02)


def test_a_load_that_rises_later_or_recovers_is_not() -> None:
    later = story()
    later.steady("db", 20, 40)
    later.steady("db", 40, 90, rate=100)
    assert told(later).metastable is False
    burst = story()
    burst.steady("db", 20, 30, rate=200)
    burst.steady("db", 30, 90)
    assert told(burst).metastable is False
    assert told(burst, end=50).metastable is None, "30 s and 5 s are not over"


@settings(max_examples=25)
@given(st.integers(5, 100), st.floats(0, 0.99))
def test_a_steady_load_is_never_metastable(rate: int, phase: float) -> None:
    made = Story(cuts=(10, 20), phase=phase)
    made.proxy("db")
    made.steady("db", 0, 10, rate=rate)
    made.steady("db", 20, 60, rate=rate)
    assert told(made, end=60).metastable is False
