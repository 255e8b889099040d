"""The law of gaps between attempts."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.reaction.backoff import backoff_of
from tests.reaction.journals import Law, Policy


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


def test_two_equal_gaps_of_a_single_sequence_are_no_cap() -> None:
    """With jitter, two gaps that grow by a tenth may be equal."""
    growing = [0.5, 1.0, 1.5, 2.0, 2.5]
    alone = backoff_of([[*growing, 3.0, 3.0, 3.0]])
    assert alone is not None and alone.cap_s == 3.0
    two = backoff_of([[*growing, 3.0, 3.0]])
    assert two is None or two.cap_s is None


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


def test_jitter_that_is_added_hides_the_factor() -> None:
    dice = random.Random(1)
    added = [[0.1 * 2**index + dice.uniform(0, 0.1) for index in range(4)] for _ in range(15)]
    assert backoff_of(added, are_whole=True) is None, "its medians have the ratio 1.8, and the factor is 2"


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


def test_laws_are_claimed_rightly_despite_jitter() -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for seed in range(3000):
        dice = random.Random(seed)
        law: Law = dice.choice(("constant", "linear", "exponential"))
        policy = Policy(
            law=law, first_s=dice.uniform(0.05, 0.5), step_s=dice.uniform(0.05, 0.5), factor=dice.uniform(1.4, 3.5),
            jitter=dice.choice((0.0, 0.05, 0.1, 0.2, 0.5)), has_full_jitter=dice.random() < 0.1,
            cap_s=dice.choice((None, None, dice.uniform(0.5, 4.0))),
        )  # fmt: skip
        found = backoff_of(sequences(policy, dice.choice((2, 3, 8, 30)), dice.randint(3, 7), seed), are_whole=True)
        if found is not None:
            is_factor = found.factor is None or abs(found.factor / policy.factor - 1) <= 0.1
            is_right = found.law == law and is_factor
            counts[f"{found.confidence} {'right' if is_right else 'wrong'}"] += 1
            if not is_right:
                wrong.append(f"seed {seed}: {found}, not {policy}")
        elif law == "exponential" and not policy.jitter and not policy.has_full_jitter and policy.cap_s is None:
            counts["missed"] += 1
    assert counts["sure wrong"] == 0, (counts, wrong)
    assert counts["likely right"] >= 0.98 * (counts["likely right"] + counts["likely wrong"]), (counts, wrong)
    assert counts["sure right"] >= 900, counts
    assert counts["missed"] <= 5, counts
