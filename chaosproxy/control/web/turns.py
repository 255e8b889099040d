"""Share the event loop between requests: each holds it for about 2 ms, and then waits for its next turn.

    Turns.rest      a handler calls it between two steps of its work; it waits if the turn has lasted too long
    Turns.off_loop  runs a long pure function of immutable values in a thread

At most one request continues per iteration of the loop, so that data which arrived meanwhile is forwarded
between any two turns. Requests continue in the order in which they began to wait. Every other turn is for a
request that has had none, so that a short request does not wait for many long ones. `/healthz` waits for no turn:
its handler takes some microseconds, and a busy loop may need a second for the turns of the requests before it.

The one thread takes the functions in order. Python switches between it and the loop after the interval of
`sys.setswitchinterval`, which `app` lowers: the loop never waits longer for the thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeAlias, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chaosproxy.control.web.health import ALIVE_PATH

__all__ = ["TURN_S", "Turns", "parsed", "take_turns", "turns_of"]

Queue: TypeAlias = "deque[asyncio.Future[None]]"
P = ParamSpec("P")
R = TypeVar("R")

TURN_S = 0.002
"""Seconds for which requests hold the loop at a time."""
_SHORT = 1_000
"""The most bytes of a body that is parsed on the loop, in about 1 ms."""


class Turns:
    """The turns of all requests of one control server."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        """The time at which the present turn began; None if requests have not run in this iteration yet."""
        self._waiting: Queue = deque()
        self._new: Queue = deque()
        """The requests that wait and have had no turn yet."""
        self._last_was_new = False
        self._thread = ThreadPoolExecutor(1, "chaosproxy-requests")  # it starts when it is first used

    async def rest(self, *, is_new: bool = False) -> None:
        """Continue at once if there is time left in this turn; wait for the next turn otherwise.

        `is_new` is true for a request that has had no turn yet.
        """
        if self._began is None:
            self._begin()
        elif self._waiting or self._new or self._clock() - self._began >= TURN_S:
            turn = asyncio.get_running_loop().create_future()
            (self._new if is_new else self._waiting).append(turn)
            await turn
            self._began = self._clock()

    async def off_loop(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function in the thread. It must read immutable values only."""
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))
        await self.rest()
        return result

    def close(self) -> None:
        """Stop the thread once it has ended the function that it runs; skip the others."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        self._began = self._clock()
        asyncio.get_running_loop().call_soon(self._end)  # runs in the next iteration

    def _end(self) -> None:
        """End the turn, and let a request continue in the next iteration."""
        self._began = None
        queues = (self._waiting, self._new) if self._last_was_new else (self._new, self._waiting)
        for queue in queues:
            while queue:
                turn = queue.popleft()
                if not turn.done():  # a request whose handler was cancelled waits no more
                    self._last_was_new = queue is self._new
                    turn.set_result(None)
                    self._begin()
                    return


_TURNS = web.AppKey("turns", Turns)


def turns_of(request: web.Request) -> Turns:
    """Return the turns of the server that received the request."""
    return request.app[_TURNS]


async def parsed(request: web.Request, parse: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Parse the body of a request: off the loop, unless it is short."""
    if len(await request.read()) <= _SHORT:
        return parse(*args, **kwargs)
    return await turns_of(request).off_loop(parse, *args, **kwargs)


def take_turns(app: web.Application) -> Middleware:
    """Give an application its turns; return the middleware that makes each request but `/healthz` wait for one."""
    turns = app[_TURNS] = Turns()

    async def start(_app: web.Application) -> None:
        await turns.off_loop(int)  # so that no request waits until the thread has started

    async def close(_app: web.Application) -> None:
        turns.close()

    app.on_startup.append(start)
    app.on_cleanup.append(close)

    @web.middleware
    async def take_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != ALIVE_PATH:
            await turns.rest(is_new=True)
        return await handler(request)

    return take_turn
