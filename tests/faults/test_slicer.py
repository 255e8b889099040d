"""Slicer: pieces of about one size, a gap before each."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import HalfClose, Send
from chaosproxy.faults.slicer import Slicer
from tests.faults.playing import Wire, content, opened, play, read, wrong


def test_pieces_and_gaps() -> None:
    steps = play(Slicer(size=2, gap=0.5), Send(1.0, b"abcde"))
    assert steps == [Send(1.5, b"ab"), Send(2.0, b"cd"), Send(2.5, b"e")]


def test_the_next_chunk_goes_on_behind_the_last_piece() -> None:
    wire = Wire(it=Slicer(size=2, gap=0.5)).send(Send(0.0, b"abc"), Send(0.1, b"d"), HalfClose(0.2)).wait_until(9.0)
    assert wire.arrived() == [(0.5, b"ab"), (1.0, b"c"), (1.5, b"d"), (1.5, "HalfClose")]


def test_a_chunk_that_is_small_enough_is_left_alone_without_a_gap() -> None:
    step = Send(0.0, b"abc")
    [answer] = opened(Slicer(size=3)).on_step(step)
    assert answer is step
    assert step.due == 0.0


def test_sizes_vary_evenly_within_the_variation() -> None:
    steps = play(Slicer(size=10, variation=4), Send(0.0, b"x" * 100_000))
    sizes = [len(content([step])) for step in steps[:-1]]
    assert set(sizes) == set(range(6, 15))
    assert sum(sizes) / len(sizes) == pytest.approx(10.0, abs=0.1)


def test_no_piece_is_empty() -> None:
    steps = play(Slicer(size=2, variation=9), Send(0.0, b"x" * 1000))
    sizes = {len(content([step])) for step in steps[:-1]}
    assert min(sizes) == 1 and max(sizes) == 11


def test_a_huge_chunk_is_not_cut_all_at_once() -> None:
    wire = Wire(it=Slicer(size=1, gap=0.001)).send(Send(0.0, bytes(range(256)) * 4096))
    assert wire.chain.chunks == 2, "the next piece, and the rest"
    assert wire.wait_until(0.5).bytes == (bytes(range(256)) * 2)[: len(wire.bytes)]
    assert 499 <= len(wire.bytes) <= 500


def test_a_change_goes_on_from_now_and_lets_no_burst_pass() -> None:
    wire = Wire(it=Slicer(size=1, gap=1.0)).send(Send(0.0, bytes(1000))).wait_until(100.0)
    assert len(wire.bytes) == 100
    wire.set(it=Slicer(size=1, gap=0.5))
    assert len(wire.wait_until(110.0).bytes) == pytest.approx(120, abs=1)


def test_it_reads_as_users_write_it() -> None:
    spec = read({"type": "slicer", "size": "64B", "variation": "32B", "gap": "1ms"})
    assert spec.settings == Slicer(size=64, variation=32, gap=0.001)


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({"size": "0B"}, "size", "out-of-range"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], field: str, code: str) -> None:
    assert wrong({"type": "slicer", **given}) == [(field, code)]
