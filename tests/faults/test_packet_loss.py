"""Packet loss: in mode stream late by retransmission time-outs, never cut out; in mode packet left to the kernel."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean

import pytest

from chaosproxy.faults.base import NEVER, Admission, Drop, HalfClose, Loss, Opening, Reset, Send, Stage
from chaosproxy.faults.packet_loss import PACKET, Burst, PacketLoss, _Lossy
from tests.faults.playing import Wire, content, opened, play, read, wrong


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
    ("given", "field", "code"),
    [
        ({"rate": 0.1, "mode": "packet", "correlation": 0.5}, "correlation", "invalid-together"),
        ({"burst": {"p": 0.1, "r": 0.1, "step": "0s"}}, "burst.step", "out-of-range"),
        ({}, "rate", "missing"),
        ({"rate": 0.1, "burst": {"p": 0.1, "r": 0.1}}, "rate", "invalid-together"),
        ({"correlation": 0.1, "burst": {"p": 0.1, "r": 0.1}}, "correlation", "invalid-together"),
        ({"rate": 1.5}, "rate", "out-of-range"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], field: str, code: str) -> None:
    assert wrong({"type": "packet_loss", **given}) == [(field, code)]


# ── in mode packet ────────────────────────────────────────────────────────────────────────


def loss_of(fault: PacketLoss, now: float = 0.0, seed: int = 0) -> Loss:
    loss = fault.loss(Opening(lambda: random.Random(seed), now, fault.common()))
    assert loss is not None
    return loss


def bursty(burst: Burst, now: float = 0.0, seed: int = 0) -> Loss:
    return loss_of(PacketLoss(burst=burst, mode="packet"), now, seed)


def states(loss: Loss, until: float) -> list[tuple[float, Drop | None]]:
    """(until when, what is lost) for each state of a channel whose timer is never late."""
    found = []
    while loss.changes_at <= until:
        found.append((loss.changes_at, loss.drop))
        loss.change(loss.changes_at)
    return found


def test_a_rate_is_the_kernels_to_keep() -> None:
    fault = PacketLoss(rate=0.02, mode="packet")
    loss = loss_of(fault)
    assert (loss.drop, loss.changes_at) == (Drop(0.02), NEVER)
    assert fault.open(Opening(random.Random, 0.0, None)) is None
    assert fault.admission() == Admission(drop=Drop(0.02)), "a client's first packets are lost, too"


@pytest.mark.parametrize("mode", ["auto", "stream"])
def test_in_a_stream_nothing_is_lost_in_the_kernel(mode: str) -> None:
    for fault in (PacketLoss(rate=0.02, mode=mode), PacketLoss(burst=Burst(p=0.1, r=0.3), mode=mode)):
        assert fault.loss(Opening(random.Random, 0.0, None)) is None
        assert fault.admission() is None


def test_correlation_alone_keeps_auto_from_the_kernel() -> None:
    assert "correlation" in PacketLoss(rate=0.02, correlation=0.1).why_stream()
    assert PacketLoss(rate=0.02).why_stream() == PacketLoss(burst=Burst(p=0.1, r=0.3)).why_stream() == ""


def test_the_states_of_a_channel_alternate_and_last_whole_steps() -> None:
    burst = Burst(p=0.1, r=0.3, loss_good=0.01, loss_bad=0.8, step=0.02)
    found = states(bursty(burst, now=100.0), 200.0)
    assert len(found) > 300
    drops = [drop for _, drop in found]
    assert set(drops) == {Drop(0.01), Drop(0.8)}
    assert all(one != other for one, other in pairwise(drops))
    lasted = [(end - start) / burst.step for start, end in pairwise([100.0, *(end for end, _ in found)])]
    assert all(steps == pytest.approx(round(steps), abs=1e-6) and round(steps) >= 1 for steps in lasted)


def test_a_good_channel_without_loss_needs_no_filter() -> None:
    assert {drop for _, drop in states(bursty(Burst(p=0.5, r=0.5)), 10.0)} == {None, Drop(1.0)}


@pytest.mark.parametrize(("p", "r"), [(0.05, 0.3), (0.5, 0.5), (0.9, 0.2), (0.002, 0.05)])
def test_in_the_long_run_it_is_bad_for_its_share_of_the_time(p: float, r: float) -> None:
    burst, bursts = Burst(p=p, r=r, step=0.01), 20_000
    loss, began = bursty(burst, seed=7), 0.0
    good, bad = list[int](), list[int]()
    while len(bad) < bursts:
        (bad if loss.drop else good).append(round((loss.changes_at - began) / burst.step))
        began = loss.changes_at
        loss.change(began)
    for lasted, leaves in ((good, p), (bad, r)):
        # Geometric: mean 1 / leaves, variance (1 - leaves) / leaves ** 2.
        sigma = math.sqrt((1 - leaves) / len(lasted))
        assert fmean(lasted) * leaves == pytest.approx(1.0, abs=4.5 * sigma)
        at_once = sum(steps == 1 for steps in lasted)
        assert abs(at_once - len(lasted) * leaves) < 4.5 * math.sqrt(len(lasted) * leaves * (1 - leaves))
    share = sum(bad) / (sum(bad) + sum(good))
    # That of a ratio of two sums: by the delta method.
    sigma = burst.bad * (1 - burst.bad) * math.sqrt((2 - p - r) / bursts)
    assert share == pytest.approx(p / (p + r), abs=4.5 * sigma)


def test_it_begins_as_a_channel_that_has_been_running_for_long() -> None:
    bad = sum(bursty(Burst(p=0.1, r=0.3), seed=seed).drop is not None for seed in range(4000))
    assert abs(bad - 4000 * 0.25) < 4.5 * math.sqrt(4000 * 0.25 * 0.75)


def test_the_schedule_follows_from_the_seed_and_the_beginning() -> None:
    burst = Burst(p=0.1, r=0.3)
    one, same, other = (states(bursty(burst, seed=seed), 10.0) for seed in (1, 1, 2))
    assert one == same != other
    later = states(bursty(burst, now=1000.0, seed=1), 1010.0)
    assert [end - 1000.0 for end, _ in later] == pytest.approx([end for end, _ in one])
    assert [drop for _, drop in later] == [drop for _, drop in one]


def test_a_late_change_catches_up_and_does_not_shift_what_comes() -> None:
    burst = Burst(p=0.2, r=0.4, step=0.01)
    schedule, late = states(bursty(burst), 20.0), bursty(burst)
    for now in (0.5, 0.5, 3.0, 3.333, 11.0):
        late.change(now)
        assert (late.changes_at, late.drop) == next(state for state in schedule if state[0] > now)


@pytest.mark.parametrize(
    ("p", "r", "drop"), [(0.0, 0.3, None), (0.0, 0.0, None), (1.0, 0.0, Drop(1.0)), (1e-9, 0.0, Drop(1.0))]
)
def test_a_channel_that_cannot_change_stays_as_it_is(p: float, r: float, drop: Drop | None) -> None:
    for seed in range(20):
        loss = bursty(Burst(p=p, r=r), seed=seed)
        assert (loss.drop, loss.changes_at) == (drop, NEVER)


def test_a_channel_that_is_sure_to_change_does_so_with_each_step() -> None:
    found = states(bursty(Burst(p=1.0, r=1.0, step=0.5)), 10.0)
    assert [end for end, _ in found] == [0.5 * (n + 1) for n in range(20)]


def test_a_channel_that_almost_never_changes() -> None:
    assert bursty(Burst(p=1e-320, r=1.0)).changes_at > 1e9


def test_a_step_too_short_to_keep_up_with_counts_as_1_ms() -> None:
    found = states(bursty(Burst(p=1.0, r=1.0, step=1e-7)), 0.01)
    assert [end for end, _ in found] == pytest.approx([0.001 * (n + 1) for n in range(len(found))])
