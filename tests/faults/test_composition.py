"""Several faults on one pipe act in the order they are given, and add up."""

from __future__ import annotations

import pytest

from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import HalfClose, Send
from chaosproxy.faults.corrupt import Corrupt
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.packet_loss import PacketLoss
from chaosproxy.faults.slicer import Slicer
from tests.faults.playing import Wire


def test_latencies_add_up() -> None:
    wire = Wire(one=Latency(delay=0.1), two=Latency(delay=0.2)).send(Send(0.0, b"a")).wait_until(9.0)
    assert wire.arrived() == [(0.3, b"a")]


def test_latency_then_bandwidth_then_slicer() -> None:
    # 100 ms of latency; 1000 bytes at 1000 B/s take a second; then four pieces, 10 ms before each.
    wire = Wire(late=Latency(delay=0.1), link=Bandwidth(rate=1000.0, chunk=1000), cut=Slicer(size=250, gap=0.01))
    wire.send(Send(0.0, b"x" * 1000), HalfClose(0.0)).wait_until(9.0)
    assert [at for at, _ in wire.arrived()] == pytest.approx([1.11, 1.12, 1.13, 1.14, 1.14])
    assert wire.bytes == b"x" * 1000


def test_in_another_order_each_acts_on_what_the_one_before_lets_go() -> None:
    # The pieces come 10 ms apart, and the link takes 250 ms for each, one after the other.
    wire = Wire(cut=Slicer(size=250, gap=0.01), late=Latency(delay=0.1), link=Bandwidth(rate=1000.0, chunk=1000))
    wire.send(Send(0.0, b"x" * 1000)).wait_until(9.0)
    assert [at for at, _ in wire.arrived()] == pytest.approx([0.36, 0.61, 0.86, 1.11])


def test_latency_does_not_slow_a_stream_down() -> None:
    wire = Wire(late=Latency(delay=1.0), link=Bandwidth(rate=1000.0, chunk=1000))
    wire.send(*(Send(0.1 * n, b"x" * 100) for n in range(10))).wait_until(9.0)
    assert [at for at, _ in wire.arrived()] == pytest.approx([1.1 + 0.1 * n for n in range(10)])


def test_a_loss_ahead_of_a_corruption_does_not_change_which_bytes_it_hits() -> None:
    data = bytes(range(256)) * 100
    alone = Wire(7, noise=Corrupt(rate=0.01)).send(Send(0.0, data)).wait_until(999.0)
    beside = Wire(7, loss=PacketLoss(rate=0.2), noise=Corrupt(rate=0.01)).send(Send(0.0, data)).wait_until(999.0)
    assert alone.bytes != data
    assert beside.bytes == alone.bytes
