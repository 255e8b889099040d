"""Corrupt: bytes change, lengths do not."""

from __future__ import annotations

from collections import Counter

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


@pytest.mark.parametrize("unit", ["bit", "byte"])
@pytest.mark.parametrize("rate", [0.001, 0.0199, 0.02, 0.05, 0.25, 1 / 3, 0.5, 0.9999])
def test_as_many_bytes_change_as_the_rate_says(rate: float, unit: str) -> None:
    size = 400_000
    changed = content(play(Corrupt(rate=rate, unit=unit), Send(0.0, bytes(size))))
    number = size - changed.count(0)
    assert number == pytest.approx(size * rate, abs=5 * (size * rate * (1 - rate)) ** 0.5 + 1)


@pytest.mark.parametrize("unit", ["bit", "byte"])
@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
def test_every_change_is_as_likely_as_any_other(rate: float, unit: str) -> None:
    changed = content(play(Corrupt(rate=rate, unit=unit), Send(0.0, bytes(300_000))))
    counts = Counter(changed)
    del counts[0]
    values = 8 if unit == "bit" else 255
    mean = counts.total() / values
    assert len(counts) == values
    assert all(abs(one - mean) < 6 * mean**0.5 for one in counts.values())


@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_neighbours_change_independently_of_each_other(rate: float) -> None:
    changed = content(play(Corrupt(rate=rate), Send(0.0, bytes(400_000))))
    for distance in (1, 2, 7, 8, 64, 4096):
        both = sum(1 for one, other in zip(changed, changed[distance:], strict=False) if one and other)
        expected = (len(changed) - distance) * rate**2
        assert both == pytest.approx(expected, abs=6 * expected**0.5)


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-300, 1e-18])
def test_at_no_or_a_tiny_rate_steps_are_left_alone(rate: float) -> None:
    step = Send(0.0, DATA)
    [answer] = opened(Corrupt(rate=rate)).on_step(step)
    assert answer is step
    assert step.data == DATA


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(DATA)), max_size=20),
    rate=st.sampled_from((0.001, 0.01, 0.3, 0.5, 1.0)),
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
