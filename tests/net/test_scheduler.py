"""The one timer: order, accuracy, and that a failing pipe does not stop it."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import SHARE, TURN, Scheduler, best_timer
from tests.net.clockwork import Clockwork as AnyClockwork
from tests.net.harness import LOOPS


class Clockwork(AnyClockwork):
    """A scheduler on a clock that the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(self.clock, self.make_timer)


class Sleeper:
    def __init__(self, name: str, log: list[tuple[str, float]], bug: bool = False) -> None:
        self.name, self.log, self.bug = name, log, bug
        self.scheduled_at = NEVER

    def on_due(self, now: float) -> None:
        if self.bug:
            raise RuntimeError("a stage's defect")
        self.log.append((self.name, now))

    def on_bug(self) -> None:
        self.log.append((f"{self.name} ended", -1.0))


def test_everyone_due_is_woken_in_order_of_time() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    for name, due in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        clock.scheduler.schedule(Sleeper(name, log), due)
    clock.go_to(2.5)
    assert log == [("early", 2.5), ("middle", 2.5)]
    assert clock.timer.armed[-1] == 3.0


def test_the_timer_is_armed_anew_only_for_an_earlier_head() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    for due in (5.0, 7.0, 9.0, 4.0):
        clock.scheduler.schedule(Sleeper("x", log), due)
    assert clock.timer.armed == [5.0, 4.0]


def test_rescheduling_replaces_and_never_takes_back() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    moved, cancelled = Sleeper("moved", log), Sleeper("cancelled", log)
    clock.scheduler.schedule(moved, 1.0)
    clock.scheduler.schedule(moved, 5.0)
    clock.scheduler.schedule(cancelled, 1.0)
    clock.scheduler.schedule(cancelled, NEVER)
    clock.go_to(2.0)
    assert log == []
    clock.go_to(5.0)
    assert log == [("moved", 5.0)]


def test_a_defect_in_one_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    clock.scheduler.schedule(Sleeper("broken", log, bug=True), 1.0)
    clock.scheduler.schedule(Sleeper("fine", log), 1.0)
    clock.scheduler.schedule(Sleeper("later", log), 2.0)
    with caplog.at_level(logging.CRITICAL, "chaosproxy.net.timer.scheduler"):
        clock.go_to(1.0)
    assert log == [("broken ended", -1.0), ("fine", 1.0)]
    assert clock.timer.armed[-1] == 2.0


def test_replaced_entries_do_not_pile_up() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    sleeper = Sleeper("x", log)
    for due in range(10_000):
        clock.scheduler.schedule(sleeper, 1e6 - due)
    assert len(clock.scheduler._heap) < 200


def test_a_wake_up_asked_for_while_stale_entries_are_removed_is_not_lost() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    crowd = [Sleeper(f"cancelled {number}", log) for number in range(80)]
    late = Sleeper("late", log)

    class Canceller(Sleeper):
        def on_due(self, now: float) -> None:
            for one in crowd:
                clock.scheduler.schedule(one, NEVER)
            clock.scheduler.schedule(late, 2.0)

    for one in crowd:
        clock.scheduler.schedule(one, 50.0)
    clock.scheduler.schedule(Canceller("canceller", log), 1.0)
    clock.go_to(1.0)
    assert clock.timer.armed[-1] == 2.0, "the timer is armed for the one that was asked for"
    clock.go_to(2.0)
    assert log == [("late", 2.0)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12) | st.none()), max_size=300), st.integers(0, 12))
def test_each_is_woken_once_at_its_latest_time_whatever_was_asked_before(
    asked: list[tuple[int, int | None]], end: int
) -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    sleepers = [Sleeper(str(number), log) for number in range(6)]
    wanted: dict[str, float] = {}
    for number, due in asked:
        clock.scheduler.schedule(sleepers[number], NEVER if due is None else float(due))
        wanted[str(number)] = NEVER if due is None else float(due)
    for now in range(end + 1):
        clock.go_to(float(now))
    assert sorted(log) == sorted((name, due) for name, due in wanted.items() if due <= end)
    assert all(one.scheduled_at == (wanted.get(one.name, NEVER) if wanted.get(one.name, NEVER) > end else NEVER)
               for one in sleepers)


@pytest.mark.parametrize("loop_name", LOOPS)
def test_the_kernels_timer_is_never_early(loop_name: str) -> None:
    async def play() -> list[float]:
        loop = asyncio.get_running_loop()
        scheduler = Scheduler(time.monotonic, best_timer(loop, time.monotonic))
        lateness: list[float] = []
        done = asyncio.Event()

        class Measure(Sleeper):
            def on_due(self, now: float) -> None:
                lateness.append(time.monotonic() - self.due)
                if len(lateness) == 50:
                    done.set()
                else:
                    self.set(0.0007)

            def set(self, delay: float) -> None:
                self.due = time.monotonic() + delay
                scheduler.schedule(self, self.due)

        Measure("m", []).set(0.0007)
        await asyncio.wait_for(done.wait(), 60)
        scheduler.close()
        return lateness

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        assert min(runner.run(play())) >= 0


def test_much_work_is_done_in_slices() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()

    class Busy(Sleeper):
        def on_due(self, now: float) -> None:
            super().on_due(now)
            clock.now += TURN * 0.6

    for number in range(5):
        clock.scheduler.schedule(Busy(str(number), log), 1.0)
    clock.go_to(1.0)
    assert [name for name, _ in log] == ["0", "1"]
    clock.timer.fire()
    clock.timer.fire()
    assert [name for name, _ in log] == ["0", "1", "2", "3", "4"]


class Worker(Sleeper):
    """Works in steps of a tenth of a share until `work` is done."""

    def __init__(self, name: str, log: list[tuple[str, float]], clock: Clockwork, work: int) -> None:
        super().__init__(name, log)
        self.clock, self.work = clock, work

    def arrive(self) -> None:
        scheduler = self.clock.scheduler
        done = 0
        if scheduler.begin():
            while self.work and scheduler.has_time():
                self.work, done = self.work - 1, done + 1
                self.clock.now += SHARE / 10
            scheduler.end()
        if done:
            self.log.append((self.name, done))
        if self.work:
            scheduler.defer(self)

    def on_due(self, now: float) -> None:
        self.arrive()


def test_one_that_has_much_to_do_waits_behind_the_others() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    glutton, other = Worker("glutton", log, clock, 25), Worker("other", log, clock, 5)
    glutton.arrive()
    assert [name for name, _ in log] == ["glutton"]
    clock.scheduler.schedule(other, clock.now)
    clock.timer.fire()
    assert [name for name, _ in log] == ["glutton", "other", "glutton", "glutton"]
    assert glutton.work == 0
    assert glutton.scheduled_at == NEVER


def test_deferred_ones_take_turns() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    workers = [Worker(name, log, clock, 30) for name in "abc"]
    for worker in workers:
        worker.arrive()
    for _ in range(9):
        clock.timer.fire()
    assert "".join(name for name, _ in log[:9]) == "abcabcabc"
    assert [worker.work for worker in workers] == [0, 0, 0]


def test_all_that_arrives_in_one_turn_has_one_turns_time() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    workers = [Worker(str(number), log, clock, 10) for number in range(50)]
    began = clock.now
    for worker in workers:
        worker.arrive()
    assert clock.now - began <= TURN + SHARE
    turns = 0
    while any(worker.work for worker in workers):
        before = clock.now
        clock.timer.fire()
        assert clock.now - before <= TURN + SHARE
        turns += 1
    assert turns <= 50


def test_work_within_other_work_has_no_time_of_its_own() -> None:
    clock = Clockwork()
    scheduler = clock.scheduler
    assert scheduler.begin()
    clock.now += SHARE / 2
    assert scheduler.begin()
    clock.now += SHARE / 4
    scheduler.end()
    assert scheduler.has_time()
    clock.now += SHARE / 2
    assert not scheduler.has_time()
    assert not scheduler.begin(), "the inner work is deferred"
    scheduler.end()
    assert scheduler.begin(), "there is time for another share in this turn"
    scheduler.end()


def test_deferred_ones_are_served_even_if_others_are_always_due() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()

    class Greedy(Sleeper):
        def on_due(self, now: float) -> None:
            clock.now += 2 * TURN
            clock.scheduler.schedule(self, clock.now)

    patient = Sleeper("patient", log)
    clock.scheduler.schedule(Greedy("greedy", log), 0.0)
    clock.scheduler.defer(patient)
    clock.timer.fire()
    assert [name for name, _ in log] == ["patient"]


def test_a_deferred_one_can_be_rescheduled_or_cancelled() -> None:
    clock, log = Clockwork(), list[tuple[str, float]]()
    later, cancelled, again = Sleeper("later", log), Sleeper("cancelled", log), Sleeper("again", log)
    for one in (later, cancelled, again):
        clock.scheduler.defer(one)
    clock.scheduler.schedule(later, 5.0)
    clock.scheduler.schedule(cancelled, NEVER)
    clock.scheduler.schedule(again, 7.0)
    clock.scheduler.defer(again)
    clock.timer.fire()
    assert log == [("again", 0.0)]
    clock.run_to(9.0)
    assert log == [("again", 0.0), ("later", 5.0)]


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is of Linux")
@pytest.mark.parametrize("due", [9.3e18, 2e20, 1e300])
def test_what_is_due_in_another_age_stops_no_timer(due: float) -> None:
    async def play() -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        class Soon(Sleeper):
            def on_due(self, now: float) -> None:
                woken.set()

        scheduler = Scheduler(time.monotonic, best_timer(loop, time.monotonic))
        scheduler.schedule(Sleeper("never", []), due)
        scheduler.schedule(Soon("soon", []), time.monotonic() + 0.01)
        await asyncio.wait_for(woken.wait(), 60)
        scheduler.close()

    asyncio.run(play())


def test_a_deferred_pipe_gets_its_share_although_others_are_always_due() -> None:
    clock = Clockwork()
    scheduler = clock.scheduler

    class Worker:
        scheduled_at = NEVER
        steps = 0
        deferred = False

        def on_due(self, now: float) -> None:
            if scheduler.begin():
                while scheduler.has_time():
                    self.steps += 1
                    clock.now += SHARE / 5
                scheduler.end()
            if self.deferred:
                scheduler.defer(self)
            else:
                scheduler.schedule(self, clock.now)

        def on_bug(self) -> None: ...

    crowd, late = [Worker() for _ in range(50)], Worker()
    late.deferred = True
    for one in crowd:
        scheduler.schedule(one, 0.0)
    scheduler.defer(late)
    for turn in range(1, 20):
        before = clock.now
        clock.timer.fire()
        assert clock.now - before <= TURN + 2 * SHARE
        assert late.steps >= 4 * turn
