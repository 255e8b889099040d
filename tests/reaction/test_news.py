"""Claims that are published as events: each once, with any number of looks, and without an effect on the next."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.events import (
    CircuitClosed,
    CircuitOpened,
    Event,
    FaultAdded,
    FaultRemoved,
    ServiceFailedOver,
    ServiceRecovered,
)
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.news import Subject, claims_of, news, recent, retries_by_episode
from chaosproxy.reaction.reactions import reactions_of
from chaosproxy.reaction.window import Window
from tests.reaction.counted import Policy, Story, simulate

DARK = Window(("db/dark",), ("reset",), frozenset({"db"}), 10.0, 20.0)


def added(at: float, fault: str = "dark") -> FaultAdded:
    return FaultAdded(at=at, proxy="db", fault=fault, type="reset", effective_mode="", mode_reason="", by="rest")


def removed(at: float, fault: str = "dark") -> FaultRemoved:
    return FaultRemoved(at=at, proxy="db", fault=fault, type="reset", by="rest")


def service(*more: Event, phase: float = 0.3) -> Story:
    story = Story(cuts=(10.0, 20.0, *(one.at for one in more)), phase=phase)
    for name in ("db", "db2"):
        story.proxy(name, service="s")
    story.events += [added(10.0), removed(20.0), *more]
    return story


def told_of(story: Story, looks: list[float]) -> list[tuple[float, Event]]:
    """Look at each of these times, as the server does: at the events until then, with those told before among them."""
    told: dict[Subject, Event] = {}
    found: list[tuple[float, Event]] = []
    for now in looks:
        seen = [one for one in story.facts(now).events if one.at <= now]
        claims = claims_of(reactions_of(facts_of([*seen, *told.values()], now)))
        new = news(told, claims)
        assert new == sorted(new, key=lambda one: one.at)
        found += ((now, event) for event in new)
        told.update({subject: event for subject, event in claims.items() if subject not in told})
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0.7, 3.0))
def test_a_failover_and_a_recovery_are_told_once(seed: int, phase: float, every: float) -> None:
    rng = random.Random(seed)
    story = service(phase=phase)
    policy = Policy(workers=rng.choice([2, 5]), failover_after=rng.randint(1, 4), timeout=rng.choice([None, 0.5]))
    seen = simulate(story, rng, policy, DARK, "db", "db2")
    assert seen.moved_at is not None
    told = told_of(story, [number * every for number in range(4, int(60 / every))])
    moves = [(now, event) for now, event in told if isinstance(event, ServiceFailedOver)]
    assert len(moves) <= 1
    for now, move in moves:
        assert (move.service, move.from_proxy, move.to_proxy, move.faults) == ("s", "db", "db2", ("db/dark",))
        assert move.at <= now and abs(move.at - seen.moved_at) < 0.15 and move.share >= 0.5
    subjects = [(event.kind, getattr(event, "proxy", "")) for _, event in told]
    assert len(subjects) == len(set(subjects))


def test_a_look_just_after_a_count_tells_a_failover_within_two_seconds() -> None:
    late = []
    for seed in range(20):
        rng = random.Random(seed)
        story = service(phase=rng.random())
        seen = simulate(story, rng, Policy(failover_after=3, timeout=0.5), DARK, "db", "db2")
        told = told_of(story, [number + story.phase + 0.02 for number in range(8, 20)])
        late += [now - seen.moved_at for now, one in told if isinstance(one, ServiceFailedOver) and seen.moved_at]
    assert len(late) >= 18 and max(late) < 2.0


def test_a_recovery_is_told_when_its_seconds_are_counted() -> None:
    story = service()
    story.steady("db", 0, 10)
    for number in range(20):
        story.fail("db", 10.2 + number / 2)
    story.steady("db", 21.5, 40)
    story.steady("db2", 0, 40)
    [(now, told)] = told_of(story, [20.5 + number for number in range(20)])
    assert isinstance(told, ServiceRecovered) and (told.proxy, told.service, told.faults) == ("db", "s", ("db/dark",))
    assert 1.0 <= told.recovered_after_s <= 2.0 and told.at == 20.0 + told.recovered_after_s
    assert now >= told.at + 4


def test_overlapping_faults_tell_one_failover() -> None:
    story = service(added(11.0, "slow"), removed(19.0, "slow"))
    simulate(story, random.Random(1), Policy(failover_after=3, timeout=0.3), DARK, "db", "db2")
    told = [event for _, event in told_of(story, [12.02 + number for number in range(30)])]
    [move] = [one for one in told if isinstance(one, ServiceFailedOver)]
    assert move.faults == ("db/dark",)


def test_a_second_fault_tells_the_next_failover() -> None:
    story = service(added(30.0, "again"), removed(35.0, "again"))
    for begin in (0.0, 20.5):
        story.steady("db", begin, begin + 9.5 if begin else 10)
    for begin in (10.5, 30.5):
        story.fail("db", begin - 0.2)
        story.steady("db2", begin, begin + 9 if begin < 20 else 45)
    told = [event for _, event in told_of(story, [8.32 + number for number in range(35)])]
    assert [one.faults for one in told if isinstance(one, ServiceFailedOver)] == [("db/dark",), ("db/again",)]


def test_a_breaker_is_told_when_it_opens_and_when_it_closes() -> None:
    found = 0
    for seed in range(8):
        story = service()
        policy = Policy(workers=5, breaker=5, open_s=2.0)
        seen = simulate(story, random.Random(seed), policy, DARK, "db")
        told = [event for _, event in told_of(story, [10.32 + number for number in range(30)])]
        opened = [one for one in told if isinstance(one, CircuitOpened)]
        closed = [one for one in told if isinstance(one, CircuitClosed)]
        assert len(opened) == len(closed) <= 1
        for one, other in zip(opened, closed, strict=True):
            found += 1
            assert seen.opened_at is not None and abs(one.at - seen.opened_at) < 0.2 and 1.8 <= one.open_s <= 2.3
            assert seen.closed_at is not None and abs(other.at - seen.closed_at) < 0.2
            assert abs(other.after_s - (other.at - one.at)) < 1e-5
    assert found >= 6


def test_inferred_events_change_nothing() -> None:
    story = service()
    simulate(story, random.Random(3), Policy(failover_after=2), DARK, "db", "db2")
    plain = story.facts(40)
    told = list(claims_of(reactions_of(plain)).values())
    assert told
    other = ServiceRecovered(at=-50.0, proxy="gone", service=None, recovered_after_s=1.0, faults=())
    again = facts_of([*plain.events, *told, other], 40)
    assert (again.events, again.proxies, again.begin) == (plain.events, plain.proxies, plain.begin)
    assert reactions_of(again) == reactions_of(plain)


def test_retries_of_overlapping_faults_are_counted_once() -> None:
    story = service(added(11.0, "slow"), removed(19.0, "slow"))
    simulate(story, random.Random(1), Policy(), DARK, "db")
    assert set(retries_by_episode(reactions_of(story.facts(40)))) == {("db", 10.0)}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(75, 140))
def test_recent_events_make_the_same_claims(seed: int, phase: float, now: float) -> None:
    rng, late = random.Random(seed), Window(("db/late",), ("reset",), frozenset({"db"}), 80.0, 90.0)
    story = service(added(80.0, "late"), removed(90.0, "late"), phase=phase)
    simulate(story, rng, Policy(failover_after=3, timeout=0.3, ends=30.0), DARK, "db", "db2", "10.0.0.1")
    simulate(story, rng, Policy(failover_after=2, ends=120.0), late, "db", "db2", "10.0.0.2")
    facts = story.facts(now)
    some = recent(facts.events, now, 65.0)
    if now > 86:
        assert len(some) < len(facts.events)
    claims = [claims_of(reactions_of(facts_of(one, now), since=now - 65)) for one in (facts.events, some)]
    assert claims[0] == claims[1]
