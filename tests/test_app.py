"""The composition root: put together, taken apart, on both loops."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chaosproxy import app
from chaosproxy.app import LoopName, Running, choose_loop, run_on, running, settle_garbage_collection
from chaosproxy.errors import CannotListen
from chaosproxy.model import Address, Config, ControlSpec, ProxySpec

LOOPS: tuple[LoopName, ...] = ("uvloop", "asyncio")
FREE = Address("127.0.0.1", 0)
PROXY = ProxySpec(name="db", listen=FREE, upstream=Address("127.0.0.1", 1))
CONFIG = Config(control=ControlSpec(listen=FREE), proxies=(PROXY,))


@pytest.fixture(params=LOOPS)
def loop_name(request: pytest.FixtureRequest) -> LoopName:
    name: LoopName = request.param
    return name


async def get(here: Running, path: str) -> bytes:
    assert here.control.port is not None
    reader, writer = await asyncio.open_connection(here.control.host, here.control.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


def test_all_parts_answer_while_it_runs_and_none_after(loop_name: LoopName) -> None:
    async def story() -> None:
        async with running(replace(CONFIG, seed=9), loop_name) as here:
            status = json.loads(await get(here, "/v1/status"))
            assert (status["seed"], status["loop"]) == (9, loop_name)
            assert b'chaosproxy_connections{proxy="db"}' in await get(here, "/metrics")
            [bound] = here.supervisor.proxy("db").listening_on
        for address in (here.control, bound):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(address.host, address.port)

    run_on(loop_name, story())


def test_the_stream_of_events_begins_with_the_proxies_of_the_configuration(loop_name: LoopName) -> None:
    async def story() -> None:
        async with running(CONFIG, loop_name) as here:
            kept = await get(here, "/v1/events?follow=false&kind=proxy_added")
            assert b"id: 1\nevent: proxy_added\ndata: " in kept and b'"proxy": "db"' in kept

    run_on(loop_name, story())


@pytest.mark.parametrize("taken", ["", "by a server", "by a file"])
def test_the_path_of_the_control_api_is_deleted_only_if_it_is_its_own(
    loop_name: LoopName, tmp_path: Path, taken: str
) -> None:
    path = tmp_path / "control"
    config = replace(CONFIG, control=ControlSpec(listen=Address(str(path))))

    async def story() -> None:
        async with running(config, loop_name):
            own = path.stat().st_ino
            with pytest.raises(CannotListen) as refused:
                async with running(config, loop_name):
                    pass
            assert refused.value.code == "address-in-use"
            assert path.stat().st_ino == own, "the server that is running keeps its path"
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()
            if taken:
                path.unlink()
            if taken == "by a server":
                other.bind(str(path))
            elif taken == "by a file":
                path.write_text("not a socket")

    with socket.socket(socket.AF_UNIX) as other:
        run_on(loop_name, story())
        assert path.exists() is bool(taken)


def test_the_control_api_on_every_address_takes_both_families(loop_name: LoopName) -> None:
    async def story() -> None:
        async with running(replace(CONFIG, control=ControlSpec(listen=Address("::", 0))), loop_name) as here:
            for host in ("127.0.0.1", "::1"):
                status = await get(replace(here, control=replace(here.control, host=host)), "/v1/status")
                assert json.loads(status)["loop"] == loop_name

    run_on(loop_name, story())


def test_a_control_port_that_is_taken_leaves_nothing_behind(loop_name: LoopName) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        proxy_port = free.getsockname()[1]
        free.close()
        control = ControlSpec(listen=Address("127.0.0.1", taken.getsockname()[1]))
        config = Config(control=control, proxies=(replace(PROXY, listen=Address("127.0.0.1", proxy_port)),))

        async def story() -> None:
            with pytest.raises(CannotListen) as caught:
                async with running(config, loop_name):
                    pytest.fail("it must not run")
            assert caught.value.code == "address-in-use"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", proxy_port)

        run_on(loop_name, story())


def test_without_a_seed_each_run_draws_one() -> None:
    async def seed() -> int:
        async with running(CONFIG, "asyncio") as here:
            return here.supervisor.seed.value

    assert run_on("asyncio", seed()) != run_on("asyncio", seed())


def test_the_loop_is_the_one_asked_for() -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert [run_on(name, kind()) for name in LOOPS] == ["uvloop", "asyncio"]
    assert choose_loop("auto") == choose_loop("uvloop") == "uvloop"
    assert choose_loop("asyncio") == "asyncio"


@pytest.fixture
def collector_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector_as_it_was")
def test_start_up_leaves_little_for_a_full_collection_to_look_at() -> None:
    settle_garbage_collection()
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < 5_000
    young, middle, old = gc.get_threshold()
    assert young * middle * old >= 10**12, "Python makes no full collection by itself"


@pytest.mark.usefixtures("collector_as_it_was")
def test_no_full_collection_takes_place_once_clients_may_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    full: list[str] = []
    thresholds: list[tuple[int, int, int]] = []

    @asynccontextmanager
    async def listening(*_: object, **__: object) -> AsyncIterator[None]:
        full.clear()
        thresholds.append(gc.get_threshold())
        yield

    def note(phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2:
            full.append(phase)

    def announce(_: object) -> None:
        assert len(gc.get_objects()) < 5_000
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(app, "running", listening)
    gc.callbacks.append(note)
    try:
        run_on("asyncio", app.serve(CONFIG, "asyncio", announce))
    finally:
        gc.callbacks.remove(note)
    assert (full, thresholds[0][2]) == ([], 1_000_000_000)


@pytest.mark.usefixtures("collector_as_it_was")
def test_no_other_collection_looks_at_many_objects() -> None:
    settle_garbage_collection()
    examined: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] < 2:
            examined.append(sum(len(gc.get_objects(young)) for young in range(info["generation"] + 1)))

    gc.callbacks.append(note)
    try:
        made: list[list[int]] = [[] for _ in range(1_000_000)]
    finally:
        gc.callbacks.remove(note)
    assert len(made) == 1_000_000
    assert examined and max(examined) < 20_000


def test_a_thread_that_computes_keeps_the_interpreter_for_a_short_time() -> None:
    async def interval() -> float:
        return sys.getswitchinterval()

    before = sys.getswitchinterval()
    try:
        for name in LOOPS:
            sys.setswitchinterval(0.005)
            assert run_on(name, interval()) <= 0.001
    finally:
        sys.setswitchinterval(before)


def test_an_end_of_stream_refused_by_a_peer_that_has_reset_is_not_logged_and_all_else_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        for number in (errno.ENOTCONN, errno.EBADF):
            loop.call_soon(refuse, number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def refuse(number: int) -> None:
        raise OSError(number, os.strerror(number))

    for name in LOOPS:
        caplog.clear()
        run_on(name, story())
        assert [record.exc_info[1].errno for record in caplog.records if record.exc_info] == [errno.EBADF]
