"""Accept clients when the process runs out of descriptors; change the reply while many clients wait in the backlog."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from chaosproxy.model import Address
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.timer.slices import AT_ONCE
from tests.net.building import fault
from tests.net.harness import Stage, address_of, run
from tests.supervising import change_proxy

WAITING = 100
"""More clients than are accepted at once."""
PAUSED = fault("paused", type="pause", direction="both")
DOWN = fault("down", type="refuse")
SILENT = fault("silent", type="unreachable", mode="stream")

linux = pytest.mark.skipif(sys.platform != "linux", reason="a backlog of 0 has no bound elsewhere")


@pytest.mark.slow
def test_exhausted_descriptors_are_logged_once_and_recovered_from(loop_name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.net.starving", loop_name], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot accept on") == 1
    assert done.stdout.count("accepting again on") == 1


async def with_waiting(stage: Stage, **settings: object) -> tuple[Proxy, list[socket.socket]]:
    """Return a paused proxy, and clients that wait in its backlog."""
    running = await stage.proxy_to(f"127.0.0.1:{stage.listener().getsockname()[1]}", **settings)
    stage.supervisor.put_fault("proxy", PAUSED, "test")
    where = running.listening_on[0]
    waiting = []
    for _ in range(WAITING):
        if where.is_unix:
            waiting.append(stage.keep(socket.socket(socket.AF_UNIX)))
            waiting[-1].connect(where.host)
        else:
            waiting.append(await stage.connect(running))
    return running, waiting


def are_reset(clients: Iterable[socket.socket]) -> int:
    """Count the clients whose connection has ended."""
    found = 0
    for client in clients:
        watch = select.poll()
        watch.register(client, select.POLLIN)
        found += any(events & select.POLLHUP for _, events in watch.poll(0))
    return found


def resets(running: Proxy) -> int:
    return running.tally.attempts["reset"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:{}/sock"])
def test_clients_that_wait_are_refused_in_slices(loop_name: str, listen: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        running, waiting = await with_waiting(stage, listen=listen.format(tmp_path))
        stage.supervisor.put_fault("proxy", DOWN, "test")
        assert 0 < resets(running) == are_reset(waiting) <= AT_ONCE
        stage.supervisor.put_fault("proxy", fault("down", type="refuse", existing="reset"), "test")
        assert resets(running) <= AT_ONCE, "the reply is the same"
        await stage.supervisor.settled()
        assert resets(running) == are_reset(waiting) == WAITING
        assert running.tally.opened == 0
        with pytest.raises(ConnectionRefusedError):
            if running.listening_on[0].is_unix:
                stage.keep(socket.socket(socket.AF_UNIX)).connect(running.listening_on[0].host)
            else:
                await stage.connect(running)

    run(loop_name, scenario)


@linux
def test_a_client_that_comes_while_the_backlog_is_emptied_is_not_connected_but_refused(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _ = await with_waiting(stage)
        stage.supervisor.put_fault("proxy", DOWN, "test")
        late = stage.keep(socket.socket())
        assert late.connect_ex(address_of(running)) == errno.EINPROGRESS
        await stage.supervisor.settled()
        assert resets(running) == WAITING
        with pytest.raises(ConnectionRefusedError):  # when its SYN is sent again, after a second
            await asyncio.get_running_loop().sock_connect(late, address_of(running))

    run(loop_name, scenario)


def test_a_heal_serves_the_clients_that_still_wait(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, waiting = await with_waiting(stage)
        stage.supervisor.put_fault("proxy", DOWN, "test")
        stage.supervisor.heal("test")
        refused = resets(running)
        assert 0 < refused <= AT_ONCE
        waiting.append(await stage.connect(running))
        await stage.until_event_makes(lambda: running.tally.opened == WAITING + 1 - refused)
        assert resets(running) == are_reset(waiting) == refused

    run(loop_name, scenario)


def test_of_several_changes_the_last_one_counts(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, waiting = await with_waiting(stage)
        stage.supervisor.put_fault("proxy", DOWN, "test")
        stage.supervisor.remove_fault("proxy", "down", "test")
        refused = resets(running)
        await stage.supervisor.settled()
        await asyncio.sleep(0)
        assert resets(running) == are_reset(waiting) == refused, "the others wait"
        stage.supervisor.put_fault("proxy", DOWN, "test")
        stage.supervisor.remove_fault("proxy", "down", "test")
        stage.supervisor.put_fault("proxy", DOWN, "test")
        await stage.supervisor.settled()
        assert resets(running) == are_reset(waiting) == WAITING
        stage.supervisor.heal("test")
        waiting.append(await stage.connect(running))
        await stage.until_event_makes(lambda: running.tally.opened == 1)

    run(loop_name, scenario)


@pytest.mark.parametrize("end", ["removed", "disabled and moved", "moved"])
def test_a_proxy_that_ends_meanwhile_resets_the_clients_that_wait(loop_name: str, end: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, waiting = await with_waiting(stage)
        port = running.listening_on[0].port
        stage.supervisor.put_fault("proxy", DOWN, "test")
        if end == "removed":
            await stage.supervisor.remove_proxy("proxy", "test")
        else:
            spec = replace(running.spec, enabled=end == "moved", listen=Address("0.0.0.0", port))
            await change_proxy(stage.supervisor, spec, "test")
        await stage.supervisor.settled()
        assert are_reset(waiting) == WAITING
        if end == "removed":
            with socket.create_server(("127.0.0.1", port or 0)):
                pass
            return
        await change_proxy(stage.supervisor, replace(running.spec, enabled=True, faults=()), "test")
        client = await stage.connect(running)
        await stage.until_event_makes(lambda: running.tally.opened == 1)
        assert not are_reset([client])

    run(loop_name, scenario)


@linux
def test_a_backlog_is_emptied_in_slices_before_it_is_kept_full(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _ = await with_waiting(stage)
        stage.supervisor.remove_fault("proxy", "paused", "test")
        stage.supervisor.put_fault("proxy", SILENT, "test")
        assert 0 < running.tally.opened <= 2 * AT_ONCE
        late = stage.keep(socket.socket())
        assert late.connect_ex(address_of(running)) == errno.EINPROGRESS
        await stage.supervisor.settled()
        assert running.tally.opened == WAITING
        with contextlib.suppress(BlockingIOError):
            late.connect(address_of(running))
        with pytest.raises(OSError, match="not connected"):
            late.getpeername()

    run(loop_name, scenario)
