"""The client's retry policy, told as transcripts."""

from __future__ import annotations

import pytest

from chaosproxy.demo.policy import Policy, RetryState

POLICY = Policy(first_backoff=0.05, factor=2.0, longest_backoff=0.8, failures_to_fail_over=3)


def test_pauses_double_until_it_fails_over() -> None:
    state = RetryState(POLICY)
    assert [state.failed(), state.failed()] == [0.05, 0.1]
    assert state.failed() == 0.0, "the client turns to the replica at once"
    assert state.role == "replica"


def test_a_reply_ends_the_row_of_failures() -> None:
    state = RetryState(POLICY)
    state.failed()
    state.failed()
    state.responded()
    assert [state.failed(), state.failed()] == [0.05, 0.1]
    assert state.role == "primary"


def test_pauses_are_bounded_where_the_replica_fails_too() -> None:
    state = RetryState(POLICY)
    for _ in range(3):
        state.failed()
    assert [round(state.failed(), 2) for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.8, 0.8]
    assert state.role == "replica", "only a probe leads back"


def test_a_probe_that_is_answered_leads_back_and_begins_a_new_row() -> None:
    state = RetryState(POLICY)
    for _ in range(4):
        state.failed()
    state.primary_is_back()
    assert state.role == "primary"
    assert state.failed() == pytest.approx(0.05)
