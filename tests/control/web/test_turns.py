"""Turns: requests share the loop, and no turn is long. The clock is moved by the tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from chaosproxy.control.web.turns import TURN_S, Turns, take_turns, turns_of


class Time:
    now = 0.0

    def clock(self) -> float:
        return self.now


async def iterations(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Steps:
    """Awaits a coroutine; its result is the number of times that the coroutine has waited."""

    def __init__(self, coroutine: Coroutine[object, object, object]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[object, None, int]:
        waits = 0
        with contextlib.suppress(StopIteration):
            while True:
                yield self._coroutine.send(None)
                waits += 1
        return waits


def play(scenario: Callable[[Turns, Time, list[str]], Coroutine[object, object, None]]) -> list[str]:
    """Run a scenario; return the lines that it has noted."""

    async def main() -> list[str]:
        time, lines = Time(), list[str]()
        turns = Turns(time.clock)
        try:
            async with asyncio.timeout(30):
                await scenario(turns, time, lines)
        finally:
            turns.close()
        return [*lines]

    return asyncio.run(main())


async def work(turns: Turns, time: Time, lines: list[str], name: str, steps: int, each: float) -> None:
    for step in range(steps):
        await turns.rest()
        lines.append(f"{name}{step}")
        time.now += each


def test_short_steps_are_done_in_one_turn() -> None:
    async def scenario(turns: Turns, time: Time, lines: list[str]) -> None:
        asyncio.get_running_loop().call_soon(lines.append, "other")
        await work(turns, time, lines, "a", 4, TURN_S / 10)

    assert play(scenario) == ["a0", "a1", "a2", "a3"], "nothing else has run meanwhile"


def test_others_run_between_two_turns() -> None:
    async def scenario(turns: Turns, time: Time, lines: list[str]) -> None:
        loop = asyncio.get_running_loop()

        async def ticker() -> None:
            while True:
                lines.append("-")
                await asyncio.sleep(0)

        ticking = loop.create_task(ticker())
        await work(turns, time, lines, "a", 6, TURN_S / 2)
        ticking.cancel()

    assert "".join(play(scenario)).replace("--", "-").strip("-") == "a0a1-a2a3-a4a5"


def test_requests_take_turns_in_the_order_in_which_they_began_to_wait() -> None:
    async def scenario(turns: Turns, time: Time, lines: list[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(work(turns, time, lines, name, 3, TURN_S))

    assert play(scenario) == ["a0", "a1", "b0", "c0", "a2", "b1", "c1", "b2", "c2"]


def test_a_short_request_does_not_wait_for_many_long_ones() -> None:
    async def scenario(turns: Turns, time: Time, lines: list[str]) -> None:
        async def short(name: str) -> None:
            await turns.rest(is_new=True)
            lines.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "abcdef":
                group.create_task(work(turns, time, lines, name, 5, TURN_S))
            await iterations(3)
            for name in ("x", "y"):
                group.create_task(short(name))

    found = play(scenario)
    x, y = found.index("x"), found.index("y")
    assert 0 < x < 6 and x + 2 == y, "every other turn"
    assert len(found) == 32


def test_healthz_waits_for_no_turn() -> None:
    async def respond(_request: web.Request) -> web.Response:
        return web.Response()

    async def has_to_wait(path: str) -> bool:
        app = web.Application()
        take_turn = take_turns(app)
        request = make_mocked_request("GET", path, app=app)
        turns = turns_of(request)
        try:
            await turns.rest()  # begins a turn
            turns._waiting.append(asyncio.get_running_loop().create_future())
            return await Steps(take_turn(request, respond)) > 0
        finally:
            turns.close()

    waits = {path: asyncio.run(has_to_wait(path)) for path in ("/healthz", "/readyz", "/v1/status")}
    assert waits == {"/healthz": False, "/readyz": True, "/v1/status": True}


def test_a_request_whose_client_has_left_takes_no_turn() -> None:
    async def scenario(turns: Turns, time: Time, lines: list[str]) -> None:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(work(turns, time, lines, name, 2, TURN_S)) for name in "abc"]
        await iterations(1)
        tasks[1].cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    assert play(scenario) == ["a0", "a1", "c0", "c1"]


def test_a_function_off_the_loop_gives_its_result_or_its_error() -> None:
    async def scenario(turns: Turns, time: Time, lines: list[str]) -> None:
        lines.append(await turns.off_loop("-".join, ["a", "b"]))
        try:
            await turns.off_loop(int, "x")
        except ValueError:
            lines.append("error")

    assert play(scenario) == ["a-b", "error"]
