"""No legal request of at most 1 MiB holds the loop: the longest turn is measured while each is served.

A task that runs in every iteration of the loop measures the CPU time of the whole process between two of its
runs. So other processes do not lengthen a turn, and a thread that keeps the interpreter's lock does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from chaosproxy.app import LoopName, run_on
from tests.control.hostile_requests import REQUESTS, Hostile, Scene, scene
from tests.control.serving import serving

LONGEST_S = 0.03
"""A turn is meant to last 2 ms; single steps that cannot be cut take up to 10 ms, and twice that on a busy machine."""
ATTEMPTS = 3
"""A turn is too long if it is too long each time: page faults and the like come once."""


class Turns:
    longest = 0.0


@asynccontextmanager
async def measured() -> AsyncIterator[Turns]:
    """Measure the longest turn of the loop in the block, in CPU time."""
    turns = Turns()

    async def measure() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            turns.longest = max(turns.longest, now - last)
            last = now

    task = asyncio.get_running_loop().create_task(measure())
    await asyncio.sleep(0)
    try:
        yield turns
    finally:
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextmanager
def without_collections() -> Iterator[None]:
    """Keep the garbage collector from running: a full collection of a test process takes most of a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def longest_turn(request: Hostile) -> float:
    """Return the longest turn of a fresh server while it serves a request."""
    async with serving() as api:
        await api.supervisor.apply(scene(request.scene), "file")
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        async with asyncio.timeout(120), measured() as turns:
            writer.write(request.on_the_wire())
            status = int((await reader.readline()).split()[1])
            while await reader.read(2**16):
                pass
        writer.close()
    assert status in (200, 201, 400, 404, 409), (request.name, status)
    return turns.longest


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    """Restore the interval that `run_on` sets."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("on", "loop"),
    [("empty", "uvloop"), ("empty", "asyncio"), ("ring", "uvloop"), ("faulty", "asyncio"), ("many", "uvloop")],
)
def test_no_request_holds_the_loop(on: Scene, loop: LoopName) -> None:
    too_long = {}
    for request in (one for one in REQUESTS if one.scene == on):
        turns = []
        for _ in range(ATTEMPTS):
            with without_collections():
                turns.append(run_on(loop, longest_turn(request)))
            if turns[-1] < LONGEST_S:
                break
        else:
            too_long[request.name] = min(turns)
    assert too_long == {}


@pytest.mark.slow
def test_a_client_that_leaves_in_the_middle_changes_nothing_for_others() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await api.supervisor.apply(scene("faulty"), "file")
            for request in REQUESTS:
                if request.scene == "faulty" and request.method == "GET":
                    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
                    writer.write(request.on_the_wire())
                    await writer.drain()
                    writer.transport.abort()
            answer = await api.ask("GET", "/v1/proxies?limit=1")
            assert [one["name"] for one in answer.body["proxies"]] == ["proxy-0"]

    asyncio.run(scenario())
