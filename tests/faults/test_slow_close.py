"""Slow close: only the end is late."""

from __future__ import annotations

from chaosproxy.faults.base import Close, HalfClose, Reset, Send
from chaosproxy.faults.slow_close import SlowClose
from tests.faults.playing import play, read


def test_only_the_end_is_late() -> None:
    sent = (Send(0.0, b"a"), Reset(1.0), HalfClose(2.0), Close(3.0))
    assert play(SlowClose(delay=5.0), *sent) == [Send(0.0, b"a"), Reset(1.0), HalfClose(7.0), Close(8.0)]


def test_it_reads_as_users_write_it() -> None:
    assert read({"type": "slow_close", "delay": "2s"}).settings == SlowClose(delay=2.0)
