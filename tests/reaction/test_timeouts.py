"""Time-outs of clients, from journals in which they are known, and journals in which there are none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.endings import How
from chaosproxy.events import (
    AnswerCut,
    ClientEnded,
    ClientGaveUp,
    ConnectionClosed,
    Event,
    FaultAdded,
    FaultRemoved,
    HalfClosed,
    ServerEnded,
    TurnFailed,
    TurnRepeated,
    TurnsCounted,
)
from chaosproxy.reaction.facts import Facts, facts_of
from chaosproxy.reaction.gave_up import GaveUp, gave_up_of
from chaosproxy.reaction.timeouts import TimeOut, clusters, inferred
from chaosproxy.reaction.waits import Wait
from chaosproxy.reaction.window import windows_of
from tests.reaction.journals import Policy, World


def told(facts: Facts) -> GaveUp:
    return gave_up_of(facts.proxies["db"], windows_of(facts)[0], facts)


def world(seed: int = 1) -> World:
    return World(random.Random(seed))


def wait(opened: float, waited: float, host: str = "h", is_repeated: bool = False) -> Wait:
    return Wait(waited, opened + waited, host, is_repeated)


def test_waits_that_end_at_three_moments_are_a_time_out() -> None:
    (one,) = clusters([wait(0, 1.0), wait(3, 1.004), wait(7, 1.001)])
    assert (one.s, one.count, one.confidence) == (1.001, 3, "sure")
    assert round(one.spread_s, 6) == 0.004
    (one,) = clusters([wait(0, 3.0), wait(4, 3.002)])
    assert (one.count, one.confidence) == (2, "likely")
    assert clusters([wait(0, 1.0)]) == []


def test_late_closers_do_not_move_a_time_out() -> None:
    late = [wait(20.0 + 3 * index, 1.0 + 0.045 * index) for index in range(1, 12)]
    (one,) = clusters([*(wait(3.0 * index, 1.0) for index in range(4)), *late])
    assert one.s == 1.0
    assert one.count == 4


def test_two_policies_are_two_time_outs() -> None:
    found = clusters([*(wait(3.0 * index, 1.0) for index in range(5)), *(wait(4.0 * index, 0.3) for index in range(9))])
    assert [(one.s, one.count) for one in found] == [(0.3, 9), (1.0, 5)]
    assert inferred(found) == 0.3
    assert inferred([]) is None


def test_one_moment_needs_a_client_that_lives_on() -> None:
    together = [wait(0.001 * index, 1.0) for index in range(6)]
    assert clusters(together) == []
    (one,) = clusters([replace(wait, is_repeated=True) for wait in together])
    assert one.confidence == "likely"


def test_scattered_waits_are_none() -> None:
    assert clusters([wait(2.0 * index, 0.1 * 1.3**index) for index in range(18)]) == []


@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from((None, 0.02, 0.5)))
@settings(max_examples=40)
def test_a_killed_process_has_no_time_out(seed: int, connections: int, back_after: float | None) -> None:
    one = world(seed)
    one.killed("h", connections, one.dice.uniform(20.5, 45), back_after)
    assert told(one.facts()).timeouts == ()


@given(st.integers(0, 10_000), st.integers(1, 10), st.sampled_from((1.0, 3.0, 25.0, 30.0)))
@settings(max_examples=40)
def test_the_period_of_a_long_poll_is_no_reaction(seed: int, connections: int, period: float) -> None:
    one = world(seed)
    one.long_polls("h", connections, period)
    assert told(one.facts()).timeouts == ()


def test_a_baseline_with_a_few_such_waits_is_no_reason_for_many() -> None:
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.2))
    events = one.events()
    single = next(event for event in events if isinstance(event, ClientGaveUp))
    assert told(facts_of([*events, replace(single, at=5.0, faults=())])).inferred_timeout_s is not None


def test_without_a_time_out_the_longest_wait_is_told() -> None:
    one = world()
    one.client(Policy(timeout_s=None), "h", think=one.thinking(0.1, 0.2))
    found = told(one.facts())
    assert (found.count, found.timeouts, found.min_s, found.p50_s) == (0, (), None, None)
    assert found.waiting is not None
    assert (found.waiting.turns, found.none_within_s) == (1, found.waiting.longest_s)
    assert 28.0 < found.waiting.longest_s <= 30.0


def test_nothing_is_known_of_a_client_whose_end_a_fault_held_until_its_answer_came() -> None:
    """The answer is sent to a socket that may be closed long since; a reset would come too late to be seen."""
    one = world()
    one.client(Policy(timeout_s=None), "h", think=one.thinking(0.1, 0.2))
    ended = ClientEnded(
        at=33.0, proxy="db", connection=1, how="fin", after_s=33.0, held_by="stall-1", error="", bytes_upstream=9,
        bytes_downstream=9,
    )  # fmt: skip
    released = HalfClosed(at=50.001, proxy="db", connection=1, turn=9, client="h:1", digest="")
    found = told(facts_of([*one.events(), ended, released], one.end))
    assert (found.count, found.unclear, found.none_within_s) == (0, 1, None)
    before = told(facts_of([*one.events(), replace(ended, at=19.0), released], one.end))
    assert (before.unclear, before.none_within_s is None) == (0, False)


def test_only_give_ups_that_a_fault_has_touched_count_for_a_time_out() -> None:
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    events: list[Event] = [
        replace(event, faults=()) if isinstance(event, ClientGaveUp) else event for event in one.events()
    ]
    assert told(facts_of(one.events())).timeouts[0].confidence == "sure"
    assert told(facts_of(events)).timeouts == ()


def test_a_pipelined_conversation_has_no_time_out() -> None:
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    events = [replace(event, shape="pipelined") if isinstance(event, ClientGaveUp) else event for event in one.events()]
    assert told(facts_of(events)).timeouts == ()


def test_waiting_for_the_connection_is_a_kind_of_its_own() -> None:
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    events = [
        replace(event, waiting_for="connect", faults=()) if isinstance(event, ClientGaveUp) else event
        for event in one.events()
    ]
    assert [found.kind for found in told(facts_of(events)).timeouts] == ["connect"]


def test_a_server_that_ends_first_has_the_time_out() -> None:
    one = world()
    one.client(Policy(timeout_s=2.0), "h", think=one.thinking(0.1, 0.9))
    events = [
        TurnFailed(
            at=event.at, proxy="db", connection=event.connection, turn=event.turn, client=event.client, digest="d",
            reason="server_closed", waited_s=event.waited_s, faults=event.faults, shape="turns",
        ) if isinstance(event, ClientGaveUp) else event
        for event in one.events()
    ]  # fmt: skip
    found = told(facts_of(events))
    assert (found.count, found.timeouts) == (0, ())
    assert [round(claim.s, 1) for claim in found.server_timeouts] == [2.0]


def test_a_deadline_over_several_attempts() -> None:
    """Each call has 5 s in all; its attempts end after different times."""
    dice = random.Random(3)
    events: list[Event] = [added("stall", 10.0, "stall"), removed("stall", 90.0, "stall")]
    connection = 0
    for call in range(5):
        begin = at = 11.0 + 12 * call + dice.random()
        before = None
        while at < begin + 5.0:
            connection += 1
            end = min(at + dice.uniform(0.7, 1.9), begin + 5.0 + dice.uniform(0.0, 0.003))
            about = {"proxy": "db", "connection": connection, "turn": 1, "client": f"h:{connection}"}
            if before is not None:
                events.append(TurnRepeated(
                    at=at, of_proxy="db", of_connection=before[0], of_turn=1, gap_s=at - before[1], attempt=2,
                    digest=f"call {call}", **about,  # type: ignore[arg-type]  # a mapping of texts and numbers
                ))  # fmt: skip
            events.append(ClientGaveUp(
                at=end, waiting_for="answer", waited_s=end - at, quiet_s=end - at, how="fin", faults=("stall",),
                digest=f"call {call}", **about,  # type: ignore[arg-type]  # a mapping of texts and numbers
            ))  # fmt: skip
            before = connection, end
            at = end + 0.1
    found = told(facts_of([TurnsCounted(at=0.0, proxy="db", seconds=1.0), *events]))
    assert found.deadline is not None
    assert (found.deadline.kind, round(found.deadline.s, 1), found.deadline.count) == ("total", 5.0, 5)
    steady = world()
    steady.client(Policy(timeout_s=1.0, law="constant", attempts=3), "h", think=steady.thinking(0.1, 0.9))
    assert told(steady.facts()).deadline is None, "equal attempts add up to equal calls"


def added(fault: str, at: float, kind: str) -> FaultAdded:
    return FaultAdded(at=at, proxy="db", fault=fault, type=kind, effective_mode="", mode_reason="", by="rest")


def removed(fault: str, at: float, kind: str) -> FaultRemoved:
    return FaultRemoved(at=at, proxy="db", fault=fault, type=kind, by="rest")


def closed(at: float, lasted: float) -> ConnectionClosed:
    return ConnectionClosed(
        at=at, proxy="db", connection=int(10 * at), client="h:1", cause="client", how="fin", fault="", error="",
        first="client",
        client_ended_s=lasted, server_ended_s=None, detail="", lasted_s=lasted, bytes_upstream=9, bytes_downstream=9,
    )  # fmt: skip


def kinds(lasted: float, usual: float = 0.01) -> list[TimeOut]:
    """Return the time-outs of clients whose connections last so long while bytes trickle."""
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    trickle = [added("slow", 60.0, "bandwidth"), removed("slow", 90.0, "bandwidth")]
    ends = [closed(70.0 + 2 * index, lasted) for index in range(5)]
    facts = facts_of([*one.events(), *(closed(5.0 + index, usual) for index in range(9)), *trickle, *ends])
    return list(told(facts).timeouts)


def test_a_deadline_ends_a_trickle_and_a_read_time_out_does_not() -> None:
    assert [one.kind for one in kinds(1.0)] == ["total"]
    assert [one.kind for one in kinds(3.0)] == ["read"]
    assert [one.kind for one in kinds(0.2)] == ["unknown"], "none lasted long enough"
    assert [one.kind for one in kinds(3.0, usual=20.0)] == ["unknown"], "connections are kept"
    alone = world()
    alone.client(Policy(timeout_s=1.0), "h", think=alone.thinking(0.1, 0.9))
    assert [one.kind for one in told(alone.facts()).timeouts] == ["unknown"]


def kinds_of_kept(cut: list[float], longest: list[float], quiet: float = 0.1, age: float = 5.0) -> list[str]:
    """Return the kinds of a time-out of 1 s; clients that keep their connections cut answers after such times.

    `quiet` is their silence before, and `age` that of the trickle at the first answer.
    """
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    events: list[Event] = [added("slow", 60.0, "slicer"), *(closed(5.0 + index, 20.0) for index in range(9))]
    events += [
        AnswerCut(
            at=62.0 + index, proxy="db", connection=90 + index, turn=7, client="h:1", digest="d", waited_s=waited_s,
            quiet_s=quiet, how="fin",
        )
        for index, waited_s in enumerate(cut)
    ]  # fmt: skip
    events += [
        TurnsCounted(at=60.0 + age + index, proxy="db", seconds=1.0, longest_answer_s=longest_s)
        for index, longest_s in enumerate(longest)
    ]
    return [one.kind for one in told(facts_of([*one.events(), *events, removed("slow", 90.0, "slicer")])).timeouts]


def test_kinds_of_clients_that_keep_their_connections() -> None:
    assert kinds_of_kept([1.0, 1.01, 0.99], [0.9, 0.8]) == ["total"]
    assert kinds_of_kept([], [1.5, 2.5, 1.4]) == ["read"]
    assert kinds_of_kept([1.0, 1.01], [0.9]) == ["unknown"], "too few"
    assert kinds_of_kept([], [1.5, 2.5]) == ["unknown"], "too few"
    assert kinds_of_kept([1.0, 1.01, 0.99], [1.5]) == ["unknown"], "one answer lasted longer"
    assert kinds_of_kept([2.0, 2.01, 1.99], [0.9]) == ["unknown"], "they ended for another reason"
    assert kinds_of_kept([1.0, 1.01, 0.99], [], quiet=0.99) == ["unknown"], "a time-out of silence ends them too"
    assert kinds_of_kept([], [30.0, 31.0, 32.0]) == ["unknown"], "a stream that was opened before"


def test_a_trickle_after_the_window_counts_before_an_earlier_one() -> None:
    """The clients may have been others, or have had other settings."""
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    before: list[Event] = [added("older", 2.0, "slicer"), *(closed(6.0 + 2 * index, 3.0) for index in range(5))]
    before += [removed("older", 15.0, "slicer"), *(closed(0.2 + 0.2 * index, 0.01) for index in range(9))]
    after: list[Event] = [added("slow", 60.0, "slicer"), *(closed(70.0 + 2 * index, 1.0) for index in range(5))]
    after += [removed("slow", 90.0, "slicer")]

    def kinds_with(events: list[Event]) -> list[str]:
        facts = facts_of([*one.events(), *events])
        [stall] = [window for window in windows_of(facts) if window.types == ("stall",)]
        return [found.kind for found in gave_up_of(facts.proxies["db"], stall, facts).timeouts]

    assert kinds_with(before) == ["read"], "there is no other"
    assert kinds_with([*before, *after]) == ["total"]


def after_server(number: int, lasted: float, how: How) -> list[Event]:
    """Return the end of a connection whose server closed at once behind a held answer, and whose client ended so."""
    at = 70.0 + 2 * number
    end = closed(at, lasted)
    return [
        ServerEnded(
            at=at - lasted, proxy="db", connection=number, how="fin", after_s=0.001, held_by="slow", error="",
            bytes_upstream=9, bytes_downstream=9,
        ),
        ClientEnded(
            at=at, proxy="db", connection=number, how=how, after_s=lasted, held_by=None, error="", bytes_upstream=9,
            bytes_downstream=9,
        ),
        replace(end, connection=number, first="server", cause="server", server_ended_s=0.001),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lasted", "how", "kind"),
    [(1.0, "reset", "total"), (3.0, "fin", "read"), (1.0, "fin", "unknown")],
    ids=["cut", "whole", "whole, and as long as the time-out by chance"],
)
def test_a_deadline_also_cuts_answers_of_a_server_that_closes_after_them(lasted: float, how: How, kind: str) -> None:
    one = world()
    one.client(Policy(timeout_s=1.0), "h", think=one.thinking(0.1, 0.9))
    trickle = [added("slow", 60.0, "bandwidth"), removed("slow", 90.0, "bandwidth")]
    ends = [event for number in range(1, 6) for event in after_server(number, lasted, how)]
    facts = facts_of([*one.events(), *(closed(5.0 + index, 0.01) for index in range(9)), *trickle, *ends])
    assert [found.kind for found in told(facts).timeouts] == [kind]


def test_policies_of_one_busy_host_are_told_apart() -> None:
    one = world()
    for index in range(30):
        policy = Policy(timeout_s=1.0 if index % 2 else 3.0)
        one.client(policy, "h", think=one.thinking(0.1, 0.9), start=0.01 * index)
    one.killed("h", 30, 33.0, None)
    assert [round(found.s, 1) for found in told(one.facts()).timeouts] == [1.0, 3.0]


@given(st.integers(0, 10_000), st.integers(5, 30))
@settings(max_examples=30)
def test_a_client_restarted_by_hand_again_and_again_has_no_time_out(seed: int, connections: int) -> None:
    one = world(seed)
    at = 0.0
    while at < 55.0:
        until = at + one.dice.uniform(4.0, 6.0)
        for _ in range(connections):
            one.client(
                Policy(timeout_s=None), "h", think=one.thinking(0.0, 0.3), until=until + one.dice.uniform(0.0, 0.003),
                start=at + one.dice.uniform(0.0, 0.4),
            )  # fmt: skip
        at = until + 0.2
    assert told(one.facts()).timeouts == ()
