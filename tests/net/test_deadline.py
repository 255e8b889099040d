"""A limit on the time that a task may wait: when it cancels, and whom the cancellation belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chaosproxy.net.timer.deadline import Deadline
from chaosproxy.net.timer.scheduler import Scheduler
from tests.net.clockwork import Clockwork as AnyClockwork


class Clockwork(AnyClockwork):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(self.clock, self.make_timer)


def outcome(*steps: Callable[[Clockwork, asyncio.Task[str]], None]) -> tuple[str, int]:
    """Wait with a limit of 5 s while `steps` happen; return how the wait ended, and the cancellations left over."""

    async def wait(clock: Clockwork, enough: asyncio.Event) -> str:
        deadline = Deadline(clock.scheduler, 5.0)
        try:
            await enough.wait()
            return "waited"
        except asyncio.CancelledError:
            return "late" if deadline.alone_cancelled else "cancelled"
        finally:
            deadline.close()

    async def play() -> tuple[str, int]:
        clock, enough = Clockwork(), asyncio.Event()
        task = asyncio.create_task(wait(clock, enough))
        await asyncio.sleep(0)
        for step in steps:
            step(clock, task)
        enough.set()
        return await task, task.cancelling()

    return asyncio.run(play())


def at(seconds: float) -> Callable[[Clockwork, asyncio.Task[str]], None]:
    return lambda clock, _: clock.go_to(seconds)


def cancel(_: Clockwork, task: asyncio.Task[str]) -> None:
    task.cancel()


def test_it_cancels_when_its_time_has_passed_and_takes_the_cancellation_back() -> None:
    assert outcome(at(5.0)) == ("late", 0)


def test_it_does_nothing_before() -> None:
    assert outcome(at(4.999)) == ("waited", 0)


@pytest.mark.parametrize("steps", [(cancel,), (cancel, at(5.0)), (at(5.0), cancel)])
def test_another_cancellation_stays_one(steps: tuple[Callable[[Clockwork, asyncio.Task[str]], None], ...]) -> None:
    assert outcome(*steps) == ("cancelled", 1)


def test_a_closed_one_cancels_nobody() -> None:
    async def play() -> str:
        clock = Clockwork()
        Deadline(clock.scheduler, 5.0).close()
        clock.go_to(9.0)
        await asyncio.sleep(0)
        return "not cancelled"

    assert asyncio.run(play()) == "not cancelled"
