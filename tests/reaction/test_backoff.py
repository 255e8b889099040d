"""The law of gaps between attempts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.reaction.backoff import backoff_of
from tests.reaction.journals import Policy


def sequences(policy: Policy, number: int, gaps: int, seed: int = 0) -> list[list[float]]:
    dice = random.Random(seed)
    return [[policy.gap(index, dice) for index in range(gaps)] for _ in range(number)]


@pytest.mark.parametrize(
    ("gaps", "law"),
    [
        ((0.001, 0.002, 0.0), "none"),
        ((0.5, 0.52, 0.51), "constant"),
        ((0.1, 0.2, 0.3, 0.4), "linear"),
        ((0.1, 0.2, 0.4), "exponential"),
        ((0.0, 0.2, 0.4, 0.8), "exponential"),
        ((0.1, 0.2, 0.3), None),  # an exponential law with a cap looks the same
        ((0.1, 0.2), None),
        ((0.1, 0.9, 0.2, 0.3), None),
        ((0.1, 0.15, 0.12, 0.2), None),
    ],
)
def test_laws(gaps: tuple[float, ...], law: str | None) -> None:
    found = backoff_of([gaps, gaps, gaps])
    assert (None if found is None else found.law) == law
    if found is not None:
        assert (found.confidence, found.jittered, found.first_gap_s) == ("sure", False, gaps[0])


def test_a_single_sequence_must_be_long() -> None:
    assert backoff_of([[0.1, 0.2, 0.4, 0.8]]) is None
    found = backoff_of([[0.1, 0.2, 0.4, 0.8, 1.6]])
    assert found is not None
    assert (found.law, found.confidence) == ("exponential", "likely")


def test_the_cap_ends_the_growth() -> None:
    found = backoff_of([[0.1, 0.2, 0.4, 0.8, 1.0, 1.0]] * 2)
    assert found is not None
    assert (found.cap_s, found.factor) == (1.0, pytest.approx(2.0))


def test_sequences_that_were_cut_count_as_far_as_they_go() -> None:
    found = backoff_of([[0.1, 0.2, 0.4, 0.8], [0.1, 0.2], [0.1, 0.2, 0.4]])
    assert found is not None
    assert (found.law, found.sequences) == ("exponential", 2)


@given(
    st.floats(0.1, 2.0), st.floats(1.6, 3.5), st.integers(2, 6), st.integers(4, 7), st.integers(0, 1000),
)  # fmt: skip
def test_the_factor_is_right(first: float, factor: float, number: int, gaps: int, seed: int) -> None:
    found = backoff_of(sequences(Policy(law="exponential", first_s=first, factor=factor), number, gaps, seed))
    assert found is not None
    assert (found.law, found.factor) == ("exponential", pytest.approx(factor, rel=0.1))


@pytest.mark.parametrize("has_full_jitter", [False, True])
def test_jitter_needs_many_sequences(has_full_jitter: bool) -> None:
    policy = Policy(law="exponential", jitter=0.4, has_full_jitter=has_full_jitter)
    assert backoff_of(sequences(policy, 4, 5), are_whole=True) is None
    assert backoff_of(sequences(policy, 200, 5), are_whole=False) is None
    found = backoff_of(sequences(policy, 200, 5), are_whole=True)
    assert found is not None
    assert (found.law, found.jittered, found.factor) == ("exponential", True, pytest.approx(2.0, rel=0.1))


def test_jitter_about_a_constant() -> None:
    found = backoff_of(sequences(Policy(law="constant", jitter=0.4), 60, 5), are_whole=True)
    assert found is not None
    assert (found.law, found.jittered) == ("constant", True)


@given(
    st.integers(0, 10_000), st.integers(6, 60), st.sampled_from((0.1, 0.2, 0.5)), st.sampled_from((0.1, 0.3)),
    st.integers(3, 6),
)  # fmt: skip
def test_jitter_never_makes_a_law_of_another(seed: int, number: int, jitter: float, first: float, gaps: int) -> None:
    policy = Policy(law="linear", first_s=first, step_s=0.2, jitter=jitter)
    found = backoff_of(sequences(policy, number, gaps, seed), are_whole=True)
    assert found is None or found.law == "linear"
