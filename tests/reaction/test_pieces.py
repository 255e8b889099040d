"""Pieces of work in a chain of attempts."""

from __future__ import annotations

from chaosproxy.reaction.pieces import are_equal, pieces_of


def test_work_begun_again_with_the_same_bytes_is_split() -> None:
    assert pieces_of([0.1, 0.2, 0.4, 3.0, 0.1, 0.2, 0.4]) == [[0.1, 0.2, 0.4], [0.1, 0.2, 0.4]]
    assert pieces_of([0.1, 0.1, 0.9, 0.1, 0.1, 2.0, 0.1]) == [[0.1, 0.1], [0.1, 0.1], [0.1]]
    assert pieces_of([0.1, 0.2, 0.4, 0.8, 0.8]) == [[0.1, 0.2, 0.4, 0.8, 0.8]]
    assert pieces_of([0.1, 0.2, 0.4, 0.8, 0.1, 0.2, 0.4]) is None, "0.8 s may be a gap of the law"


def test_a_few_gaps_that_agree_may_be_jitter() -> None:
    assert pieces_of([0.30, 0.40, 0.31, 0.41, 0.29]) is None
    assert pieces_of([0.30, 0.90, 0.31, 0.95, 0.29]) == [[0.30], [0.31], [0.29]]


def test_gaps_are_equal_within_a_share_or_a_moment() -> None:
    assert are_equal([1.0, 1.1, 1.14])
    assert not are_equal([1.0, 1.3])
    assert are_equal([0.001, 0.009])
