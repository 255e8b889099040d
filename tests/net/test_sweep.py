"""A sweep: a few objects at once, the others in slices."""

from __future__ import annotations

import asyncio

import pytest

from chaosproxy.faults.base import NEVER
from chaosproxy.net.timer.scheduler import SHARE, TURN, Scheduler
from chaosproxy.net.timer.slices import AT_ONCE
from chaosproxy.net.timer.sweep import Sweep
from tests.net.clockwork import Clockwork


class Swept(Clockwork):
    """A sweep whose action takes a tenth of a share on a clock that the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(self.clock, self.make_timer)
        self.done: list[int] = []
        self.sweep = Sweep(self.scheduler, self.act)

    def act(self, number: int) -> None:
        self.done.append(number)
        self.now += SHARE / 10


def test_few_are_done_when_start_returns() -> None:
    swept = Swept()
    swept.sweep.start(range(AT_ONCE))
    assert swept.done == list(range(AT_ONCE))
    assert swept.sweep.is_done
    assert swept.timer.armed == []


def test_a_start_takes_no_longer_than_a_turn() -> None:
    swept = Swept()
    swept.sweep = Sweep(swept.scheduler, swept.act, cpu_clock=swept.clock)
    swept.sweep.start(range(1000))
    assert 1 <= len(swept.done) < AT_ONCE + 10
    swept.done.clear()

    def slow(number: int) -> None:
        swept.done.append(number)
        swept.now += TURN

    swept.sweep = Sweep(swept.scheduler, slow, cpu_clock=swept.clock)
    swept.sweep.start(range(10))
    assert swept.done == [0]


def test_many_are_done_in_slices() -> None:
    swept = Swept()
    swept.sweep.start(range(1000))
    assert len(swept.done) == AT_ONCE
    fires = 0
    while not swept.sweep.is_done:
        before = swept.now
        swept.timer.fire()
        assert swept.now - before <= TURN + SHARE
        fires += 1
    assert swept.done == list(range(1000))
    assert fires > 10


def test_pipes_that_begin_and_end_in_the_action_do_not_lengthen_a_slice() -> None:
    swept = Swept()

    def act(number: int) -> None:
        swept.act(number)
        if swept.scheduler.begin():
            swept.scheduler.end()

    swept.sweep = Sweep(swept.scheduler, act)
    swept.sweep.start(range(1000))
    while not swept.sweep.is_done:
        before = swept.now
        swept.timer.fire()
        assert swept.now - before <= TURN + SHARE


def test_a_new_start_treats_first_what_the_earlier_one_has_left() -> None:
    swept = Swept()
    swept.sweep.start(range(100))
    swept.sweep.start(range(50, 150))
    while not swept.sweep.is_done:
        swept.timer.fire()
    assert swept.done == [*range(100), *range(100, 150)]


def test_each_is_treated_and_each_wait_ends_however_often_it_is_started() -> None:
    async def play() -> None:
        swept = Swept()
        swept.sweep.start(range(1000))
        waiting = asyncio.ensure_future(swept.sweep.wait())
        await asyncio.sleep(0)
        for _ in range(1000 // AT_ONCE):
            assert not waiting.done()
            swept.sweep.start(range(1000))
        await asyncio.wait_for(waiting, 30)
        assert set(swept.done) == set(range(1000))
        assert not swept.sweep.is_done

    asyncio.run(play())


def test_a_defect_of_one_does_not_keep_the_others_waiting() -> None:
    swept = Swept()

    def act(number: int) -> None:
        if number == 50:
            raise RuntimeError("a defect")
        swept.act(number)

    swept.sweep = Sweep(swept.scheduler, act)
    swept.sweep.start(range(100))
    while not swept.sweep.is_done:
        swept.timer.fire()
    assert swept.done == [number for number in range(100) if number != 50]


def test_it_can_be_waited_for() -> None:
    async def play() -> None:
        swept = Swept()
        await swept.sweep.wait()
        swept.sweep.start(range(100))
        waiting = asyncio.ensure_future(swept.sweep.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        while not swept.sweep.is_done:
            swept.timer.fire()
        await asyncio.wait_for(waiting, 30)

    asyncio.run(play())


def test_a_closed_scheduler_ends_each_wait() -> None:
    async def play() -> None:
        swept = Swept()
        swept.sweep.start(range(100))
        waiting = asyncio.ensure_future(swept.sweep.wait())
        cancelled = asyncio.ensure_future(swept.sweep.wait())
        await asyncio.sleep(0)
        cancelled.cancel()
        swept.scheduler.close()
        await asyncio.wait_for(waiting, 30)
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        swept.sweep.start(range(100, 200))
        assert swept.timer.due == NEVER, "a closed timer is not armed"
        await asyncio.wait_for(swept.sweep.wait(), 30)

    asyncio.run(play())
