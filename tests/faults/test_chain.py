"""The chain: stages in a row, put in, changed, swapped and taken out while steps are on their way."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import NEVER, HalfClose, Reset, Send, Stage, Step
from chaosproxy.faults.blackhole import Blackhole
from chaosproxy.faults.chain import CHUNK_COST, Chain, Link
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.reset import Reset as ResetFault
from chaosproxy.faults.slicer import Slicer
from chaosproxy.faults.slow_close import SlowClose
from chaosproxy.faults.stall import Stall
from chaosproxy.tallies import FaultTally
from tests.cpu import cpu_time
from tests.faults.playing import Wire, content, opened


def accounts(chain: Chain) -> tuple[int, int]:
    return chain.held, chain.chunks


def test_without_links_steps_leave_at_once() -> None:
    wire = Wire().send(Send(1.0, b"a"), HalfClose(2.0))
    assert wire.arrived() == [(1.0, b"a"), (2.0, "HalfClose")]
    assert accounts(wire.chain) == (0, 0)


def test_a_step_enters_the_next_stage_when_it_was_due_not_when_the_timer_fired() -> None:
    wire = Wire(one=Latency(delay=1.0), two=Latency(delay=1.0)).send(Send(0.0, b"a"))
    assert wire.chain.advance(1.3) == 2.0  # the timer is 0.3 s late
    wire.chain.advance(2.0)
    assert [step.due for _, step in wire.left] == [2.0]


def test_chunks_under_way_together_are_each_delayed_once() -> None:
    wire = Wire(one=Latency(delay=1.0)).send(Send(0.0, b"a"), Send(0.4, b"b")).wait_until(9.0)
    assert wire.arrived() == [(1.0, b"a"), (1.4, b"b")]


# ── putting in, taking out, changing ─────────────────────────────────────────────────────


def test_inserted_in_front_it_acts_on_what_arrives_from_then_on() -> None:
    wire = Wire(late=Latency(delay=1.0)).send(Send(0.0, b"a"))
    wire.set(first=Latency(delay=5.0), late=Latency(delay=1.0))
    wire.send(Send(0.5, b"b")).wait_until(99.0)
    assert wire.arrived() == [(1.0, b"a"), (6.5, b"b")]


def test_inserted_behind_it_acts_on_what_is_still_held() -> None:
    wire = Wire(late=Latency(delay=1.0)).send(Send(0.0, b"a"))
    wire.set(late=Latency(delay=1.0), last=Latency(delay=5.0))
    assert wire.wait_until(99.0).arrived() == [(6.0, b"a")]


def test_inserted_in_the_middle() -> None:
    second = Latency(delay=1.0)
    wire = Wire(one=second, three=second).send(Send(0.0, b"a"), Send(0.9, b"b")).wait_until(1.5)
    wire.set(one=second, two=Latency(delay=10.0), three=second)
    assert wire.wait_until(99.0).arrived() == [(2.0, b"a"), (12.9, b"b")]


def test_removed_it_releases_what_it_held_to_the_next() -> None:
    wire = Wire(hold=Stall(), late=Latency(delay=1.0)).send(Send(0.0, b"a"), Send(0.5, b"b")).wait_until(2.0)
    wire.set(late=Latency(delay=1.0))
    assert wire.wait_until(99.0).arrived() == [(3.0, b"a"), (3.0, b"b")]


def test_removed_behind_another_that_stays() -> None:
    wire = Wire(late=Latency(delay=1.0), hold=Stall()).send(Send(0.0, b"a"), Send(1.5, b"b")).wait_until(2.0)
    wire.set(late=Latency(delay=1.0))
    assert wire.wait_until(99.0).arrived() == [(2.0, b"a"), (2.5, b"b")]


def test_all_removed_what_is_further_along_leaves_first() -> None:
    wire = Wire(one=Latency(delay=1.0), two=Stall()).send(Send(0.0, b"a"), Send(0.5, b"b"), Send(1.6, b"c"))
    wire.wait_until(2.0).set()
    assert wire.arrived() == [(2.0, b"a"), (2.0, b"b"), (2.0, b"c")]


def test_changed_it_times_anew_from_the_arrival() -> None:
    wire = Wire(late=Latency(delay=10.0)).send(Send(0.0, b"a"), Send(4.95, b"b")).wait_until(5.0)
    wire.set(late=Latency(delay=0.1))
    assert wire.wait_until(99.0).arrived() == [(5.0, b"a"), (5.05, b"b")]


def test_what_a_change_lets_go_has_left_no_earlier_than_the_change() -> None:
    wire = Wire(late=Latency(delay=10.0), next=Latency(delay=1.0)).send(Send(0.0, b"a")).wait_until(5.0)
    wire.set(late=Latency(delay=0.1), next=Latency(delay=1.0))
    assert wire.wait_until(99.0).arrived() == [(6.0, b"a")]
    assert wire.tallies["late"].delay.sum == pytest.approx(5.0)


def test_changed_to_another_type_under_the_same_name() -> None:
    wire = Wire(it=Stall()).send(Send(0.0, b"x" * 1000), Send(0.0, b"y" * 1000)).wait_until(5.0)
    wire.set(it=Bandwidth(rate=1000.0, chunk=1000))
    assert [(at, len(data)) for at, data in wire.wait_until(99.0).arrived()] == [(6.0, 1000), (7.0, 1000)]


def test_changed_and_the_next_one_removed_at_once() -> None:
    wire = Wire(one=Latency(delay=1.0), two=Stall()).send(Send(0.0, b"a"), Send(1.5, b"b")).wait_until(2.0)
    wire.set(one=Latency(delay=3.0))
    assert wire.wait_until(99.0).arrived() == [(2.0, b"a"), (4.5, b"b")]


def test_swapped_they_release_all_first() -> None:
    wire = Wire(one=Latency(delay=5.0), two=Stall()).send(Send(0.0, b"a"), Send(5.5, b"b")).wait_until(6.0)
    wire.set(two=Stall(), one=Latency(delay=5.0))
    assert wire.arrived() == [(6.0, b"a"), (6.0, b"b")]
    assert accounts(wire.chain) == (0, 0)


def test_swapped_and_changed_at_once() -> None:
    wire = Wire(one=Latency(delay=5.0), two=Stall()).send(Send(0.0, b"a"), Send(5.5, b"b")).wait_until(6.0)
    wire.set(two=Latency(delay=1.0), one=Latency(delay=2.0))
    assert wire.arrived() == [(6.0, b"a"), (6.0, b"b")]
    assert wire.send(Send(6.0, b"c")).wait_until(99.0).arrived()[2:] == [(9.0, b"c")]


def test_swapped_behind_one_that_stays_in_its_place_which_releases_nothing() -> None:
    first = Latency(delay=5.0)
    wire = Wire(first=first, one=Latency(delay=1.0), two=Stall()).send(Send(0.0, b"a"), Send(3.0, b"b"))
    wire.wait_until(7.0).set(first=first, two=Latency(delay=2.0), one=Latency(delay=1.0))
    assert wire.wait_until(99.0).arrived() == [(7.0, b"a"), (11.0, b"b")]


def test_one_replaced_by_one_of_another_name_releases() -> None:
    wire = Wire(one=Stall()).send(Send(0.0, b"a")).wait_until(1.0)
    wire.set(other=Latency(delay=2.0))
    assert wire.arrived() == [(1.0, b"a")]


# ── the sink, alarms, quanta ─────────────────────────────────────────────────────────────


def test_many_links_change_in_linear_time() -> None:
    def used_for(count: int) -> float:
        def links() -> list[Link]:
            return [Link(str(at), opened(Stall()), FaultTally()) for at in range(count)]

        chain, both = Chain(lambda step: None), (links(), links())
        with cpu_time() as used:
            for wanted in (both[0], both[1], []):
                chain.arrange(wanted, 0.0)
        return used.seconds

    used_for(10)
    assert used_for(4_000) < 60 * used_for(250), "16 times the links may take about 16 times as long"


def test_a_blocked_sink_holds_what_has_passed_every_stage() -> None:
    wire = Wire(late=Latency(delay=1.0))
    wire.chain.blocked = True
    wire.send(Send(0.0, b"abc"), HalfClose(0.0)).wait_until(5.0)
    assert wire.left == []
    assert accounts(wire.chain) == (3, 2)
    assert wire.chain.cost == 3 + 2 * CHUNK_COST
    wire.chain.blocked = False
    assert wire.wait_until(6.0).arrived() == [(6.0, b"abc"), (6.0, "HalfClose")]
    assert accounts(wire.chain) == (0, 0)


def test_a_sink_that_blocks_while_steps_leave_gets_no_more() -> None:
    left: list[Step] = []

    def leave(step: Step) -> None:
        left.append(step)
        chain.blocked = True

    chain = Chain(leave)
    chain.push(Send(0.0, b"a"))
    chain.push(Send(0.0, b"b"))
    chain.advance(0.0)
    assert left == [Send(0.0, b"a")]
    chain.blocked = False
    chain.advance(0.0)
    assert left == [Send(0.0, b"a"), Send(0.0, b"b")]
    assert accounts(chain) == (0, 0)


def test_a_pipe_that_ends_while_steps_leave_is_forgotten() -> None:
    left: list[Step] = []

    def leave(step: Step) -> None:
        left.append(step)
        chain.clear()

    chain = Chain(leave)
    for step in (Reset(0.0), Send(0.0, b"late")):
        chain.push(step)
    assert chain.advance(0.0) == NEVER
    assert left == [Reset(0.0)]
    assert accounts(chain) == (0, 0)


class Small(Stage):
    quantum = 3

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def on_step(self, step: Step) -> Iterable[Step]:
        assert isinstance(step, Send)
        self.seen.append(step.data)
        return (step,)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 7, 100])
def test_a_stage_is_given_no_more_than_its_quantum(size: int) -> None:
    stage, data = Small(), bytes(range(size))
    chain = Chain(lambda step: None)
    chain.arrange([Link("small", stage, FaultTally())], 0.0)
    chain.push(Send(0.0, data))
    chain.advance(0.0)
    assert stage.seen == ([data[start : start + 3] for start in range(0, size, 3)] or [b""])
    assert accounts(chain) == (0, 0)


class Clock(Stage):
    """Sends one byte each second."""

    alarm = 1.0

    def on_alarm(self, now: float) -> Iterable[Step]:
        due, self.alarm = self.alarm, self.alarm + 1.0
        return (Send(due, b"."),)


def test_an_alarm_rings_whether_or_not_anything_flows_and_catches_up() -> None:
    left: list[Step] = []
    chain = Chain(left.append)
    tally = FaultTally()
    chain.arrange([Link("clock", Clock(), tally)], 0.0)
    assert chain.advance(0.0) == 1.0
    assert chain.advance(2.5) == 3.0
    assert left == [Send(1.0, b"."), Send(2.0, b".")]
    assert (tally.chunks, tally.delay.sum) == (2, 0.0)
    assert accounts(chain) == (0, 0)


def test_what_came_before_an_alarm_leaves_before_it_however_late_the_timer() -> None:
    wire = Wire(front=Latency(delay=1.0), cut=ResetFault(delay=1.5)).send(Send(0.0, b"early"), Send(0.6, b"late"))
    wire.chain.advance(9.0)
    assert [step for _, step in wire.left] == [Send(1.0, b"early"), Reset(1.5, "cut")]


def test_an_end_that_a_fault_made_names_it_and_a_peers_does_not() -> None:
    wire = Wire(cut=ResetFault(size=1)).send(Send(0.0, b"ab"))
    assert wire.left[-1][1] == Reset(0.0, "cut")
    assert Wire(late=Latency(delay=1.0)).send(Reset(0.0)).wait_until(1.0).left == [(1.0, Reset(1.0))]


# ── what is counted ──────────────────────────────────────────────────────────────────────


def test_only_steps_that_were_touched_are_counted() -> None:
    wire = Wire(close=SlowClose(delay=1.0)).send(Send(0.0, b"a"), Send(0.0, b"b"), HalfClose(0.0)).wait_until(2.0)
    assert wire.tallies["close"].chunks == 1
    assert wire.tallies["close"].delay.sum == pytest.approx(1.0)


def test_swallowed_steps_are_counted_and_held_no_more() -> None:
    wire = Wire(hole=Blackhole()).send(Send(0.0, b"abc"), Send(0.0, b"d"))
    assert wire.tallies["hole"].chunks == 2
    assert accounts(wire.chain) == (0, 0)


def test_accounts_follow_what_is_cut_into_pieces() -> None:
    wire = Wire(cut=Slicer(size=10, gap=1.0)).send(Send(0.0, b"x" * 25), HalfClose(0.0))
    assert accounts(wire.chain) == (25, 3)
    assert accounts(wire.wait_until(1.0).chain) == (15, 3)
    assert accounts(wire.wait_until(9.0).chain) == (0, 0)


def test_clear_forgets_everything() -> None:
    wire = Wire(hold=Stall()).send(Send(0.0, b"abc"))
    wire.chain.clear()
    assert accounts(wire.chain) == (0, 0)
    assert wire.chain.advance(9.0) == NEVER
    assert wire.left == []


class Budget:
    """Time for a number of steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self) -> bool:
        self.steps -= 1
        return self.steps >= 0


def test_work_that_takes_too_long_is_done_in_several_calls() -> None:
    left: list[Step] = []
    chain = Chain(left.append)
    chain.arrange([Link("idle", Stage(), FaultTally())], 0.0)
    for _ in range(100):
        chain.push(Send(1.0, b"x"))
    calls = 0
    while chain.advance(1.0, Budget(10)) != NEVER:
        assert len(left) <= 10 * (calls := calls + 1)
        assert chain.held == chain.chunks == 100 - len(left)
    assert calls >= 10
    assert (chain.held, chain.chunks, len(left)) == (0, 0, 100)


def test_a_later_stage_is_not_starved_by_an_earlier_one() -> None:
    # Each call has time for three steps, and new data arrives all the time.
    left: list[Step] = []
    chain = Chain(left.append)
    chain.arrange([Link(name, Stage(), FaultTally()) for name in "abc"], 0.0)
    for _ in range(50):
        for _ in range(10):
            chain.push(Send(1.0, b"x"))
        chain.advance(1.0, Budget(3))
    assert len(left) >= 20
    assert chain.held == 500 - len(left)


@given(
    st.lists(st.integers(0, 40), max_size=8),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.lists(st.integers(0, 6), max_size=60),
    st.data(),
)
def test_bytes_stay_in_order_however_little_time_there_is(
    sizes: list[int], quanta: list[int], budgets: list[int], data: st.DataObject
) -> None:
    left: list[Step] = []
    chain = Chain(left.append)

    def link(name: int, quantum: int) -> Link:
        stage = Stage()
        stage.quantum = quantum
        return Link(str(name), stage, FaultTally())

    links = [link(name, quantum) for name, quantum in enumerate(quanta)]
    chain.arrange(links, 0.0)
    sent = b""
    for size in sizes:
        chunk = bytes((len(sent) + at) % 251 for at in range(size))
        sent += chunk
        chain.push(Send(0.0, chunk))
    for budget in budgets:
        chain.advance(0.0, Budget(budget))
        assert chain.held == len(sent) - len(content(left))
        if data.draw(st.integers(0, 9)) == 0:
            links = [one for one in links if data.draw(st.booleans())]
            chain.arrange(links, 0.0)
    assert chain.advance(0.0) == NEVER
    assert content(left) == sent
    assert (chain.held, chain.chunks) == (0, 0)
