"""Reset: at once, after a time, after so many bytes."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import NEVER, HalfClose, Send
from chaosproxy.faults.reset import Reset
from tests.faults.playing import Wire, opened, read


def test_at_once() -> None:
    assert Wire(it=Reset()).arrived() == [(0.0, "Reset")]


def test_on_a_connection_that_is_open_already() -> None:
    wire = Wire().send(Send(1.0, b"a")).wait_until(5.0)
    wire.set(it=Reset())
    assert wire.arrived() == [(1.0, b"a"), (5.0, "Reset")]


def test_after_a_time_in_silence_too() -> None:
    wire = Wire(it=Reset(delay=0.5)).send(Send(0.4, b"a"), Send(0.6, b"b")).wait_until(9.0)
    assert wire.arrived() == [(0.4, b"a"), (0.5, "Reset")]


@pytest.mark.parametrize(
    ("size", "arrived"),
    [
        (0, [(0.0, "Reset")]),
        (1, [(0.0, b"a"), (0.0, "Reset")]),
        (2, [(0.0, b"ab"), (0.0, "Reset")]),
        (3, [(0.0, b"ab"), (1.0, b"c"), (1.0, "Reset")]),
        (9, [(0.0, b"ab"), (1.0, b"cd"), (2.0, "HalfClose")]),
    ],
)
def test_after_so_many_bytes(size: int, arrived: list[tuple[float, bytes | str]]) -> None:
    wire = Wire(it=Reset(size=size)).send(Send(0.0, b"ab"), Send(1.0, b"cd"), HalfClose(2.0)).wait_until(9.0)
    assert wire.arrived() == arrived


def test_at_whichever_comes_first() -> None:
    early = Wire(it=Reset(delay=5.0, size=2)).send(Send(0.0, b"ab")).wait_until(9.0)
    assert early.arrived() == [(0.0, b"ab"), (0.0, "Reset")]
    late = Wire(it=Reset(delay=5.0, size=3)).send(Send(0.0, b"ab")).wait_until(9.0)
    assert late.arrived() == [(0.0, b"ab"), (5.0, "Reset")]


def test_a_size_alone_sets_no_alarm() -> None:
    assert opened(Reset(size=2), now=1.0).alarm == NEVER
    assert opened(Reset(delay=2.0), now=1.0).alarm == 3.0


def test_a_change_keeps_time_and_count() -> None:
    wire = Wire(it=Reset(delay=9.0, size=9)).send(Send(0.0, b"ab")).wait_until(1.0)
    wire.set(it=Reset(delay=3.0, size=3))
    assert wire.wait_until(9.0).arrived() == [(0.0, b"ab"), (3.0, "Reset")]
    wire = Wire(it=Reset(size=9)).send(Send(0.0, b"ab")).wait_until(1.0)
    wire.set(it=Reset(size=3))
    assert wire.send(Send(2.0, b"cd")).arrived() == [(0.0, b"ab"), (2.0, b"c"), (2.0, "Reset")]


def test_it_reads_as_users_write_it() -> None:
    assert read({"type": "reset"}).settings == Reset()
    assert read({"type": "reset", "delay": "500ms", "size": "64KiB"}).settings == Reset(delay=0.5, size=65_536)
