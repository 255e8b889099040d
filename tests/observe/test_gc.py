"""Pauses by garbage collection."""

from __future__ import annotations

import gc

from chaosproxy.observe import GcPauses


def test_each_collection_is_measured_until_stopped() -> None:
    pauses = GcPauses()
    gc.disable()  # only the collections of this test are measured
    try:
        pauses.start()
        gc.collect()
        first = pauses.last
        gc.collect(0)
        pauses.stop()
        gc.collect()
    finally:
        gc.enable()
    assert sum(pauses.histogram.counts) == 2
    assert pauses.last > 0 < first
    assert pauses.max == max(first, pauses.last)
    assert pauses.histogram.sum == first + pauses.last


def test_a_collection_that_began_before_is_not_guessed() -> None:
    pauses = GcPauses()
    pauses._on_collection("stop", {})
    assert (pauses.last, sum(pauses.histogram.counts)) == (0.0, 0)
