"""Blackhole: bytes vanish, ends wait."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import NEVER, Close, HalfClose, Reset, Send, Step
from chaosproxy.faults.blackhole import Blackhole
from tests.faults.playing import Wire, play


def test_bytes_vanish() -> None:
    assert play(Blackhole(), Send(0.0, b"a"), Send(1.0, b"b")) == []


@pytest.mark.parametrize("end", [HalfClose, Reset, Close])
def test_an_end_waits_for_the_removal(end: type[HalfClose | Reset | Close]) -> None:
    assert play(Blackhole(), end(1.0)) == [end(NEVER)]
    wire = Wire(it=Blackhole()).send(Send(0.0, b"gone"), end(1.0)).wait_until(50.0)
    assert wire.left == []
    wire.set()
    assert wire.arrived() == [(50.0, end.__name__)]


def test_after_removal_new_bytes_pass() -> None:
    wire = Wire(it=Blackhole()).send(Send(0.0, b"gone"))
    wire.set()
    steps: list[Step] = [Send(1.0, b"here")]
    assert wire.send(*steps).arrived() == [(1.0, b"here")]
