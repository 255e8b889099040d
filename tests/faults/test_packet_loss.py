"""Packet loss in stream mode: late by retransmission time-outs, never cut out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaosproxy.faults.base import NEVER, HalfClose, Reset, Send, Stage
from chaosproxy.faults.packet_loss import PACKET, Burst, PacketLoss, _Lossy
from tests.faults.playing import Wire, content, opened, play, read, told


def fated(*lost: int) -> Stage:
    """A stage on a channel that loses these packets (1) and carries those (0); then all pass."""
    fate: Iterator[int] = iter(lost)
    return _Lossy(lambda: next(fate, 0) == 1, lambda: next(fate, 0) == 1)


def test_what_is_not_lost_is_left_alone() -> None:
    step = Send(1.0, b"x" * 10_000)
    [answer] = fated().on_step(step)
    assert answer is step
    assert step.due == 1.0


@pytest.mark.parametrize(("times", "late"), [(1, 0.2), (2, 0.6), (3, 1.4), (4, 3.0)])
def test_a_lost_packet_arrives_after_a_time_out_that_doubles(times: int, late: float) -> None:
    assert play(fated(*[1] * times), Send(1.0, b"a"))[0].due == pytest.approx(1.0 + late)


def test_the_time_out_doubles_up_to_two_minutes_and_the_sender_gives_up_at_last() -> None:
    [step] = play(fated(*[1] * 15), Send(0.0, b"a"))
    assert step.due == pytest.approx(sum(min(0.2 * 2**n, 120.0) for n in range(15)))
    assert play(fated(*[1] * 16), Send(0.0, b"a")) == [Send(NEVER, b"a")]


def test_what_is_behind_a_lost_packet_waits_and_what_is_ahead_does_not() -> None:
    data = bytes(range(256)) * 20
    steps = play(fated(0, 1, 0, 0), Send(0.0, data))
    assert [(step.due, content([step])) for step in steps] == [(0.0, data[:PACKET]), (0.2, data[PACKET:])]


def test_packets_sent_at_once_have_time_outs_that_run_at_once() -> None:
    steps = play(fated(1, 0, 0, 1, 1, 0, 1, 0), Send(0.0, b"x" * 4 * PACKET))
    assert [(round(step.due, 9), len(content([step]))) for step in steps] == [(0.2, 2 * PACKET), (0.6, 2 * PACKET)]


def test_the_next_chunk_waits_for_a_lost_one() -> None:
    wire = Wire(it=PacketLoss(rate=0.0))
    wire.chain.links[0].stage = fated(1)
    wire.send(Send(0.0, b"a"), Send(0.1, b"b"), Send(0.3, b"c")).wait_until(9.0)
    assert wire.arrived() == [(0.2, b"a"), (0.2, b"b"), (0.3, b"c")]


def test_the_end_of_the_stream_is_a_packet_and_a_reset_is_not() -> None:
    assert play(fated(1, 0), HalfClose(0.0)) == [HalfClose(0.2)]
    assert play(fated(1, 0), Reset(0.0)) == [Reset(0.0)]


def test_certain_loss_holds_until_removed() -> None:
    wire = Wire(it=PacketLoss(rate=1.0)).send(Send(0.0, b"a"), Send(1.0, b"b")).wait_until(5000.0)
    assert wire.left == []
    wire.set()
    assert wire.bytes == b"ab"


def test_a_channel_without_loss_loses_nothing() -> None:
    for fault in (PacketLoss(rate=0.0), PacketLoss(rate=0.0, correlation=0.5), PacketLoss(burst=Burst(p=0.0, r=0.0))):
        assert {step.due for step in play(opened(fault), *(Send(0.0, b"a") for _ in range(500)))} == {0.0}


def test_it_reads_as_users_write_it() -> None:
    spec = read({"type": "packet_loss", "rate": "2%", "mode": "stream"})
    assert spec.settings == PacketLoss(rate=0.02, mode="stream")
    spec = read({"type": "packet_loss", "burst": {"p": "1%", "r": 0.3, "loss_good": 0, "loss_bad": "80%"}})
    assert spec.settings == PacketLoss(burst=Burst(p=0.01, r=0.3, loss_bad=0.8))


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"rate": 0.1, "mode": "packet"}, "mode", "stream mode only"),
        ({}, "rate", "missing"),
        ({"rate": 0.1, "burst": {"p": 0.1, "r": 0.1}}, "rate", "one of the two"),
        ({"correlation": 0.1, "burst": {"p": 0.1, "r": 0.1}}, "correlation", "one of the two"),
        ({"rate": 1.5}, "rate", "0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], field: str, words: str) -> None:
    [(where, what)] = told({"type": "packet_loss", **given})
    assert where == field
    assert words in what
