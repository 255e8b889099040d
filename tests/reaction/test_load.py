"""The load of a proxy in spans of time, and the baseline of a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.events import TurnsCounted
from chaosproxy.reaction.facts import ProxyFacts
from chaosproxy.reaction.load import after, answered_in, baseline_of, felt_in, hosts_of, service_in
from chaosproxy.reaction.span import Span
from tests.reaction.counted import Story, window

TIMES = st.lists(st.floats(0.01, 9.9), min_size=1, max_size=60)


@given(TIMES, st.floats(0.5, 9.5), st.floats(0, 0.99))
def test_answers_on_both_sides_of_a_time_are_all_answers(times: list[float], edge: float, phase: float) -> None:
    story = Story(phase=phase)
    story.proxy("db")
    for at in times:
        story.good("db", at)
    db = story.facts(10).proxies["db"]
    parts = [answered_in(db, one) for one in (Span(-1, edge), Span(edge, 11))]
    assert sum(parts) == pytest.approx(len(times), abs=1e-6)
    assert answered_in(db, Span(-1, 11)) == len(times)


@given(TIMES, st.floats(1, 9))
def test_answers_are_exact_where_an_interval_ends(times: list[float], edge: float) -> None:
    story = Story(cuts=(edge,))
    story.proxy("db")
    for at in times:
        story.good("db", at)
    exact = sum(at <= edge for at in times)
    assert answered_in(story.facts(10).proxies["db"], Span(0, edge)) == pytest.approx(exact, abs=1e-6) or any(
        abs(at - edge) < 1e-5 for at in times
    )


def test_answers_by_host_and_without_one() -> None:
    counted = TurnsCounted(at=2.0, proxy="db", seconds=1.0, answered=14, clients={"a": (4, 1.0, 0.5), "": (8, 1.0, 0)})
    db = ProxyFacts("db", counted=[counted])
    assert answered_in(db, Span(1, 1.25), "a") == pytest.approx(2)
    assert answered_in(db, Span(1, 1.5)) == pytest.approx(4 + 4 + 1)
    assert hosts_of(db, Span(0, 3)) == {"a": 4}


def test_durations_are_those_of_whole_intervals() -> None:
    story = Story(cuts=(2.5,))
    story.proxy("db")
    story.steady("db", 0, 5, rate=10, felt=0.01)
    db = story.facts(5).proxies["db"]
    assert sum(felt_in(db, Span(0, 2.5)).values()) == sum(service_in(db, Span(0, 2.5)).values()) == 25
    assert sum(felt_in(db, Span(0, 2.4)).values()) == 20


def test_the_baseline_begins_with_the_load_and_after_other_windows() -> None:
    story = Story(cuts=(10.0, 20.0, 30.0))
    story.proxy("db")
    story.steady("db", 4.0, 40.0)
    facts = story.facts(40)
    first, second = window(10, 20, "db"), window(30, 35, "db")
    elsewhere = window(25, 28, "api")
    assert baseline_of(facts, first, ["db"], [first, second]) == Span(4.0, 10)
    assert baseline_of(facts, second, ["db"], [first, elsewhere, second]) == Span(20, 30)
    assert baseline_of(facts, window(15, 18, "db"), ["db"], [first, second]) == Span(4.0, 10)
    assert baseline_of(facts, window(4.5, 18, "db"), ["db"]) is None
    assert baseline_of(facts, second, ["other"]) is None
    assert after(facts, first, ["db"], [first, second]) == Span(20, 30)
    assert after(facts, second, ["db"], [first, second]) == Span(35, 40)
    assert after(facts, window(30, None, "db"), ["db"]) is None


def test_a_fault_that_was_there_before_the_load_is_in_the_baseline() -> None:
    story = Story()
    story.proxy("db")
    story.steady("db", 4.0, 40.0)
    facts = story.facts(40)
    far, stall, far_and_stall = window(1, None, "db"), window(10, 20, "db"), window(1, None, "db")
    assert baseline_of(facts, stall, ["db"], [far, stall, far_and_stall]) == Span(4.0, 10)
    assert baseline_of(facts, stall, ["db"], [window(6, None, "db"), stall]) == Span(4.0, 6)


def test_the_baseline_is_the_last_minute() -> None:
    story = Story()
    story.proxy("db")
    story.steady("db", 0, 100, rate=2)
    assert baseline_of(story.facts(100), window(90, 95, "db"), ["db"]) == Span(30, 90)
