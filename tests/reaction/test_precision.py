"""Claims are right, and mostly made, in a few journals; `make precision` measures it in thousands."""

from __future__ import annotations

import pytest

from tests.reaction.precision import measured, measured_retries

JOURNALS = 150


@pytest.mark.slow
def test_time_outs_are_claimed_rightly() -> None:
    counts, wrong = measured(range(JOURNALS))
    assert counts["sure wrong"] == 0, (counts, wrong)
    assert counts["likely right"] >= 0.98 * (counts["likely right"] + counts["likely wrong"]), (counts, wrong)
    assert counts["found"] >= 0.9 * (counts["found"] + counts["missed"]), (counts, wrong)
    assert counts["found"] >= JOURNALS / 4, counts


@pytest.mark.slow
def test_retries_are_claimed_rightly() -> None:
    counts, wrong = measured_retries(range(JOURNALS))
    assert counts["sure wrong"] == counts["attempts wrong"] == 0, (counts, wrong)
    assert counts["likely right"] >= 0.98 * (counts["likely right"] + counts["likely wrong"]), (counts, wrong)
    assert counts["found"] >= 0.9 * (counts["found"] + counts["missed"]), (counts, wrong)
    assert counts["attempts found"] >= 0.9 * (counts["attempts found"] + counts["attempts missed"]), (counts, wrong)
    assert counts["sure right"] >= JOURNALS / 8, counts
