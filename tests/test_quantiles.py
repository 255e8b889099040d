"""Quantiles of durations that were counted in buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.quantiles import bucket_of, count, quantile, seconds_of, share_above


@given(st.floats(1e-6, 1e4))
def test_the_middle_of_a_bucket_is_near_each_of_its_values(seconds: float) -> None:
    assert seconds_of(bucket_of(seconds)) == pytest.approx(seconds, rel=0.0202)


@given(st.lists(st.floats(1e-6, 1e4), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_near_that_of_the_durations(durations: list[float], share: float) -> None:
    exact = sorted(durations)[math.ceil(len(durations) * share) - 1]
    assert quantile(count(durations), share) == pytest.approx(exact, rel=0.0245)


@given(st.lists(st.floats(0, 1e4) | st.sampled_from([1e-6, 1.04e-6, 2e-6])))
def test_counting_is_as_bucket_by_bucket(durations: list[float]) -> None:
    counts = count(durations)
    assert sum(counts.values()) == len(durations)
    nearest = [min(abs(bucket - bucket_of(one)) for one in durations) for bucket in counts]
    assert all(distance <= 1 for distance in nearest), "one near the bound of two buckets may be in either"


def test_without_durations_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert share_above({}, 1.0) == 0.0
    assert bucket_of(0.0) == 0 and quantile({0: 3}, 0.5) == 1e-6


def test_the_share_above_a_limit() -> None:
    assert share_above(count([0.1, 0.2, 1.0, 2.0]), 0.5) == 0.5
