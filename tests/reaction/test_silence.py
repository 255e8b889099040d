"""Clusters of attempts, and faults that hide attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.reaction.attempts import FailedAttempt
from chaosproxy.reaction.silence import SILENT_S, clusters, hides_clients, is_waiting
from tests.reaction.counted import Story, window


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 3)), min_size=1))
def test_clusters_hold_each_attempt_once_with_silences_between(times: list[tuple[float, float]]) -> None:
    failed = [FailedAttempt(at, at + waited, "h", None, False) for at, waited in times]
    found = clusters(failed, [])
    assert sum(one.failures for one in found) == len(times)
    assert all(b.begin - a.end >= SILENT_S for a, b in zip(found, found[1:], strict=False))
    assert all(seconds < SILENT_S for one in found for _, seconds in one.idle)
    assert all(one.begin <= f.opened and f.ended <= one.end for one in found for f in one.failed)


@pytest.mark.parametrize(
    "type, mode, hides",
    [
        ("reset", "", False), ("unreachable", "packet", True), ("pause", "", True), ("slow_accept", "", True),
        ("packet_loss", "packet", True), ("packet_loss", "stream", False), ("packet_loss", None, True),
    ],
)  # fmt: skip
def test_faults_that_may_hide_attempts(type: str, mode: str | None, hides: bool) -> None:
    story = Story()
    story.proxy("db")
    if mode is not None:
        story.fault("db", 5.0, type, mode)
    facts = story.facts(9)
    assert hides_clients(facts, window(5, 8, "db", type=type), facts.proxies["db"]) is hides


def test_an_unanswered_attempt_shows_that_clients_wait_unseen() -> None:
    story = Story()
    story.proxy("db")
    story.refuse("db", 6.0, met="unanswered")
    facts = story.facts(9)
    assert hides_clients(facts, window(5, 8, "db"), facts.proxies["db"])
    assert not hides_clients(facts, window(7, 8, "db"), facts.proxies["db"])


def test_an_open_turn_explains_a_silence() -> None:
    story = Story()
    story.proxy("db")
    story.good("db", 6.5, felt=4.0)
    db = story.facts(9).proxies["db"]
    assert is_waiting(db, 2.6, 6.0) and not is_waiting(db, 6.5, 9.0)
