"""Limit of data: exactly so many bytes, then close, reset or stall."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import NEVER, Close, HalfClose, Reset, Send
from chaosproxy.faults.limit_data import LimitData
from tests.faults.playing import Wire, play, read, wrong


@pytest.mark.parametrize(("then", "end"), [("close", Close), ("reset", Reset)])
def test_the_end_follows_the_last_byte_that_passes(then: str, end: type[Close | Reset]) -> None:
    fault = LimitData(size=3, then=then)
    assert play(fault, Send(0.0, b"ab"), Send(1.0, b"cd"), Send(2.0, b"e"), HalfClose(3.0)) == [
        Send(0.0, b"ab"), Send(1.0, b"c"), end(1.0),
    ]  # fmt: skip


@pytest.mark.parametrize(("then", "end"), [("close", Close), ("reset", Reset)])
def test_it_ends_as_soon_as_the_last_byte_has_passed(then: str, end: type[Close | Reset]) -> None:
    assert play(LimitData(size=2, then=then), Send(0.0, b"ab")) == [Send(0.0, b"ab"), end(0.0)]


def test_none_may_pass() -> None:
    assert play(LimitData(size=0), Send(1.0, b"ab")) == [Close(1.0)]
    assert play(LimitData(size=0, then="stall"), Send(1.0, b"ab")) == [Send(NEVER, b"ab")]


def test_stall_holds_the_rest() -> None:
    steps = play(LimitData(size=3, then="stall"), Send(0.0, b"abcd"), Send(1.0, b"e"), HalfClose(2.0))
    assert steps == [Send(0.0, b"abc"), Send(NEVER, b"d"), Send(NEVER, b"e"), HalfClose(NEVER)]


def test_an_end_before_the_limit_passes() -> None:
    assert play(LimitData(size=3), Send(0.0, b"ab"), HalfClose(1.0)) == [Send(0.0, b"ab"), HalfClose(1.0)]


def test_a_change_keeps_the_count() -> None:
    wire = Wire(it=LimitData(size=4, then="stall")).send(Send(0.0, b"abcdef")).wait_until(1.0)
    assert wire.bytes == b"abcd"
    wire.set(it=LimitData(size=5, then="stall"))
    assert wire.bytes == b"abcde"
    wire.set(it=LimitData(size=2, then="stall"))
    wire.send(Send(2.0, b"g"))
    assert wire.bytes == b"abcde"
    wire.set()
    assert wire.bytes == b"abcdefg"


def test_it_reads_as_users_write_it() -> None:
    spec = read({"type": "limit_data", "size": "64KiB", "then": "reset"})
    assert spec.settings == LimitData(size=65_536, then="reset")


def test_an_unknown_outcome_is_refused() -> None:
    assert wrong({"type": "limit_data", "size": "1B", "then": "explode"}) == [("then", "unknown-value")]
