"""More clients than there are descriptors for: they are reset at once, and everything else continues."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaosproxy.events import TooManyConnections
from chaosproxy.model import Config
from chaosproxy.net.http.copies import Copies
from chaosproxy.net.kernel.descriptors import RESERVE, Descriptors, FileLimit
from chaosproxy.tasks import TaskOwner
from tests.net.harness import Stage, receive, run, send, until
from tests.servers.chaos import ChaosproxyServer, chaosproxy_command, serving

FILES = 256
CLIENTS = 400
PATIENCE = 60.0

linux = pytest.mark.skipif(sys.platform != "linux", reason="counts its descriptors in /proc")


@contextmanager
def few_files(directory: Path, loop_name: str) -> Iterator[ChaosproxyServer]:
    """Serve with FILES descriptors."""
    command = ["sh", "-c", f'ulimit -n {FILES}; exec "$0" "$@"', *chaosproxy_command()]
    with serving(directory, command=command, environment={**os.environ, "CHAOSPROXY_LOOP": loop_name}) as server:
        yield server


@contextmanager
def echoing() -> Iterator[int]:
    """Echo each client's bytes in a thread of its own; yield the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as listener:

        def echo(client: socket.socket) -> None:
            with client:
                while data := client.recv(1000):
                    client.sendall(data)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ping(client: socket.socket) -> None:
    client.sendall(b"x")
    assert client.recv(1) == b"x"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def count(server: ChaosproxyServer, name: str, proxy: str = "flooded") -> int:
    return int(server.sample(f"chaosproxy_{name}", proxy=proxy))


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until a condition holds that only a scrape shows."""
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends


def are_reset(clients: list[socket.socket]) -> int:
    """Count the clients that were reset."""
    found = 0
    for client in clients:
        watch = select.poll()
        watch.register(client, 0)
        found += any(events & select.POLLHUP for _, events in watch.poll(0))
    return found


def connect_perhaps(port: int) -> socket.socket:
    """Return a client that may be reset as soon as it is connected."""
    client = socket.socket()
    client.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionResetError):
        client.connect(("127.0.0.1", port))
    return client


@linux
@pytest.mark.slow
@pytest.mark.parametrize("delayed", [False, True], ids=["", "delayed"])
def test_a_flood_on_one_proxy_is_not_felt_elsewhere(delayed: bool, loop_name: str, tmp_path: Path) -> None:
    with few_files(tmp_path, loop_name) as server, echoing() as upstream:
        flooded, other = (server.add_proxy(name, upstream) for name in ("flooded", "other"))
        if delayed:
            server.inject("flooded", type="slow_accept", delay="1h")
        limits = {one["name"]: one["value"] for one in server.call("GET", "/v1/status")["limits"]}
        most = limits["connections"]
        assert (limits["open_files"], limits["reserve"]) == (FILES, FILES // 4)
        assert 50 < most < (FILES - FILES // 4) // 2
        clients: list[socket.socket] = []
        with contextlib.ExitStack() as at_end, connect(other) as neighbour:
            ping(neighbour)
            for number in range(CLIENTS):
                clients.append(at_end.enter_context(connect_perhaps(flooded)))
                if number % 20 == 0:
                    ping(neighbour)
                    assert server.call("GET", "/healthz") == {"status": "alive"}
            wait_until(lambda: count(server, "too_many_connections_total") + count(server, "connections") == CLIENTS)
            taken = count(server, "connections")
            assert most * 7 // 8 - 1 <= taken <= most * 7 // 8 + 1, "the rest is for others"
            assert are_reset(clients) == CLIENTS - taken, "all others were reset, and none waits"
            with connect(other) as late:
                ping(late)
                ping(neighbour)
            server.heal()
            wait_until(lambda: count(server, "connections_opened_total") == taken)
            ping(next(client for client in clients if not are_reset([client])))
            assert count(server, "dial_failures_total") == 0, "each that was taken in has a descriptor for its dial"
            for client in clients:
                client.close()
            wait_until(lambda: count(server, "connections") == 0)
            with connect(flooded) as again:
                ping(again)
            server.call("DELETE", "/v1/proxies/flooded")
            ping(neighbour)
        lines = [line for line in server.log.splitlines() if " too_many_connections proxy=flooded" in line]
        assert lines
        assert f"most={most}" in lines[0]
        assert "cannot accept" not in server.log


def descriptors(soft: int, others: int = 0) -> tuple[Descriptors, list[FileLimit]]:
    """Return the descriptors of a process, and its limit as a list that a test can change."""
    limits = [FileLimit(soft, soft)]
    return Descriptors(lambda: limits[-1], others), limits


def test_a_connection_needs_two_descriptors_and_the_reserve_is_left() -> None:
    found, _ = descriptors(1_000_000, others=40)
    assert found.most_connections == (1_000_000 - RESERVE - 40) // 2
    found, _ = descriptors(400, others=10)
    found.hold(10)
    assert found.most_connections == (400 - 100 - 20) // 2
    found.hold(-10)
    assert found.most_connections == (400 - 100 - 10) // 2
    assert descriptors(10, others=40)[0].most_connections == 0


def test_a_single_proxy_may_have_all_connections() -> None:
    found, _ = descriptors(400)
    found.hold(2)
    open_now = 0
    while found.admits(open_now):
        found.begin()
        open_now += 1
    assert open_now == found.most_connections == (300 - 2) // 2


@pytest.mark.parametrize("proxies", [2, 10, 1000])
def test_the_last_eighth_is_for_proxies_with_less_than_their_share(proxies: int) -> None:
    found, _ = descriptors(8_000 + 640)
    found.proxies = proxies
    found.free = 1_000
    share = 4_000 // proxies
    assert not found.admits(share)
    assert found.admits(share - 1)
    found.free = 1_002
    assert found.admits(share)
    found.free = 1
    assert not found.admits(0)


@pytest.mark.parametrize("proxies", [2, 10])
def test_so_is_the_last_eighth_of_a_limit_that_is_configured(proxies: int) -> None:
    found, _ = descriptors(1_000_000)
    found.proxies = proxies
    found.set_max(80)
    share = 80 // proxies
    found.connections = 69
    assert found.admits(69)
    found.connections = 70
    assert not found.admits(share)
    assert found.admits(share - 1)
    found.connections = 80
    assert not found.admits(0)


@pytest.mark.parametrize(("configured", "most"), [(None, 150), (1, 1), (7, 7), (149, 149), (151, 150)])
def test_the_lower_of_the_configured_limit_and_that_of_the_descriptors_holds(configured: int | None, most: int) -> None:
    found, _ = descriptors(400)
    found.set_max(configured)
    assert found.most_connections == most
    while found.admits(found.connections):
        found.begin()
    assert found.connections == most
    found.end()
    assert found.admits(found.connections)


def test_max_connections_resets_further_clients_and_can_be_changed(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        await stage.supervisor.apply(Config(max_connections=1), "file")
        with pytest.raises(ConnectionResetError):  # already while it connects, perhaps
            await receive(await stage.connect(running), 1)
        refused = await stage.event("too_many_connections")
        assert isinstance(refused, TooManyConnections)
        assert (refused.most, running.tally.too_many, len(running.connections)) == (1, 1, 1)
        await send(client, b"x")
        assert await receive(server, 1) == b"x"
        await stage.supervisor.apply(Config(), "file")
        await stage.connect(running)
        await until(lambda: len(running.connections) == 2)
        await stage.supervisor.apply(Config(max_connections=1), "file")
        assert len(running.connections) == 2, "those that are open stay"

    run(loop_name, scenario)


def test_a_limit_that_was_raised_or_lowered_is_noticed() -> None:
    found, limits = descriptors(400)
    found.free -= 2 * found.most_connections
    assert not found.admits(0)
    limits.append(FileLimit(800, 800))
    assert found.admits(0)
    assert (found.free, found.most_connections) == (300, 300)
    limits.append(FileLimit(40, 40))
    found.free = found.scarce
    assert not found.admits(0)
    assert found.most_connections == 15


def test_copies_of_requests_wait_behind_connections(caplog: pytest.LogCaptureFixture) -> None:
    dialled: list[asyncio.Protocol] = []

    async def dial(make_protocol: Callable[[], asyncio.Protocol], sender: object) -> None:
        dialled.append(make_protocol())

    async def scenario() -> None:
        found, _ = descriptors(400)
        tasks = TaskOwner("test")
        copies = Copies("web", tasks, dial, found)
        found.free = found.scarce
        copies.send(b"GET / HTTP/1.1\r\n\r\n", None)
        copies.send(b"GET / HTTP/1.1\r\n\r\n", None)
        await asyncio.sleep(0)
        assert not dialled
        found.free += 1
        copies.send(b"GET / HTTP/1.1\r\n\r\n", None)
        assert found.free == found.scarce
        await asyncio.sleep(0)
        [copy] = dialled
        copy.connection_lost(None)
        copy.connection_lost(None)
        assert found.free == found.scarce + 1
        await tasks.end()

    with caplog.at_level(logging.WARNING, "chaosproxy"):
        asyncio.run(scenario())
    assert [one.getMessage() for one in caplog.records] == [
        "web: further copies of requests are not sent for now: descriptors are scarce"
    ]


def test_the_control_api_has_its_part_of_the_reserve() -> None:
    assert FileLimit(20_000, 20_000).control_connections == 512
    assert FileLimit(256, 256).control_connections == 51
