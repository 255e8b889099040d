"""Failovers inside a service: moves, their times, and loads that only look like one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.reaction.failover import Failover, failovers_of
from chaosproxy.reaction.reactions import reactions_of
from tests.reaction.counted import APP, Story, window
from tests.reaction.precision import measured_failovers

OTHER = "10.0.0.2"


def service(*cuts: float, phase: float = 0.3) -> Story:
    story = Story(cuts=cuts, phase=phase)
    for name in ("db", "db2"):
        story.proxy(name, service="s")
    return story


def moves(story: Story, **times: float) -> list[Failover]:
    return failovers_of(story.facts(times.get("end", 40)), window(10, times.get("heal", 20), "db"))


def test_simulated_clients_that_fail_over_are_recognised() -> None:
    counts, wrong = measured_failovers(range(40))
    assert wrong == []
    assert counts["found"] >= 36, "recall"


def test_a_failover_and_its_return() -> None:
    story = service(10, 20)
    story.steady("db", 0, 10)
    story.give_up("db", 11.0, 1.0)
    story.steady("db2", 12.1, 23)
    story.steady("db", 23, 40)
    [told] = moves(story)
    assert (told.service, told.old, told.new, told.flaps, told.split_s) == ("s", "db", "db2", 0, None)
    assert told.detect_s == pytest.approx(1.0)
    assert told.after_s == pytest.approx(2.1, abs=0.02)
    assert told.share == pytest.approx(1.0, abs=0.02)
    assert told.failed_back_after_s == pytest.approx(3.0, abs=0.02)


def turned_away(story: Story, begin: float, end: float, turns: int = 1, said: int = 90) -> None:
    """Connect to db2 again and again, and leave after some turns."""
    for number in range(round((end - begin) * 10)):
        at = begin + number / 10
        connection = story.open("db2", at)
        for turn in range(turns):
            story.good("db2", at + 0.003 * (turn + 1))
        story.close("db2", at + 0.02, connection, said=said)


def kept_until_the_fault() -> Story:
    story = service(10, 20)
    story.open("db", 0.001)
    story.steady("db", 0, 10)
    story.give_up("db", 10.5, 0.5)
    return story


def test_a_standby_that_turns_clients_away_has_not_taken_over() -> None:
    story = kept_until_the_fault()
    turned_away(story, 10.6, 14.0)
    story.open("db2", 14.05)
    story.steady("db2", 14.06, 40)
    [told] = moves(story)
    assert told.after_s == pytest.approx(4.05, abs=0.02)
    assert (told.is_exact, told.new, told.moved) == (False, "db2", (APP,))


def test_a_standby_that_lets_no_client_in_gets_no_failover() -> None:
    story = kept_until_the_fault()
    turned_away(story, 10.6, 20.0)
    assert moves(story) == []


def test_a_client_with_a_connection_for_each_call_is_not_turned_away() -> None:
    story = kept_until_the_fault()
    turned_away(story, 10.6, 40.0, turns=6)
    [told] = moves(story)
    assert told.after_s == pytest.approx(0.6, abs=0.02)


def test_a_client_that_always_connects_for_a_single_turn_is_not_turned_away() -> None:
    story = service(10, 20)
    for number in range(100):
        story.open("db", number / 10)
        story.good("db", number / 10 + 0.003)
    story.give_up("db", 10.5, 0.5)
    turned_away(story, 10.6, 40.0)
    [told] = moves(story)
    assert told.after_s == pytest.approx(0.6, abs=0.02)


def test_a_probe_of_the_old_one_is_no_return() -> None:
    story = service(10, 20)
    story.steady("db", 0, 10)
    story.give_up("db", 11.0, 1.0)
    story.steady("db2", 12.1, 35)
    story.good("db", 21.0)
    [told] = moves(story)
    assert told.failed_back_after_s is None


def test_answers_released_at_the_heal_are_no_return() -> None:
    story = service(10, 20)
    story.steady("db", 0, 10)
    story.give_up("db", 11.0, 1.0)
    story.steady("db2", 12.1, 35)
    for number in range(60):
        story.good("db", 20.001 + number * 1e-5, felt=9)
    [told] = moves(story)
    assert told.failed_back_after_s is None


def test_a_silence_without_a_failed_attempt_is_enough() -> None:
    story = service(10, 20)
    story.steady("db", 0, 10)
    story.steady("db2", 11.5, 35)
    [told] = moves(story)
    assert told.detect_s is None and told.after_s == pytest.approx(1.5, abs=0.02)


def test_hosts_that_stay_are_named_and_lower_the_share() -> None:
    story = service(10, 20)
    story.steady("db", 0, 10)
    story.steady("db", 0, 10, host=OTHER)
    for host in (APP, OTHER):
        story.fail("db", 10.5, host=host)
    story.steady("db2", 10.6, 35)
    [told] = moves(story)
    assert (told.moved, told.stayed) == ((APP,), (OTHER,))
    assert told.share == pytest.approx(0.5, abs=0.02)


def test_flaps_and_a_split() -> None:
    story = service(10, 30)
    story.steady("db", 0, 10)
    story.fail("db", 10.1)
    for begin in range(11, 29, 6):
        story.steady("db2", begin, begin + 4)
        story.steady("db", begin + 4, begin + 6)
    story.steady("db2", 29, 30)
    [told] = moves(story, heal=30)
    assert told.flaps == 6 and told.split_s is None
    split = service(10, 30)
    split.steady("db", 0, 10)
    split.fail("db", 10.1)
    split.steady("db2", 11, 30, rate=40)
    split.steady("db", 14, 19, rate=10)
    [told] = moves(split, heal=30)
    assert told.split_s == pytest.approx(5.0, abs=1) and told.flaps == 0


def test_reads_on_the_replica_grow_when_the_writes_move_there() -> None:
    story = service(10, 20)
    story.steady("db", 0, 10)
    story.steady("db2", 0, 40, rate=30)
    story.fail("db", 10.5)
    story.steady("db2", 11.0, 35)
    [told] = moves(story)
    assert not told.is_exact and told.after_s == pytest.approx(1.0, abs=1.0)
    assert told.share == pytest.approx(1.0, abs=0.05)


@settings(max_examples=25)
@given(
    st.integers(5, 100), st.integers(1, 200), st.booleans(), st.floats(0, 0.99), st.sampled_from([APP, OTHER]),
    st.floats(2, 20),
)  # fmt: skip
def test_steady_reads_on_a_replica_are_no_failover(
    writes: int, reads: int, fails: bool, phase: float, reader: str, lasts: float
) -> None:
    story = service(10, 10 + lasts, phase=phase)
    story.steady("db", 0, 10, rate=writes)
    story.steady("db2", 0, 40, rate=reads, host=reader)
    for number in range(5 if fails else 0):
        story.fail("db", 10.2 + number * 0.3)
    story.steady("db", 10 + lasts, 40, rate=writes)
    assert moves(story, heal=10 + lasts) == []


def test_slow_answers_and_a_new_host_are_no_failover() -> None:
    story = service(10, 20)
    story.steady("db", 0, 40)
    story.steady("db2", 12, 40, host=OTHER)
    assert moves(story) == [], "the old one goes on, and the host at the replica is another"
    one_job = service(10, 20)
    one_job.steady("db", 0, 10)
    one_job.fail("db", 10.5)
    for at in (12.5, 14.5, 16.5):
        one_job.good("db2", at)
    assert moves(one_job) == [], "a few turns elsewhere are not the load"


def test_a_move_needs_trouble_half_the_load_and_an_old_one_that_falls() -> None:
    calm = service(10, 20)
    calm.steady("db", 0, 15)
    calm.steady("db2", 15, 40)
    assert moves(calm) == [], "a deployment moved it: no attempt failed, and the old one was not silent"
    part = service(10, 20)
    part.steady("db", 0, 10)
    part.fail("db", 10.5)
    part.steady("db2", 11, 40, rate=20)
    assert moves(part) == [], "another program of the host may have that load"
    grown = service(10, 20)
    grown.steady("db", 0, 40)
    grown.fail("db", 10.505)
    grown.steady("db2", 11, 40)
    assert moves(grown) == [], "the old one carries its load on"


def test_without_a_baseline_nothing_is_told() -> None:
    story = service(0.5, 20)
    story.fail("db", 0.7)
    story.steady("db2", 1.0, 20)
    assert failovers_of(story.facts(30), window(0.5, 20, "db")) == []


def test_a_failover_in_two_windows_is_told_once() -> None:
    story = kept_until_the_fault()
    story.proxy("other")
    story.steady("other", 0, 40)
    story.fault("other", 9.998, "stall")
    story.fault("db", 10.0, "stall")
    story.fault("db2", 15.0, "latency")
    story.steady("db2", 10.6, 40)
    told = reactions_of(story.facts(40))
    assert len([move for one in told.windows for move in one.failovers]) > 1, "each window has it"
    [move] = told.failovers()["s"]
    assert (move.old, move.new) == ("db", "db2")
