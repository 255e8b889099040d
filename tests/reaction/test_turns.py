"""Counts of turns in a time."""

from __future__ import annotations

import pytest

from chaosproxy.events import ClientGaveUp, FaultAdded, FaultRemoved, TurnFailed, TurnsCounted
from chaosproxy.quantiles import count
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.turns import turns_in, turns_of
from chaosproxy.reaction.window import windows_of


def failed(at: float) -> TurnFailed:
    return TurnFailed(
        at=at, proxy="db", connection=1, turn=1, client="h:1", digest="d", reason="server_reset", waited_s=0.1
    )


def test_the_turns_of_a_window_are_those_counted_in_it() -> None:
    facts = facts_of([
        TurnsCounted(at=9.0, proxy="db", seconds=1.0, answered=7, felt=count([0.5] * 7), open=3),
        FaultAdded(at=10.0, proxy="db", fault="f", type="stall", effective_mode="", mode_reason="", by="rest"),
        TurnsCounted(at=11.0, proxy="db", seconds=1.0, answered=99, felt=count([0.01] * 99), opened=2, open=4,
                     longest_open_s=0.9),
        *(failed(10.5 + number) for number in range(5)),
        TurnsCounted(at=20.0, proxy="db", seconds=1.0, answered=1, felt=count([2.0]), failed=5, open=1),
        FaultRemoved(at=20.0, proxy="db", fault="f", type="stall", by="rest"),
        failed(20.5),
        TurnsCounted(at=21.0, proxy="db", seconds=1.0, answered=5, felt=count([0.01] * 5), failed=1),
    ])  # fmt: skip
    turns = turns_of(facts.proxies["db"], facts, windows_of(facts)[0])
    assert (turns.answered, turns.failed, turns.opened, turns.open, turns.most_open) == (100, 5, 2, 1, 4)
    assert turns.seconds == 10.0
    assert turns.longest_open_s == 0.9
    assert turns.felt_p50_s == pytest.approx(0.01, rel=0.02)
    assert turns.felt_p99_s == pytest.approx(0.01, rel=0.02)
    whole = turns_of(facts.proxies["db"], facts)
    assert (whole.answered, whole.failed, whole.open) == (112, 6, 0)


def test_a_give_up_belongs_to_its_own_time_although_it_is_counted_when_it_is_certain() -> None:
    gave_up = ClientGaveUp(
        at=12.0, proxy="db", connection=1, turn=1, client="h:1", digest="d", waiting_for="answer", waited_s=1.0,
        quiet_s=1.0, how="fin",
    )  # fmt: skip
    facts = facts_of([gave_up, TurnsCounted(at=31.0, proxy="db", seconds=1.0, gave_up=1)])
    proxy = facts.proxies["db"]
    assert [turns_in(proxy, [span]).failed for span in (Span(10.0, 30.0), Span(30.0, 31.0))] == [1, 0]


def test_there_is_no_time_felt_without_answers() -> None:
    facts = facts_of([TurnsCounted(at=5.0, proxy="db", seconds=1.0, open=2)])
    turns = turns_of(facts.proxies["db"], facts)
    assert (turns.felt_p50_s, turns.felt_p99_s, turns.open) == (None, None, 2)
