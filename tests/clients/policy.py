"""Checks of what chaosproxy tells about a client, against the client's settings and its own log."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tests.clients.stage import Told

__all__ = ["assert_kept_out", "assert_no_false_claim", "assert_recovered", "assert_rhythm", "assert_timeouts"]

NEAR_S = 0.1
"""Seconds within which a time must be that of the log."""


def is_near(told_s: float, s: float) -> bool:
    """Whether a time-out is right: within 5 %, or 20 ms below 400 ms."""
    return abs(told_s - s) <= (0.05 * s if s >= 0.4 else 0.02)


def assert_timeouts(told: Told, possible: Sequence[float], is_claimed: bool, kinds: Sequence[str]) -> None:
    """Each time-out that is told is one of the client's; `is_claimed`: one at least is told, and sure."""
    timeouts = told.proxy["gave_up"]["timeouts"]
    wrong = [one for one in timeouts if not any(is_near(one["s"], s) for s in possible) or one["kind"] not in kinds]
    assert wrong == [], told.story
    if is_claimed:
        assert any(one["confidence"] == "sure" for one in timeouts), told.story


def assert_rhythm(
    told: Told, law: str | None, first_s: float | None, factor: float | None, cap_s: float | None,
    is_claimed: bool = True,
) -> None:  # fmt: skip
    """The back-off that is told is the client's; None as the law: none may be told.

    `is_claimed` False: none need be told, since a busy machine may make a gap too long.
    """
    retries = told.proxy["retries"]
    if retries["backoff"] is None and not is_claimed:
        return
    assert retries["backoff"] == law, told.story
    if law is not None:
        assert retries["jittered"] is False
        for name, value in (("first_gap_s", first_s), ("factor", factor), ("cap_s", cap_s)):
            assert retries[name] == (None if value is None else pytest.approx(value, rel=0.1)), (name, told.story)


def assert_recovered(told: Told, early_s: float = 0.0) -> None:
    """The first good turn is that of the log, and so is the recovery, if no call failed after the heal.

    It may be `early_s` before the log's, where a client connects before it has work.

    A call that began before the heal may succeed with an attempt made after it, or with an answer that the fault held;
    only the former is a good turn. So the truth lies between the first call that succeeded, and the first that began.
    """
    recovery = told.proxy["recovery"]
    assert recovery is not None, told.story
    first = min((one.at for one in told.lines if one.error is None and one.at >= told.ended), default=None)
    begun = min((one.at for one in told.since() if one.error is None), default=None)
    if first is None or begun is None:
        assert recovery["recovered_after_s"] is None, told.story
        return
    earliest, latest = first - told.ended - NEAR_S - early_s, begun - told.ended + NEAR_S
    assert earliest <= recovery["first_good_turn_s"] <= latest, told.story
    if recovery["recovered_after_s"] is None or any(one.error is not None for one in told.since()):
        return
    # It is read from whole seconds, and a few slow turns in a second of a busy machine are no recovery.
    if recovery["recovered_after_s"] != recovery["p99_s"]:
        assert earliest <= recovery["recovered_after_s"] <= latest + 2.0, told.story


def assert_kept_out(told: Told, workers: int) -> None:
    """The attempts that a fault kept out are those that failed in the log, less one for each connection that it ended.

    The call that finds its connection reset fails without an attempt. Calls that are under way when the fault begins
    or ends may be on either side.
    """
    failed = sum(one.error is not None for one in told.during())
    found = [re.search(r"(\d+) attempts? to connect failed", line) for line in told.story]
    [number] = [int(one[1]) for one in found if one is not None]
    assert failed - 2 * workers <= number <= failed + workers, (failed, told.story)


def assert_no_false_claim(told: Told) -> None:
    """No breaker, no double effects without an answer, and no retry of a client that makes new work of each call."""
    assert told.proxy["circuit_breaker"] is None, told.story
    assert told.proxy["gave_up"]["none_within_s"] is None or told.proxy["gave_up"]["count"] == 0
