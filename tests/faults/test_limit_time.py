"""Limit of time: a deadline that comes whether or not anything flows."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import HalfClose, Send
from chaosproxy.faults.limit_time import LimitTime
from tests.faults.playing import Wire, opened, play, read


@pytest.mark.parametrize(("then", "end"), [("close", "Close"), ("reset", "Reset")])
def test_it_ends_in_silence_too(then: str, end: str) -> None:
    wire = Wire(it=LimitTime(time=5.0, then=then)).wait_until(99.0)
    assert wire.arrived() == [(5.0, end)]


def test_what_comes_before_passes_and_what_comes_later_is_lost() -> None:
    wire = Wire(it=LimitTime(time=5.0)).send(Send(4.999, b"a"), Send(5.0, b"b"), Send(6.0, b"c"), HalfClose(7.0))
    assert wire.arrived() == [(4.999, b"a"), (5.0, "Close")]


def test_stall_holds_what_comes_later() -> None:
    wire = Wire(it=LimitTime(time=5.0, then="stall")).send(Send(4.0, b"a"), Send(5.0, b"b")).wait_until(9.0)
    assert wire.arrived() == [(4.0, b"a")]
    wire.set()
    assert wire.arrived() == [(4.0, b"a"), (9.0, b"b")]


def test_time_counts_from_when_it_began_and_a_change_does_not_start_it_anew() -> None:
    assert opened(LimitTime(time=5.0), now=3.0).alarm == 8.0
    wire = Wire(it=LimitTime(time=5.0)).wait_until(4.0)
    wire.set(it=LimitTime(time=6.0, then="reset"))
    assert wire.wait_until(99.0).arrived() == [(6.0, "Reset")]


def test_a_deadline_moved_into_the_past_ends_at_once() -> None:
    wire = Wire(it=LimitTime(time=50.0)).wait_until(4.0)
    wire.set(it=LimitTime(time=1.0))
    assert wire.arrived() == [(4.0, "Close")]


def test_a_later_deadline_lets_go_what_was_held() -> None:
    wire = Wire(it=LimitTime(time=1.0, then="stall")).send(Send(2.0, b"a")).wait_until(4.0)
    wire.set(it=LimitTime(time=10.0, then="stall"))
    assert wire.arrived() == [(4.0, b"a")]


def test_a_step_before_the_deadline_is_left_alone() -> None:
    step = Send(1.0, b"a")
    [answer] = opened(LimitTime(time=5.0)).on_step(step)
    assert answer is step
    assert play(LimitTime(time=5.0), Send(1.0, b"a")) == [Send(1.0, b"a")]


def test_it_reads_as_users_write_it() -> None:
    assert read({"type": "limit_time", "time": "30s"}).settings == LimitTime(time=30.0, then="close")
