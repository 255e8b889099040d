"""Corrupt: bytes change, lengths do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.faults.base import HalfClose, Send
from chaosproxy.faults.corrupt import Corrupt
from tests.faults.playing import content, opened, play, read

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize("unit", ["bit", "byte"])
def test_at_rate_one_every_byte_really_changes(unit: str) -> None:
    [step] = play(Corrupt(rate=1.0, unit=unit), Send(1.0, DATA))
    assert step.due == 1.0
    changes = [before ^ after for before, after in zip(DATA, content([step]), strict=True)]
    assert set(changes) == ({1 << bit for bit in range(8)} if unit == "bit" else set(range(1, 256)))


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-300, 1e-18])
def test_at_no_or_a_tiny_rate_steps_are_left_alone(rate: float) -> None:
    step = Send(0.0, DATA)
    [answer] = opened(Corrupt(rate=rate)).on_step(step)
    assert answer is step
    assert step.data == DATA


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(DATA)), max_size=20),
    rate=st.sampled_from((0.001, 0.01, 0.3, 1.0)),
    unit=st.sampled_from(("bit", "byte")),
)
def test_what_is_changed_does_not_depend_on_how_the_stream_is_cut(cuts: list[int], rate: float, unit: str) -> None:
    places = [0, *sorted(cuts), len(DATA)]
    chunks = [Send(0.0, DATA[start:end]) for start, end in zip(places, places[1:], strict=False)]
    whole = play(Corrupt(rate=rate, unit=unit), Send(0.0, DATA))
    assert content(play(Corrupt(rate=rate, unit=unit), *chunks)) == content(whole)


def test_ends_pass() -> None:
    assert play(Corrupt(rate=1.0), HalfClose(1.0)) == [HalfClose(1.0)]


def test_it_reads_as_users_write_it() -> None:
    assert read({"type": "corrupt", "rate": "0.01%", "unit": "byte"}).settings == Corrupt(rate=0.0001, unit="byte")
