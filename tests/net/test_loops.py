"""Proxies whose upstream leads back to themselves, found when a connection comes back; and chains, which are legal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chaosproxy.events import ConnectionClosed, DialFailed
from chaosproxy.model import Address
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.hops import KEPT, Hops
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.path import LOG_AGAIN, LoopLog
from tests.net.building import fault, proxy
from tests.net.harness import Stage, is_empty, receive, run, send

NOWHERE = "127.0.0.1:9"
COPIES = 3


async def in_a_row(
    stage: Stage, *names: str, listen: str = "127.0.0.1:0", last: str = NOWHERE, **settings: object
) -> list[Proxy]:
    """Start proxies, each of which has the next one as its upstream, and the last one `last`."""
    added: list[Proxy] = []
    upstream = last
    for name in reversed(names):
        place = f"{listen}{name}" if listen.startswith("unix:") else listen
        added.append(await stage.supervisor.add_proxy(proxy(name, listen=place, upstream=upstream, **settings), "test"))
        upstream = str(dialled(added[-1]))
    return added[::-1]


def dialled(running: Proxy, host: str | None = None) -> Address:
    """Return an address under which clients on this machine reach a proxy; `host` is its host."""
    address = running.listening_on[0]
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return address if address.is_unix else Address(host or loopback.get(address.host, address.host), address.port)


def join(running: Sequence[Proxy], host: str | None = None) -> None:
    """Make the first proxy the upstream of the last one, as an address can become one that nobody could know."""
    running[-1].spec = replace(running[-1].spec, upstream=dialled(running[0], host))


async def connect(stage: Stage, to: Proxy) -> socket.socket:
    address = dialled(to)
    if not address.is_unix:
        return await stage.connect(to)
    client = stage.keep(socket.socket(socket.AF_UNIX))
    await asyncio.get_running_loop().sock_connect(client, address.host)
    return client


async def assert_reset(client: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        await receive(client, 1)


HOSTS = [
    ("127.0.0.1:0", None),
    ("127.0.0.1:0", "localhost"),
    ("127.0.0.1:0", "0.0.0.0"),
    ("0.0.0.0:0", "127.0.0.2"),
    ("0.0.0.0:0", "::ffff:127.0.0.1"),
    ("[::1]:0", None),
    ("[::]:0", None),
]


@pytest.mark.parametrize(("listen", "host"), HOSTS)
@pytest.mark.parametrize("names", [["web"], ["web", "api"], ["web", "api", "db"]], ids=len)
def test_a_loop_is_ended_where_it_comes_back(
    names: list[str], listen: str, host: str | None, loop_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await in_a_row(stage, *names, listen=listen)
        join(running, host)
        with caplog.at_level(logging.WARNING, "chaosproxy"):
            for _ in range(3):
                await assert_reset(await connect(stage, running[0]))
            await stage.until_event_makes(lambda: not any(one.connections for one in running))
        way = f"the upstream of web leads back to web: {' -> '.join([*names, 'web'])}"
        assert [one.tally.opened for one in running] == [3] * len(names), "one connection per client and proxy"
        closed = [one for one in stage.events if isinstance(one, ConnectionClosed)]
        assert {(one.cause, one.how, one.error, one.detail) for one in closed} == {("operator", "reset", way, way)}
        failed = [one for one in stage.events if isinstance(one, DialFailed)]
        assert {(one.reason, one.code) for one in failed} == {(way, "upstream-loop")}
        assert sum(one.tally.dial_failures for one in running) == len(failed) >= 3
        told = [one.getMessage() for one in caplog.records if one.name == "chaosproxy.net.stream.path"]
        assert told == [f"{way}; its connections are reset; give it another upstream"]
        for one in running:
            await stage.supervisor.remove_proxy(one.name, "test")

    run(loop_name, scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a unix socket that dials has no address")
@pytest.mark.parametrize("names", [["web"], ["web", "api"]], ids=len)
def test_a_loop_over_unix_sockets_is_ended_too(names: list[str], loop_name: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        running = await in_a_row(stage, *names, listen=f"unix:{tmp_path}/")
        link = tmp_path / "link"
        link.symlink_to(dialled(running[0]).host)
        running[-1].spec = replace(running[-1].spec, upstream=Address(str(link)))
        assert await receive(await connect(stage, running[0]), 1) == b"", "a unix socket has no reset"
        await stage.until_event_makes(lambda: not any(one.connections for one in running))
        assert [one.tally.opened for one in running] == [1] * len(names)

    run(loop_name, scenario)


def test_a_client_of_a_proxy_before_the_loop_is_reset_and_told_the_truth(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        front, web, api = await in_a_row(stage, "front", "web", "api")
        join([web, api])
        await assert_reset(await connect(stage, front))
        await stage.until_event_makes(lambda: not any(one.connections for one in (front, web, api)))
        errors = {one.proxy: one.detail for one in stage.events if isinstance(one, ConnectionClosed)}
        way = "the upstream of web leads back to web: web -> api -> web"
        assert errors == {"front": "server reset", "web": way, "api": way}

    run(loop_name, scenario)


@pytest.mark.parametrize(
    "settings",
    [
        {"protocol": "http", "faults": {"twice": {"type": "http_duplicate", "copies": COPIES}}},
        {"upstream_tls": {"verify": False}},
        {"faults": {"late": {"type": "slow_accept", "delay": "1ms"}}},
        {"faults": {"late": {"type": "latency", "delay": "1ms", "direction": "both"}}},
    ],
    ids=["http", "tls", "slow_accept", "latency"],
)
def test_a_loop_is_ended_whatever_the_proxies_do(settings: dict[str, object], loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await in_a_row(stage, "web", "api", **settings)
        join(running)
        client = await connect(stage, running[0])
        with contextlib.suppress(ConnectionResetError):
            await send(client, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        await assert_reset(client)
        await stage.until_event_makes(lambda: not any(one.connections for one in running))
        assert [one.tally.opened for one in running] in ([1, 1], [1, 1 + COPIES]), "the copies make one hop"

    run(loop_name, scenario)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "unix:"])
def test_a_chain_of_proxies_works(listen: str, loop_name: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        server = stage.listener()
        place = f"unix:{tmp_path}/" if listen == "unix:" else listen
        names = [f"hop-{number}" for number in range(4)]
        running = await in_a_row(stage, *names, listen=place, last=f"127.0.0.1:{server.getsockname()[1]}")
        for text in (b"one", b"two"):
            client = await connect(stage, running[0])
            await send(client, text)
            accepted = await stage.accept(server)
            assert await receive(accepted, 3) == text
            await send(accepted, text)
            assert await receive(client, 3) == text
            client.close()
            accepted.close()
        await stage.until_event_makes(lambda: not any(one.connections for one in running))
        assert [one.tally.opened for one in running] == [2] * 4
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, Connection)], "a note keeps a connection alive"
        assert not [one for one in stage.events if isinstance(one, DialFailed)]

    run(loop_name, scenario)


def test_a_server_that_calls_back_through_the_proxy_is_no_loop(loop_name: str) -> None:
    """A service behind the proxy connects to that proxy itself, as services do that call each other."""

    async def scenario(stage: Stage) -> None:
        running, client, first = await stage.pair()
        again = await stage.connect(running)
        await send(again, b"x")
        await stage.until_event_makes(lambda: running.tally.opened == 2)
        await send(client, b"y")
        assert await receive(first, 1) == b"y"
        assert is_empty(again)
        assert len(running.connections) == 2

    run(loop_name, scenario)


def test_a_loop_ends_although_a_pause_kept_the_client_in_the_backlog(loop_name: str) -> None:
    """The dial has succeeded long before the proxy accepts the client, so the connection counts as opened."""

    async def scenario(stage: Stage) -> None:
        web, api = running = await in_a_row(stage, "web", "api")
        stage.supervisor.put_fault("api", fault("held", type="pause"), "test")
        join(running)
        client = await connect(stage, web)
        await stage.event_that(lambda event: event.kind == "connection_opened")
        stage.supervisor.heal("test")
        await assert_reset(client)
        await stage.until_event_makes(lambda: not web.connections and not api.connections)
        assert [web.tally.opened, api.tally.opened] == [1, 1]

    run(loop_name, scenario)


def test_a_note_ends_with_its_connection() -> None:
    now = 0.0
    hops: Hops[object] = Hops(lambda: now)
    hops.listen([Address("127.0.0.1", 80)])
    first, second = object(), object()
    for connection in (first, second):
        sock = hops.sockets_of(connection)(socket.AF_INET)
        with pytest.raises(BlockingIOError), sock:
            sock.connect(("127.0.0.1", 9))
    one, other = hops.noted
    hops.forget(first)
    now = KEPT
    assert hops.sender(one) is None
    hops.forget(second)
    now = 2 * KEPT - 0.1
    assert hops.sender(other) is second, "its client may be in a backlog still"
    assert hops.sender(other) is None
    assert not hops.noted
    assert not hops.names


@pytest.mark.parametrize(
    ("listen", "upstream", "may"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "db:80", True),
        ("127.0.0.1:80", "10.0.0.1:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("0.0.0.0:80", "192.0.2.1:80", False),
        ("0.0.0.0:80", "127.0.0.2:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", True),
        ("127.0.0.1:80", "unix:/run/a", False),
        ("unix:/run/a", "unix:/run/b", True),
    ],
)
def test_only_dials_that_may_reach_a_listener_are_noted(listen: str, upstream: str, may: bool) -> None:
    hops: Hops[object] = Hops()
    addresses = [proxy(listen=listen, upstream=NOWHERE).listen]
    target = proxy(upstream=upstream).upstream
    hops.listen(addresses)
    assert hops.may_reach(target) is may
    hops.unlisten(addresses)
    assert not hops.may_reach(target)


def test_a_loop_is_logged_again_only_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    log = LoopLog()
    with caplog.at_level(logging.WARNING, "chaosproxy"):
        for now in (0.0, 1.0, LOG_AGAIN, LOG_AGAIN + 1):
            log.write("a", now)
        log.write("b", LOG_AGAIN + 1)
    assert [one.getMessage()[0] for one in caplog.records] == ["a", "a", "b"]


