"""The pieces of work in a chain of attempts, split by the gaps between them. Pure arithmetic on sequences of seconds.

A client may give up its work, and begin other work with the same bytes. Its attempts are then one chain. The gaps of a
policy are the same in each piece, and the pauses between pieces are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["AT_ONCE_S", "SPREAD", "are_equal", "pieces_of"]

AT_ONCE_S = 0.01
"""Seconds below which an attempt follows at once, and within which gaps are equal."""
SPREAD = 0.15
"""Share of their median within which gaps are equal."""
_APART = 1.5
"""Factor between a pause and a gap that jitter does not explain."""
_WELL_COMPARED = 6
"""Gaps that agree with others of their position, and are more than chance."""


def are_equal(gaps: Sequence[float]) -> bool:
    """Return whether gaps are equal within 15 % of their median, or 10 ms."""
    by = max(AT_ONCE_S, SPREAD * median(gaps))
    return max(gaps) - min(gaps) <= by


def pieces_of(gaps: Sequence[float]) -> list[list[float]] | None:
    """Split the gaps of work that was given up and begun again with the same bytes; None if it cannot be known how.

    A piece of p attempts has p - 1 gaps, which are the same in each piece. The pause between two pieces is not a gap
    of the law: it differs from all of them, and from the one that would come next.
    """
    for attempts in range(2, (len(gaps) + 1) // 2 + 1):
        policy = [gaps[index::attempts] for index in range(attempts - 1)]
        if not all(are_equal(one) for one in policy):
            continue
        medians = [median(one) for one in policy]
        pauses = gaps[attempts - 1 :: attempts]
        next_ones = [*medians, *_next(medians)]
        compared = sum(len(one) - 1 for one in policy)
        apart = _APART if compared < _WELL_COMPARED else 1.0  # a few gaps may agree, and others differ, by jitter
        if any(_is_like(pause, one, apart) for pause in pauses for one in next_ones):
            continue
        return [list(gaps[index : index + attempts - 1]) for index in range(0, len(gaps), attempts)]
    is_steady = all(after >= 0.85 * before - AT_ONCE_S for before, after in zip(gaps, gaps[1:], strict=False))
    return [list(gaps)] if is_steady else None


def _is_like(one: float, other: float, apart: float) -> bool:
    low, high = sorted((one, other))
    return are_equal([one, other]) or high < apart * low


def _next(medians: Sequence[float]) -> list[float]:
    """Return the gaps that would continue these, in a linear and in an exponential law."""
    if len(medians) < 2 or medians[-2] < AT_ONCE_S:
        return [2 * medians[-1]]
    return [2 * medians[-1] - medians[-2], medians[-1] ** 2 / medians[-2]]
