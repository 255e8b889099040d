"""A trickle lasts longer than the time-out, in pieces that come faster, or there is a reason against it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.probe.trickling import trickle
from chaosproxy.units import parse_duration, parse_size


@given(st.floats(0.02, 60), st.floats(0, 1e7), st.floats(0.1, 600))
def test_an_answer_outlasts_the_time_out_and_no_pause_reaches_it(
    timeout_s: float, answer: float, longest_s: float
) -> None:
    found = trickle(timeout_s, answer, longest_s)
    if isinstance(found, str):
        assert "needs --for" in found or "too short to trickle" in found
        return
    settings, least_s, most_s = found
    size, gap = parse_size(settings["size"]), parse_duration(settings["gap"])
    assert 2 * timeout_s < least_s <= most_s <= longest_s
    assert gap <= 0.51 * timeout_s + 0.001
    assert 1.6 * timeout_s <= answer / size * gap <= 5 * timeout_s


@pytest.mark.parametrize(
    ("answer", "longest_s", "reason"), [(300, 1.0, "needs --for 4 s or more"), (3, 30.0, "answers of 3 bytes are too")]
)
def test_the_reason_says_what_would_help(answer: float, longest_s: float, reason: str) -> None:
    found = trickle(1.0, answer, longest_s)
    assert isinstance(found, str) and reason in found
