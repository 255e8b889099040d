"""The lag of the loop, and the name of whatever holds it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from chaosproxy.app import LoopName, run_on
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.events import Event, LoopStalled
from chaosproxy.faults.chain import Link
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.connection import Connection
from chaosproxy.observe import GcPauses, Watchdog
from chaosproxy.observe.holder import Frame, Holder, describe, holder_of
from chaosproxy.observe.watchdog import PERIOD, THRESHOLD, Sample, judge
from chaosproxy.seed import Seed
from tests.control.serving import echo_server
from tests.cpu import cpu_time
from tests.net.building import proxy
from tests.servers.chaos import serving
from tests.servers.processes import wait_until

LOOPS: tuple[LoopName, ...] = ("uvloop", "asyncio")

# ── who holds it ──────────────────────────────────────────────────────────────────────────

MAIN = Frame("Runner.run", "asyncio/runners.py", 118)
STEP = Frame("Chain._move", "chaosproxy/faults/chain.py", 150, fault="slow")
PIPE = Frame("Pipe.advance", "chaosproxy/net/stream/pipe.py", 110, proxy="db")
REQUEST = Frame("put_fault", "chaosproxy/control/v1/faults.py", 40, request="PUT /v1/proxies/db/faults/slow")
JSON = Frame("JSONEncoder.encode", "json/encoder.py", 200)


@pytest.mark.parametrize(
    ("frames", "name", "where"),
    [
        ([STEP, PIPE, MAIN], "proxy db, fault slow", "Chain._move in chaosproxy/faults/chain.py:150"),
        ([PIPE, MAIN], "proxy db", "Pipe.advance in chaosproxy/net/stream/pipe.py:110"),
        ([PIPE, REQUEST, MAIN], f"request {REQUEST.request}", "Pipe.advance in chaosproxy/net/stream/pipe.py:110"),
        ([JSON, Frame("render", "chaosproxy/control/v1/views.py", 9), MAIN],
         "function render in chaosproxy/control/v1/views.py", "JSONEncoder.encode in json/encoder.py:200"),
        ([JSON, MAIN, Frame("run_on", "chaosproxy/app.py", 160)],
         "function JSONEncoder.encode in json/encoder.py", "JSONEncoder.encode in json/encoder.py:200"),
        ([MAIN], None, "Runner.run in asyncio/runners.py:118"),
        ([], None, ""),
    ],
)  # fmt: skip
def test_the_holder_is_a_request_or_a_proxy_or_a_function(frames: list[Frame], name: str | None, where: str) -> None:
    assert holder_of(frames) == Holder(name, where)


def test_the_arguments_of_a_function_name_its_proxy_fault_and_request() -> None:
    def here(subject: object) -> Frame:
        return describe(sys._getframe())[0]

    async def scenario() -> None:
        supervisor = Supervisor(Seed(1))
        async with echo_server() as upstream:
            slow = {"type": "latency", "delay": "1ms"}
            running = await supervisor.add_proxy(
                proxy("db", upstream=f"127.0.0.1:{upstream}", faults={"slow": slow}), "test"
            )
            port = running.listening_on[0].port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            await reader.readexactly(1)
            [connection] = running.connections.values()
            assert isinstance(connection, Connection)
            chain = connection.downstream.chain
            assert chain is not None
            [link] = [one for one in chain.links if isinstance(one, Link)]
            request = make_mocked_request("GET", "/v1/nodes?token=secret")
            assert isinstance(request, web.BaseRequest)
            subjects = [running, connection, connection.upstream, connection.downstream]
            assert [here(one).proxy for one in subjects] == ["db"] * 4
            assert [here(one).fault for one in subjects] == ["", "", "", "slow"], "it acts on one direction alone"
            assert isinstance(running, Proxy)
            assert here(connection.upstream.source.get_protocol()).proxy == "db"  # type: ignore[union-attr]
            assert [here(link).fault, here(running.active_fault("slow")).fault] == ["slow", "slow"]
            assert here(request).request == "GET /v1/nodes"
            found = here("no part of a proxy")
            assert (found.request, found.proxy, found.fault) == ("", "", "")
            assert found.file == "observe/test_watchdog.py"
            writer.close()
            await writer.wait_closed()
            await supervisor.close()

    asyncio.run(scenario())


# ── the verdict ───────────────────────────────────────────────────────────────────────────

HELD, OTHER = Holder("proxy db", "f in a.py:1"), Holder("proxy web", "g in b.py:2")


def seen(*holders: Holder, overslept: float = 0.0) -> list[Sample]:
    return [Sample(0.0, one, overslept) for one in holders]


def test_most_samples_decide() -> None:
    assert judge(1.0, 1.0, 0.0, seen(OTHER, HELD, HELD)) == HELD


def test_a_garbage_collection_is_named_whatever_was_seen_after_it() -> None:
    assert judge(1.0, 1.0, 0.6, seen(HELD)).name == "garbage collection"


def test_nobody_is_blamed_when_the_process_did_not_run() -> None:
    assert judge(1.0, 0.01, 0.0, seen(HELD, overslept=0.9)).name is None
    assert judge(1.0, 0.01, 0.0, []).name is None


def test_a_computation_that_stops_the_thread_too_is_named() -> None:
    assert judge(1.0, 0.99, 0.0, seen(HELD, overslept=0.9)) == HELD
    assert judge(9.0, 0.60, 0.0, seen(HELD, overslept=8.9)) == HELD, "on a machine with little time for it"


def test_a_call_that_blocks_is_named() -> None:
    assert judge(1.0, 0.01, 0.0, seen(HELD)) == HELD


# ── on a loop ─────────────────────────────────────────────────────────────────────────────


def watched(loop_name: LoopName, hold: Callable[[], object]) -> tuple[Watchdog, LoopStalled]:
    """What is published about a function that holds the loop."""

    async def scenario() -> tuple[Watchdog, LoopStalled]:
        published: asyncio.Queue[Event] = asyncio.Queue()
        pauses = GcPauses()
        pauses.start()
        watchdog = Watchdog(published.put_nowait, pauses)
        watchdog.start()
        try:
            asyncio.get_running_loop().call_later(4 * PERIOD, hold)
            async with asyncio.timeout(30.0):
                while True:
                    event = await published.get()
                    assert isinstance(event, LoopStalled)
                    if event.held_by is not None:  # a busy machine may stop the process for a while
                        return watchdog, event
        finally:
            watchdog.stop()
            pauses.stop()

    return run_on(loop_name, scenario())


def block() -> None:
    time.sleep(0.6)


def compute() -> None:
    """Keep the interpreter's lock in one call; no other thread runs meanwhile."""
    re.match("(a+)+$", "a" * 24 + "b")


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_call_that_blocks_the_loop_is_named(loop_name: LoopName) -> None:
    watchdog, event = watched(loop_name, block)
    assert event.held_by == "function block in observe/test_watchdog.py"
    assert event.where.startswith("block in observe/test_watchdog.py:")
    assert event.seconds > 0.6 - 2 * PERIOD
    assert event.cpu_s < 0.3
    assert watchdog.max >= event.seconds
    assert sum(watchdog.histogram.counts[-7:]) >= 1, "in a bucket above 0.25 s"


@pytest.mark.slow
@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_computation_that_no_thread_can_interrupt_is_named(loop_name: LoopName) -> None:
    _, event = watched(loop_name, compute)
    assert event.held_by == "function compute in observe/test_watchdog.py", event
    assert event.cpu_s > THRESHOLD


@pytest.mark.parametrize("loop_name", LOOPS)
def test_the_lag_of_each_heartbeat_is_counted_and_a_short_turn_is_no_stall(loop_name: LoopName) -> None:
    async def scenario() -> None:
        published: list[Event] = []
        now = 0.0
        watchdog = Watchdog(published.append, GcPauses(), lambda: now)
        watchdog.start()
        for lag in (0.0, 0.03, THRESHOLD - 0.001, THRESHOLD):
            seen = sum(watchdog.histogram.counts)
            now += PERIOD + lag
            async with asyncio.timeout(30.0):
                while sum(watchdog.histogram.counts) == seen:
                    await asyncio.sleep(0.001)
        watchdog.stop()
        assert [round(one.seconds, 6) for one in published if isinstance(one, LoopStalled)] == [THRESHOLD]
        assert round(watchdog.max, 6) == THRESHOLD
        assert round(watchdog.histogram.sum, 6) == round(0.03 + 2 * THRESHOLD - 0.001, 6)

    run_on(loop_name, scenario())


@pytest.mark.slow
@pytest.mark.parametrize("loop_name", LOOPS)
def test_it_costs_next_to_nothing(loop_name: LoopName) -> None:
    async def rest(seconds: float) -> float:
        before = time.process_time()
        with cpu_time():
            await asyncio.sleep(seconds)
        return time.process_time() - before

    async def scenario() -> float:
        bare = await rest(2.0)
        watchdog = Watchdog(lambda event: None, GcPauses())
        watchdog.start()
        used = await rest(2.0)
        watchdog.stop()
        return used - bare

    assert run_on(loop_name, scenario()) < 0.04, "2 % of a core; it is about 0.1 %"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals of POSIX")
@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_process_that_was_stopped_blames_nobody(tmp_path: Path, loop_name: LoopName) -> None:
    with serving(tmp_path, "--loop", loop_name) as server:
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)  # the time that it is to miss
        server.process.send_signal(signal.SIGCONT)
        told = re.compile(r" WARNING loop_stalled seconds=(?:0\.[89]|[1-9])\S* cpu_s=\S+ held_by=(\S+) where=")
        wait_until(lambda: told.search(server.log) is not None, 30.0, "it has noticed")
        found = told.search(server.log)
        assert found is not None
        assert found[1] == "null", server.log
        assert re.search(r"^chaosproxy_loop_lag_seconds_max (0\.[89]|[1-9])", server.metrics(), re.MULTILINE)
