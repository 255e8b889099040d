"""Circuit breakers, of simulated clients and by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chaosproxy.reaction.breaker import Breaker, breaker_of
from tests.reaction.counted import Policy, Seen, Story, simulate, window
from tests.reaction.precision import measured_breakers


def told(policy: Policy, rng: random.Random, cut: float | None = None) -> tuple[Seen, Breaker | None]:
    started = 10 + rng.random()
    fault = window(started, started + 18 + rng.random(), "db")
    story = Story(cuts=(fault.started, fault.ended or 0), phase=rng.random())
    story.proxy("db")
    seen = simulate(story, rng, policy, fault, "db")
    facts = story.facts(cut or 60)
    return seen, breaker_of(facts, facts.proxies["db"], fault)


def test_breakers_are_recognised_with_their_numbers() -> None:
    counts, wrong = measured_breakers(range(50))
    assert wrong == []
    assert counts["found"] >= 45, "recall"
    assert counts["exact"] >= 20, "attempts that fail at once leave no range, in most cases"


def test_a_single_client_that_fails_at_once_shows_the_exact_number() -> None:
    rng = random.Random(1)
    seen, breaker = told(Policy(workers=1, breaker=5), rng)
    assert breaker is not None
    assert (breaker.opened_after, breaker.opened_after_range, seen.opened_after) == (5, (5, 5), 5)
    assert breaker.confidence == "likely", "a single client may have another reason"


def test_attempts_at_the_same_time_leave_a_range() -> None:
    _, breaker = told(Policy(workers=10, breaker=4, timeout=1.0, pace=0.1), random.Random(2))
    assert breaker is not None
    assert breaker.opened_after is None and breaker.opened_after_range == (1, 10)
    assert breaker.confidence == "sure"


def test_a_journal_that_ends_while_it_is_open_shows_none() -> None:
    rng = random.Random(3)
    assert told(Policy(breaker=5), rng, cut=22.0)[1] is None


def by_hand(
    *, elsewhere: str = "", failures: int = 6, trials: int = 4, at_once: int = 1, slower: float = 1, waits: bool = False
) -> Breaker | None:
    """A client of 50 turns per second fails from 10 to 30, pauses after some failures, and tries every 3 s."""
    story = Story(cuts=(10.0, 30.0))
    for name, service in (("db", "s"), ("db2", "s"), ("api", None)):
        story.proxy(name, service=service)
    connections = [story.open("db", 1.0) for _ in range(failures)]
    story.steady("db", 0, 10)
    at, gap = 10.0, 0.02
    for connection in connections:
        at, gap = at + gap, gap * slower
        story.fail("db", at, connection=connection)
    for number in range(trials):
        for attempt in range(at_once):
            story.fail("db", at + 3 * (number + 1) + attempt * 0.01)
    story.steady("db", at + 3 * (trials + 1), 40)
    if elsewhere:
        story.steady(elsewhere, 10.2, 40)
    if waits:
        story.good("db", 39, felt=28.5)
    facts = story.facts(45)
    return breaker_of(facts, facts.proxies["db"], window(10, 30, "db"))


def test_by_hand() -> None:
    breaker = by_hand()
    assert breaker is not None
    assert (breaker.opened_after, breaker.trials, breaker.closed) == (6, 5, True)
    assert breaker.opened_at == pytest.approx(10.12)
    assert breaker.open_s == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize(
    "why, changed",
    [
        ("2 failures are too few", {"failures": 2}),
        ("a client that begins again may have been restarted", {"trials": 0}),
        ("several workers may sleep for the same time", {"at_once": 2}),
        ("the idle times grew up to the silence", {"slower": 2}),
        ("it failed over", {"elsewhere": "db2"}),
        ("a turn was open", {"waits": True}),
    ],
)
def test_doubtful_silences_are_no_breaker(why: str, changed: dict[str, Any]) -> None:
    assert by_hand(**changed) is None, why
    assert by_hand(elsewhere="api") is not None, "work at another service explains nothing"


def test_a_client_that_never_returns_must_work_elsewhere() -> None:
    def story(elsewhere: bool) -> Breaker | None:
        made = Story(cuts=(10.0,))
        made.proxy("db")
        made.proxy("api")
        made.steady("db", 0, 10)
        if elsewhere:
            made.steady("api", 0, 30)
        connections = [made.open("db", 1.0) for _ in range(5)]
        for number, connection in enumerate(connections):
            made.fail("db", 10.02 + number * 0.02, connection=connection)
        for number in range(1, 6):
            made.fail("db", 10.1 + 3 * number)
        facts = made.facts(30)
        return breaker_of(facts, facts.proxies["db"], window(10, None, "db"))

    breaker = story(elsewhere=True)
    assert breaker is not None and not breaker.closed and breaker.confidence == "likely"
    assert (breaker.opened_after, breaker.trials, breaker.closed_at) == (5, 5, None)
    assert story(elsewhere=False) is None
