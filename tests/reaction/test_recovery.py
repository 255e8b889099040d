"""Recovery after a heal: the times of its parts, and the latest of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.reaction.recovery import Recovery, recovery_of
from tests.reaction.counted import Policy, Story, simulate, window

FAULT = window(10, 20, "db")


def story(phase: float = 0.0) -> Story:
    made = Story(cuts=(10, 20), phase=phase)
    made.proxy("db")
    made.steady("db", 0, 10)
    return made


def told(made: Story, end: float = 90, again: float | None = None) -> Recovery:
    facts = made.facts(end)
    windows = [FAULT] + ([window(again, None, "db")] if again else [])
    recovery = recovery_of(facts, facts.proxies["db"], FAULT, windows)
    assert recovery is not None
    return recovery


def test_a_client_that_returns_at_once() -> None:
    made = story()
    made.open("db", 20.35, dial_s=0.01)
    made.steady("db", 20.4, 90)
    recovery = told(made)
    assert recovery.first_connection_s == pytest.approx(0.35)
    assert recovery.first_good_turn_s == pytest.approx(0.41)
    assert (recovery.success_rate_s, recovery.p99_s) == (0.0, 0.0)
    assert recovery.recovered_after_s == pytest.approx(0.41)
    assert (recovery.verdict, recovery.seen_s) == ("recovered", 60)


@pytest.mark.parametrize("before_s", [0.001, 0.6])
def test_an_interval_that_began_before_the_heal_is_the_first_second(before_s: float) -> None:
    """Counting stops a moment before a fault ends, and is skipped while nothing happens."""
    made = Story(cuts=(10, 20 - before_s), phase=0.8)
    made.proxy("db")
    made.steady("db", 0, 10)
    made.steady("db", 20.1, 90)
    recovery = told(made)
    assert (recovery.success_rate_s, recovery.p99_s) == (0.0, 0.0)
    assert recovery.recovered_after_s == pytest.approx(0.11, abs=0.01)


def test_answers_that_leave_a_moment_before_the_event_of_the_heal_are_released_by_it() -> None:
    made = Story(cuts=(10,), phase=0.8)
    made.proxy("db")
    made.steady("db", 0, 10)
    made.good("db", 19.998, felt=9.0)
    made.steady("db", 20.1, 90)
    assert told(made).success_rate_s == 0.0


def test_an_interval_with_answers_before_the_heal_is_not_the_first_second() -> None:
    made = Story(cuts=(10,), phase=0.8)
    made.proxy("db")
    made.steady("db", 0, 10)
    made.good("db", 19.9)
    made.steady("db", 20.1, 90)
    assert told(made).success_rate_s == 1.0


def test_failures_after_the_heal_delay_the_success_rate() -> None:
    made = story()
    made.steady("db", 20.0, 90)
    for number in range(28):
        made.fail("db", 20.05 + number * 0.1)
    recovery = told(made)
    assert recovery.first_good_turn_s == pytest.approx(0.01, abs=0.005)
    assert recovery.success_rate_s == 3.0 == recovery.recovered_after_s


def test_failures_of_turns_that_opened_before_the_heal_do_not_count() -> None:
    made = story()
    made.steady("db", 20.0, 90)
    made.give_up("db", 21.5, 4.0)
    assert told(made).success_rate_s == 0.0
    made.give_up("db", 21.6, 1.5)
    assert told(made).success_rate_s == 2.0


def test_a_good_second_or_two_are_not_enough() -> None:
    made = story()
    made.steady("db", 20.0, 90)
    for second in (0, 3, 6):
        made.fail("db", 20.5 + second)
        made.fail("db", 20.6 + second)
    assert told(made).success_rate_s == 7.0


def test_slow_answers_after_the_heal_delay_the_percentile() -> None:
    made = story()
    made.steady("db", 20.0, 25, felt=0.01)
    made.steady("db", 25.0, 90)
    recovery = told(made)
    assert (recovery.success_rate_s, recovery.p99_s, recovery.recovered_after_s) == (0.0, 5.0, 5.0)


def test_answers_released_at_the_heal_are_no_recovery() -> None:
    made = story()
    for number in range(100):
        made.good("db", 20.001 + number * 1e-5, felt=8)
    recovery = told(made)
    assert (recovery.first_good_turn_s, recovery.success_rate_s, recovery.recovered_after_s) == (None, None, None)
    assert recovery.verdict == "too few to say"
    made.steady("db", 24.0, 90)
    assert told(made).recovered_after_s == pytest.approx(4.01, abs=0.1)


def test_a_connection_accepted_before_the_heal_is_not_its_first() -> None:
    made = story()
    made.open("db", 20.1, dial_s=3)
    assert told(made).first_connection_s is None
    made.open("db", 21.5, dial_s=0.1)
    assert told(made).first_connection_s == pytest.approx(1.5)


def test_failures_until_the_end_are_no_recovery() -> None:
    made = story()
    for number in range(700):
        made.fail("db", 20.05 + number * 0.1)
    assert (told(made).recovered_after_s, told(made).verdict) == (None, "not recovered")
    assert told(made, end=50).verdict == "too few to say", "the journal ends before"
    assert told(made, again=40).seen_s == 20


def test_a_trickle_is_no_recovery() -> None:
    made = story()
    made.steady("db", 20, 90, rate=2)
    assert told(made).success_rate_s is None and told(made).verdict == "not recovered"
    rare = Story(cuts=(10, 20))
    rare.proxy("db")
    rare.steady("db", 0, 10, rate=0.5)
    rare.steady("db", 20.5, 90, rate=0.5)
    assert told(rare).success_rate_s == 1.0, "the load was as rare before"
    assert told(rare).recovered_after_s == 1.5 and told(rare).p99_s is None


def test_one_slow_answer_is_no_percentile() -> None:
    made = story()
    made.steady("db", 20, 90)
    for second in range(60):
        made.good("db", 20.5 + second, felt=0.02)
    assert told(made).p99_s == 0.0
    for second in range(60):
        made.good("db", 20.6 + second, felt=0.02)
    assert told(made).p99_s is None


def test_without_an_end_or_a_baseline_there_is_no_recovery() -> None:
    made = story()
    facts = made.facts(30)
    assert recovery_of(facts, facts.proxies["db"], window(10, None, "db")) is None
    assert recovery_of(facts, facts.proxies["db"], window(0.5, 20, "db")) is None


@settings(max_examples=25)
@given(st.floats(0.01, 40), st.floats(0, 0.99), st.integers(20, 100))
def test_a_load_that_returns_later_recovers_then(later: float, phase: float, rate: int) -> None:
    made = Story(cuts=(10, 20), phase=phase)
    made.proxy("db")
    made.steady("db", 0, 10, rate=rate)
    made.steady("db", 20 + later, 90, rate=rate)
    recovery = told(made)
    assert recovery.first_good_turn_s == pytest.approx(later + 0.5 / rate, abs=0.1)
    assert recovery.recovered_after_s is not None
    assert later - 0.1 <= recovery.recovered_after_s <= later + 1.1


def test_simulated_clients_recover() -> None:
    recovered = 0
    for seed in range(20):
        rng = random.Random(seed)
        made = Story(cuts=(10, 20), phase=rng.random())
        made.proxy("db")
        policy = Policy(workers=5, timeout=rng.choice([None, 0.3, 2.0]), pace=rng.choice([0.03, 0.1]))
        simulate(made, rng, policy, FAULT, "db")
        after_s = told(made, end=60).recovered_after_s
        recovered += after_s is not None and after_s <= 3
    assert recovered >= 18
