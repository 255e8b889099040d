"""Bandwidth: so many bytes per second, with a burst, alone or shared in turns; or left to the kernel."""

from __future__ import annotations

import itertools
import random

import pytest

from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import NEVER, HalfClose, Opening, Send
from chaosproxy.faults.chain import Chain, Link
from chaosproxy.tallies import FaultTally
from tests.faults.playing import Wire, opened, play, read, wrong


def test_the_second_chunk_waits_for_the_first() -> None:
    steps = play(Bandwidth(rate=100.0, chunk=50), Send(0.0, b"x" * 50), Send(0.0, b"y" * 50))
    assert steps == [Send(0.5, b"x" * 50), Send(1.0, b"y" * 50)]


def test_an_idle_link_saves_nothing_up_without_a_burst() -> None:
    steps = play(Bandwidth(rate=100.0, chunk=50), Send(0.0, b"x" * 50), Send(10.0, b"y" * 50))
    assert [step.due for step in steps] == [0.5, 10.5]


def test_a_burst_passes_at_once_and_comes_back_with_time() -> None:
    meter = opened(Bandwidth(rate=100.0, burst=50, chunk=50))
    sent = [Send(0.0, b"x" * 50), Send(0.0, b"x" * 50), Send(0.75, b"x" * 50), Send(9.0, b"x" * 50), Send(9.0, b"x")]
    assert [step.due for step in play(meter, *sent)] == pytest.approx([0.0, 0.5, 1.0, 9.0, 9.01])


def test_the_end_of_the_stream_costs_nothing_and_stays_behind() -> None:
    wire = Wire(it=Bandwidth(rate=100.0, chunk=50)).send(Send(0.0, b"x" * 50), HalfClose(0.0)).wait_until(9.0)
    assert wire.arrived() == [(0.5, b"x" * 50), (0.5, "HalfClose")]


def test_no_credit_from_before_it_was_opened() -> None:
    meter = opened(Bandwidth(rate=100.0, burst=50, chunk=50), now=10.0)
    sent = (Send(0.0, b"x" * 10), Send(0.0, b"x" * 40), Send(0.0, b"x" * 50))
    assert [step.due for step in play(meter, *sent)] == pytest.approx([10.0, 10.0, 10.5])


@pytest.mark.parametrize(
    ("rate", "quantum"),
    [(1.0, 1), (20.0, 1), (100.0, 5), (1e3, 50), (15e3, 750), (29e3, 1448), (1e6, 2000), (10e6, 20_000), (1e9, 65_536)],
)
def test_data_travels_in_pieces_of_two_milliseconds_or_a_segment_and_never_more_than_fifty(
    rate: float, quantum: int
) -> None:
    assert opened(Bandwidth(rate=rate)).quantum == quantum


@pytest.mark.parametrize("chunk", [1, 256, 100_000])
def test_a_chosen_chunk_is_the_size_of_every_piece(chunk: int) -> None:
    wire = Wire(it=Bandwidth(rate=1e6, chunk=chunk)).send(Send(0.0, bytes(3 * chunk))).wait_until(9.0)
    assert {len(data) for _, data in wire.arrived()} == {chunk}
    assert [at for at, _ in wire.arrived()] == pytest.approx([chunk * n / 1e6 for n in (1, 2, 3)])


@pytest.mark.parametrize("rate", [1.0, 100.0, 1e3, 14_999.0, 28e3, 1e6])
def test_at_any_rate_a_byte_moves_within_fifty_milliseconds_or_its_own_time(rate: float) -> None:
    wire = Wire(it=Bandwidth(rate=rate)).send(Send(0.0, bytes(int(rate) * 5))).wait_until(5.0)
    times = [0.0, *(at for at, _ in wire.arrived())]
    assert max(after - before for before, after in itertools.pairwise(times)) <= max(0.05, 1 / rate) + 1e-9
    assert len(wire.bytes) == int(rate) * 5


def test_a_long_chunk_trickles() -> None:
    wire = Wire(it=Bandwidth(rate=1e6)).send(Send(0.0, b"x" * 7000)).wait_until(9.0)
    assert [(at, len(data)) for at, data in wire.arrived()] == [
        (0.002, 2000), (0.004, 2000), (0.006, 2000), (0.007, 1000),
    ]  # fmt: skip


def test_a_changed_rate_holds_for_what_is_queued() -> None:
    wire = Wire(it=Bandwidth(rate=1.0, chunk=1000)).send(Send(0.0, b"x" * 1000)).wait_until(5.0)
    wire.set(it=Bandwidth(rate=1000.0, chunk=1000))
    assert wire.wait_until(99.0).arrived() == [(6.0, b"x" * 1000)]


def test_changing_the_rate_gives_no_new_burst() -> None:
    wire = Wire(it=Bandwidth(rate=1000.0, burst=1000, chunk=1000)).send(Send(0.0, b"x" * 1000)).wait_until(0.0)
    wire.set(it=Bandwidth(rate=2000.0, burst=1000, chunk=1000))
    wire.send(Send(0.25, b"y" * 1000)).wait_until(99.0)
    assert wire.arrived() == [(0.0, b"x" * 1000), (0.5, b"y" * 1000)]


def flows(number: int, fault: Bandwidth, **sent: list[Send]) -> dict[str, list[Send]]:
    """What leaves each of several pipes that share one bucket, woken as timers would wake them."""
    common = fault.common()
    left: dict[str, list[Send]] = {name: [] for name in sent}
    chains = {}
    for name, steps in sent.items():
        chain = chains[name] = Chain(left[name].append)  # type: ignore[arg-type]  # only Sends flow here
        chain.arrange([Link("it", opened(fault, common=common), FaultTally())], 0.0)
        for step in steps:
            chain.push(step)
    wake = {name: chain.advance(0.0) for name, chain in chains.items()}
    for _ in range(number):
        name = min(wake, key=lambda name: wake[name])
        if wake[name] == NEVER:
            break
        wake[name] = chains[name].advance(wake[name])
    return left


def test_a_shared_limit_is_one_link_for_all() -> None:
    fault = Bandwidth(rate=1e6, shared=True)
    left = flows(200, fault, a=[Send(0.0, b"a" * 100_000)], b=[Send(0.0, b"b" * 100_000)])
    everything = sorted((step.due, len(step.data)) for steps in left.values() for step in steps)
    assert sum(size for _, size in everything) == 200_000
    assert everything[-1][0] == pytest.approx(0.2)


def test_connections_that_share_take_turns() -> None:
    fault = Bandwidth(rate=1e6, shared=True)
    sent = {f"flow{n}": [Send(0.0, b"x" * 60_000)] for n in range(8)}
    sent["greedy"] = [Send(0.0, b"x" * 60_000) for _ in range(20)]
    left = flows(9 * 10, fault, **sent)
    assert {sum(len(step.data) for step in steps) for steps in left.values()} == {20_000}


def test_a_late_comer_to_a_shared_limit_waits_for_one_turn_only() -> None:
    fault = Bandwidth(rate=1e6, shared=True)
    left = flows(20, fault, a=[Send(0.0, b"a" * 50_000)], b=[Send(0.0101, b"b" * 1000)])
    assert [step.due for step in left["b"]] == pytest.approx([0.0111], abs=0.0041)


def test_pipes_that_do_not_share_do_not_wait_for_each_other() -> None:
    left = flows(10, Bandwidth(rate=1e6), a=[Send(0.0, b"a" * 2000)], b=[Send(0.0, b"b" * 2000)])
    assert [step.due for steps in left.values() for step in steps] == [0.002, 0.002]


def test_a_changed_shared_limit_carries_on_on_all_connections() -> None:
    old_fault, new_fault = (Bandwidth(rate=rate, burst=1000, shared=True, chunk=5000) for rate in (1000.0, 2000.0))
    old_common, new_common = old_fault.common(), new_fault.common()
    old = [opened(old_fault, common=old_common) for _ in range(2)]
    assert [step.due for step in play(old[0], Send(0.0, b"x" * 2000))] == [1.0]
    new = [opened(new_fault, now=1.25, common=new_common) for _ in range(2)]
    for stage, before in zip(new, old, strict=True):
        stage.take_over(before)
    # 0.25 s at 1000 B/s left 250 bytes of credit, of which both connections live.
    assert play(new[0], Send(1.25, b"x" * 250))[0].due == pytest.approx(1.25)
    assert play(new[1], Send(1.25, b"x" * 1000))[0].due == pytest.approx(1.75)


def test_it_reads_as_users_write_it() -> None:
    spec = read({"type": "bandwidth", "rate": "8Mbit/s", "burst": "64KiB", "shared": True, "chunk": "256B"})
    assert spec.settings == Bandwidth(rate=1e6, burst=65_536, shared=True, chunk=256)


def test_a_rate_of_nothing_is_refused() -> None:
    assert wrong({"type": "bandwidth", "rate": "0B/s"}) == [("rate", "out-of-range")]


def test_a_chunk_of_nothing_is_refused() -> None:
    assert wrong({"type": "bandwidth", "rate": "1kB/s", "chunk": "0B"}) == [("chunk", "out-of-range")]


@pytest.mark.parametrize(("mode", "pacing"), [("packet", 2e8), ("auto", None), ("stream", None)])
def test_either_the_kernel_keeps_the_rate_or_a_bucket(mode: str, pacing: float | None) -> None:
    fault = Bandwidth(rate=2e8, mode=mode)
    assert fault.pacing() == pacing
    assert (fault.open(Opening(random.Random, 0.0, None)) is None) == (pacing is not None)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Bandwidth(rate=99e6), "more exact"),
        (Bandwidth(rate=100e6), ""),
        (Bandwidth(rate=400e6), ""),
        (Bandwidth(rate=401e6), "more exact"),
        (Bandwidth(rate=200e6, burst=1), "burst"),
        (Bandwidth(rate=200e6, shared=True), "shared"),
        (Bandwidth(rate=200e6, chunk=1448), "chunk"),
    ],
)
def test_auto_means_the_kernel_where_it_is_the_better(fault: Bandwidth, words: str) -> None:
    assert words in fault.why_stream()
    assert bool(words) == bool(fault.why_stream())


@pytest.mark.parametrize("given", [{"burst": "64KiB"}, {"shared": True}, {"chunk": "1448B"}])
def test_what_the_kernel_does_not_know_is_refused_in_mode_packet(given: dict[str, object]) -> None:
    in_kernel = wrong({"type": "bandwidth", "rate": "1MB/s", "mode": "packet", **given})
    assert in_kernel == [(field, "invalid-together") for field in given]
    assert wrong({"type": "bandwidth", "rate": "1MB/s", "mode": "stream", **given}) == []
