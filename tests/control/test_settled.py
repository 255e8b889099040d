"""A change waits for what it has begun on every proxy, and does not hold the loop meanwhile."""

from __future__ import annotations

import asyncio
from typing import cast

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.net.proxy import Proxy
from chaosproxy.seed import Seed


class Quiet:
    """A proxy on which nothing is left to do."""

    is_settled = True


class Busy:
    is_settled = False

    def __init__(self) -> None:
        self.waited = False

    async def settled(self) -> None:
        await asyncio.sleep(0)
        self.waited = True


def test_ten_thousand_settled_proxies_leave_turns_for_others_and_one_that_is_not_is_awaited() -> None:
    async def scenario() -> tuple[int, bool]:
        supervisor, busy, turns = Supervisor(Seed(1)), Busy(), 0
        proxies = {str(number): cast(Proxy, Quiet()) for number in range(10_000)}
        supervisor._proxies = {**proxies, "busy": cast(Proxy, busy)}
        waiting = asyncio.ensure_future(supervisor.settled())
        while not waiting.done():
            await asyncio.sleep(0)
            turns += 1
        supervisor._proxies = {}
        await supervisor.close()
        return turns, busy.waited

    turns, waited = asyncio.run(scenario())
    assert turns >= 20 and waited
