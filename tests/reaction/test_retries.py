"""Retries and reconnects, from journals in which they are known."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from chaosproxy.events import AnswerLate, ClientGaveUp, Event, FaultAdded, ProxyAdded, TurnRepeated
from chaosproxy.reaction.chains import chains_of
from chaosproxy.reaction.facts import Facts, facts_of
from chaosproxy.reaction.reactions import reactions_of
from chaosproxy.reaction.retries import Retries, retries_of
from chaosproxy.reaction.window import windows_of
from tests.reaction.journals import Policy, World

STEADY = Policy(timeout_s=0.3, law="exponential", first_s=0.1, factor=2.0, attempts=4)


def told(facts: Facts) -> Retries:
    return retries_of(facts.proxies["db"], windows_of(facts)[0], facts)


def world(policy: Policy, workers: int = 1, same: str = "", handshake: str = "", pause: float = 1.5) -> World:
    one = World(random.Random(1))
    for index in range(workers):
        one.client(policy, f"h{index}", think=one.thinking(pause, pause + 1.0), same=same, handshake=handshake)
    return one


@pytest.mark.parametrize("same", ["", "select 1"])
def test_retries_of_work_with_its_own_or_with_the_same_bytes(same: str) -> None:
    found = told(world(STEADY, same=same).facts())
    assert found.backoff is not None
    assert (found.backoff.law, found.backoff.confidence, found.backoff.jittered) == ("exponential", "sure", False)
    assert found.backoff.factor == pytest.approx(2.0, rel=0.1)
    assert found.backoff.first_gap_s == pytest.approx(0.1, abs=0.01)
    assert found.attempts_max == 4
    assert found.surrendered >= 2
    assert found.reconnects == 0
    assert found.amplification is not None
    assert 3.0 < found.amplification <= 4.0


def test_a_handshake_is_a_reconnect() -> None:
    found = told(world(STEADY, handshake="hello").facts())
    assert found.reconnects >= 6
    assert found.backoff is None
    assert found.reconnect_backoff is not None
    assert found.reconnect_backoff.law == "exponential"


def test_in_http_there_is_no_handshake() -> None:
    events = world(STEADY, handshake="hello").events()
    http = [replace(one, protocol="http") if isinstance(one, ProxyAdded) else one for one in events]
    assert told(facts_of(http)).reconnects == 0


@pytest.mark.parametrize(("pause", "start"), [(0.02, 0.0), (1.0, 0.0), (0.1, 14.0), (0.5, 16.0)])
def test_a_client_that_goes_on_as_always_does_not_retry(pause: float, start: float) -> None:
    """It may have begun shortly before the fault. What it sends again is no repetition of work."""
    one = World(random.Random(1))
    one.client(Policy(timeout_s=0.3), "h", think=lambda: pause, same="ping", start=start)
    events = [replace(one, answer_arrived=True) if isinstance(one, ClientGaveUp) else one for one in one.events()]
    found = told(facts_of(events))
    assert found.retries > 5
    assert (found.backoff, found.attempts_max, found.amplification) == (None, None, None)
    assert found.double_effects == 0


def test_a_client_with_a_constant_gap_of_its_own_retries() -> None:
    found = told(world(Policy(timeout_s=0.3, law="constant", first_s=0.5), same="ping").facts())
    assert found.backoff is not None
    assert (found.backoff.law, found.attempts_max) == ("constant", None)


def test_without_repetitions_nothing_is_claimed_over_tcp() -> None:
    found = told(world(Policy(timeout_s=0.3)).facts())
    assert (found.retries, found.backoff, found.attempts_max, found.amplification) == (0, None, None, None)


def test_equal_bytes_of_several_clients_are_not_clear() -> None:
    one = World(random.Random(1))
    for _ in range(4):
        one.client(STEADY, "h", think=one.thinking(0.1, 2.0), same="select 1")
    facts = one.facts()
    chains = chains_of(facts.proxies["db"], windows_of(facts)[0], facts)
    assert not all(chain.is_clear for chain in chains)
    found = told(facts)
    assert found.attempts_max is None
    assert found.backoff is None or found.backoff.law == "exponential"


def test_retries_of_answered_work_have_double_effects() -> None:
    events: list[Event] = list(world(STEADY).events())
    gave_up = [event for event in events if isinstance(event, ClientGaveUp)]
    assert told(facts_of(events)).double_effects == 0
    first, second = gave_up[0], gave_up[1]
    arrived = [replace(event, answer_arrived=True) if event is first else event for event in events]
    late = AnswerLate(
        at=second.at + 0.1, proxy="db", connection=second.connection, turn=second.turn, client=second.client,
        digest=second.digest, waited_s=second.waited_s, late_s=0.1,
    )  # fmt: skip
    assert told(facts_of([*arrived, late])).double_effects == 2


def test_clients_that_retry_together_are_a_herd() -> None:
    one = World(random.Random(1))
    for index in range(6):
        one.client(Policy(timeout_s=0.5, law="constant", first_s=1.0), "h", think=lambda: 0.01, same=f"work {index}")
    herd = told(one.facts()).herd
    assert herd is not None
    assert (herd.times >= 10, herd.most) == (True, 6)
    assert told(world(STEADY, workers=6).facts()).herd is None


def test_a_client_that_closes_a_connection_only_when_it_tries_again_has_one_time_out() -> None:
    """As urllib3 does: it notices the time-out of 0.3 s, pauses, and closes the old connection with the new attempt."""
    events: list[Event] = [
        ProxyAdded(at=0.0, proxy="db", listen="l", upstream="u", by="file"),
        FaultAdded(at=10.0, proxy="db", fault="f", type="stall", effective_mode="", mode_reason="", by="rest"),
    ]
    connection = 0
    for call in range(4):
        at = 10.5 + 4.0 * call
        for number, pause in enumerate((0.0, 0.1, 0.2, 0.4, 0.8, 0.0)):
            connection += 1
            about = {"proxy": "db", "connection": connection, "turn": 1, "client": "h:1", "digest": f"call {call}"}
            if number:
                events.append(
                    TurnRepeated(at=at, of_proxy="db", of_connection=connection - 1, of_turn=1, gap_s=0.0005,
                                 attempt=number + 1, **about)  # type: ignore[arg-type]  # both texts and numbers
                )  # fmt: skip
            waited = 0.3 + pause + 0.001 * call
            at += waited
            events.append(
                ClientGaveUp(at=at, waiting_for="answer", waited_s=waited, quiet_s=waited, how="fin", faults=("f",),
                             shape="turns", **about)  # type: ignore[arg-type]  # both texts and numbers
            )  # fmt: skip
    facts = facts_of(events, end=40.0)
    [told] = reactions_of(facts).windows[0].proxies
    assert [round(one.s, 2) for one in told.gave_up.timeouts] == [0.3] and told.gave_up.closed_late_s is not None
    backoff = told.retries.backoff
    assert backoff is not None and (backoff.law, backoff.confidence) == ("exponential", "likely")
    assert backoff.factor == pytest.approx(2.0, rel=0.02)
