"""Reports of endings, over real sockets: the side that ended first, when this is published, and later ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from chaosproxy.events import ClientEnded, ConnectionClosed, PeerEnded, ServerEnded
from chaosproxy.faults.base import Drop
from chaosproxy.net.kernel.bpf import losing
from chaosproxy.net.kernel.sockopts import attach
from chaosproxy.net.proxy import Proxy
from tests.net.building import fault
from tests.net.harness import Stage, close_with_reset, is_empty, receive, run, send
from tests.net.test_packets import NODES, cut, heal

TCP_USER_TIMEOUT = 18
ENDS = {"fin": socket.socket.close, "reset": close_with_reset}


async def closed(stage: Stage) -> ConnectionClosed:
    event = await stage.event("connection_closed")
    assert isinstance(event, ConnectionClosed)
    return event


async def ended(stage: Stage, kind: type[PeerEnded]) -> PeerEnded:
    event = await stage.event_that(lambda one: isinstance(one, kind))
    assert isinstance(event, kind)
    return event


def opposite(side: str) -> str:
    return "server" if side == "client" else "client"


def held_now(running: Proxy) -> dict[str, str | None]:
    """Return the fault that holds the end of each side of the only connection now."""
    [connection] = running.connections.values()
    return {"client": connection.held_by("client"), "server": connection.held_by("server")}


def kinds(stage: Stage) -> list[str]:
    return [event.kind for event in stage.events if isinstance(event, PeerEnded | ConnectionClosed)]


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("first", ["client", "server"])
@pytest.mark.parametrize("kind", ["none", "stall", "latency", "blackhole", "slow_close"])
def test_the_first_to_end_is_published_at_once_and_stays_the_one_who_closed(
    kind: str, first: str, how: str, loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        settings = {"latency": {"delay": "1h"}, "slow_close": {"delay": "1h"}}.get(kind, {})
        if kind != "none":
            stage.supervisor.put_fault("proxy", fault("dark", type=kind, direction="both", **settings), "test")
        await send(client, b"anybody?")
        one, other = (client, server) if first == "client" else (server, client)
        ENDS[how](one)
        mine, others = (ClientEnded, ServerEnded) if first == "client" else (ServerEnded, ClientEnded)
        event = await ended(stage, mine)
        holds = kind in ("stall", "latency", "blackhole") or (kind == "slow_close" and how == "fin")
        assert (event.how, event.held_by) == (how, "dark" if holds else None)
        if holds:
            assert kinds(stage) == [mine.kind], "the connection is still open"
            assert running.registry.half_ended() == 1
            held = {first: "dark", opposite(first): None}
            assert held_now(running) == held
            other.close()
            await ended(stage, others)
            assert running.registry.half_ended() == 0, "both sides have ended"
            if kind != "slow_close":  # which lets a reset pass
                assert held_now(running)[first] == "dark"
            stage.supervisor.heal("test")
        elif how == "fin":
            other.close()
        over = await closed(stage)
        assert (over.cause, over.first) == (first, first)
        assert over.detail.startswith(f"{first} closed first" if how == "fin" else f"{first} reset")
        times = (over.client_ended_s, over.server_ended_s)
        assert times[first == "server"] == event.after_s
        if holds:
            assert times[0] is not None and times[1] is not None
        assert running.tally.closed[first] == 1

    run(loop_name, scenario)


def test_a_reset_after_an_end_of_stream_blames_the_one_who_closed(loop_name: str) -> None:
    """An orderly close of AMQP against a broker that resets ends in this way."""

    async def scenario(stage: Stage) -> None:
        _running, client, server = await stage.pair()
        await send(client, b"goodbye")
        assert await receive(server, 7) == b"goodbye"
        client.shutdown(socket.SHUT_WR)
        await ended(stage, ClientEnded)
        assert await receive(server, 1) == b""
        close_with_reset(server)
        over = await closed(stage)
        assert (over.cause, over.first, over.detail) == ("client", "client", "client closed first, then server reset")
        assert [event.how for event in stage.events if isinstance(event, PeerEnded)] == ["fin", "reset"]

    run(loop_name, scenario)


def test_an_injected_end_is_nobodys_but_the_faults(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _running, client, server = await stage.pair()
        stage.supervisor.put_fault("proxy", fault("cut", type="reset"), "test")
        over = await closed(stage)
        assert (over.cause, over.first, over.detail) == ("injected", None, "reset by fault cut")
        assert (over.how, over.fault, over.error) == ("reset", "cut", "")
        assert (over.client_ended_s, over.server_ended_s) == (None, None)
        assert kinds(stage) == ["connection_closed"]
        del client, server

    run(loop_name, scenario)


def test_a_client_that_leaves_while_a_fault_delays_it_is_published_with_that_fault(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9")
        stage.supervisor.put_fault("proxy", fault("late", type="slow_accept", delay="1h"), "test")
        client = await stage.connect(running)
        while not any(one.upstream.source for one in running.connections.values()):
            await asyncio.sleep(0)
        close_with_reset(client)
        over = await closed(stage)
        assert (over.cause, over.first) == ("client", "client")
        assert over.detail == "client left while fault late delayed it"
        assert kinds(stage) == ["client_ended", "connection_closed"]
        assert (await ended(stage, ClientEnded)).held_by == "late"

    run(loop_name, scenario)


def test_an_end_of_stream_that_a_fault_delays_is_held_by_it_until_it_is_healed(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        stage.supervisor.put_fault("proxy", fault("late", type="slow_accept", delay="1h"), "test")
        client = await stage.connect(running)
        await send(client, b"hello")
        client.shutdown(socket.SHUT_WR)
        assert (await ended(stage, ClientEnded)).held_by == "late"
        [connection] = running.connections.values()
        assert connection.held_by("client") == "late"
        stage.supervisor.heal("test")
        assert await receive(await stage.accept(listener), 6) == b"hello"
        assert connection.held_by("client") is None

    run(loop_name, scenario)


def test_an_upstream_that_refuses_is_the_servers_ending(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        closed_port = stage.listener()
        where = closed_port.getsockname()[1]
        closed_port.close()
        running = await stage.proxy_to(f"127.0.0.1:{where}")
        await stage.connect(running)
        over = await closed(stage)
        assert (over.cause, over.first) == ("server", None)
        assert over.detail == f"upstream 127.0.0.1:{where} not reached: Connection refused"

    run(loop_name, scenario)


def test_bytes_that_wait_for_the_dial_alone_are_held_by_no_fault(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9")
        stage.supervisor.put_fault("proxy", fault("late", type="slow_accept", delay="1h"), "test")
        client = await stage.connect(running)
        await send(client, b"x" * 1000)
        while not any(one.upstream.bytes for one in running.connections.values()):
            await asyncio.sleep(0)
        assert running.registry.held("upstream") == 0
        stage.supervisor.put_fault("proxy", fault("dark", type="stall", direction="upstream"), "test")
        await send(client, b"y" * 1000)
        while not running.registry.held("upstream"):
            await asyncio.sleep(0)

    run(loop_name, scenario)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("side", ["client", "server"])
def test_an_end_behind_bytes_that_are_not_read_is_published_at_once(side: str, how: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        stage.supervisor.put_fault("proxy", fault("frozen", type="pause", direction="both"), "test")
        one = client if side == "client" else server
        await send(one, b"still there?")
        ENDS[how](one)
        event = await ended(stage, ClientEnded if side == "client" else ServerEnded)
        assert (event.how, event.held_by) == (how, "frozen")
        assert running.connections and kinds(stage) == [f"{side}_ended"]
        assert held_now(running) == {side: "frozen", opposite(side): None}
        stage.supervisor.heal("test")
        if how == "fin":
            reader = server if side == "client" else client
            assert await receive(reader, 13) == b"still there?"  # up to the end of the stream
            assert held_now(running) == {"client": None, "server": None}, "nothing holds it any more"
        (server if side == "client" else client).close()
        over = await closed(stage)
        assert (over.cause, over.first) == (side, side)
        assert kinds(stage).count(f"{side}_ended") == 1, "reading it later publishes nothing anew"

    run(loop_name, scenario)


def test_an_end_behind_a_full_queue_is_published_at_once(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, _server = await stage.pair()
        stage.supervisor.put_fault("proxy", fault("dark", type="stall", direction="upstream"), "test")
        [connection] = running.connections.values()
        sent = 0
        while connection.upstream.source is not None and not connection.upstream.is_paused:
            with contextlib.suppress(BlockingIOError):
                sent += client.send(b"x" * 65536)
            await asyncio.sleep(0)
        client.close()
        event = await ended(stage, ClientEnded)
        assert (event.how, event.held_by) == ("fin", "dark")
        assert event.bytes_upstream <= sent

    run(loop_name, scenario)


async def filled(running: Proxy, client: socket.socket) -> None:
    """Send until the proxy reads no more from the client, since the server does not read."""
    [connection] = running.connections.values()
    while not connection.upstream.is_paused:
        with contextlib.suppress(BlockingIOError):
            client.send(b"x" * 65536)
        await asyncio.sleep(0)


@pytest.mark.parametrize("then", ENDS)
def test_who_ended_first_behind_unread_bytes_is_seen_when_the_other_ends(then: str, loop_name: str) -> None:
    """No fault: the server does not read, so the proxy does not read the client's reset either."""

    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        await filled(running, client)
        close_with_reset(client)
        ENDS[then](server)
        over = await closed(stage)
        assert (over.cause, over.first, over.how) == ("client", "client", "reset")
        assert over.client_ended_s is not None

    run(loop_name, scenario)


def test_a_fault_that_is_healed_holds_no_end_though_the_bytes_before_it_are_unread(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, _server = await stage.pair()
        await filled(running, client)
        client.shutdown(socket.SHUT_WR)
        stage.supervisor.put_fault("proxy", fault("frozen", type="pause", direction="both"), "test")
        stage.supervisor.heal("test")
        assert held_now(running) == {"client": None, "server": None}

    run(loop_name, scenario)


@pytest.mark.slow
@pytest.mark.namespace
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_connection_that_the_network_has_lost_is_neither_sides_doing(side: str, loop_name: str) -> None:
    """The peer's socket filters its own incoming packets, so it acknowledges nothing, and the kernel gives up."""

    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        [connection] = running.connections.values()
        lost, other = (client, server) if side == "client" else (server, client)
        pipe = connection.upstream if side == "client" else connection.downstream
        assert pipe.source is not None
        pipe.source.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 50)
        attach(lost, losing((Drop(),)))
        await send(other, b"is anybody there?")
        over = await closed(stage)
        assert (over.cause, over.first) == ("network", None)
        assert over.detail == f"connection to the {side} lost: Connection timed out"
        assert [(one.kind, one.how) for one in stage.events if isinstance(one, PeerEnded)] == [
            (f"{side}_ended", "timeout")
        ]
        assert running.tally.closed["network"] == 1

    run(loop_name, scenario)


@pytest.mark.namespace
@pytest.mark.parametrize("how", ENDS)
def test_an_end_that_a_filter_hides_is_seen_by_the_tap(how: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        cut(stage, **NODES)
        ENDS[how](client)
        event = await ended(stage, ClientEnded)
        assert (event.how, event.held_by) == (how, "partition:cut")
        assert is_empty(server) and running.registry.half_ended() == 1, "it has not reached the server"
        assert held_now(running)["client"] == "partition:cut"
        heal(stage)
        [connection] = running.connections.values()
        assert connection.held_by("client") is None, "no filter drops it any more"
        server.close()
        over = await closed(stage)
        assert (over.cause, over.first) == ("client", "client")
        assert over.client_ended_s == event.after_s

    run(loop_name, scenario)


def test_a_refused_client_leaves_nothing_behind(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _client, _server = await stage.pair()
        stage.supervisor.put_fault("proxy", fault("picky", type="refuse", probability="99.99%"), "test")
        [picky] = running.faults.own.values()
        before = len(picky._chosen)
        for _ in range(5):
            with pytest.raises(ConnectionResetError):  # of the connect, where the reset is as quick
                await receive(await stage.connect(running), 1)
        assert running.tally.attempts["reset"] == 5
        assert (running.tally.opened, running.tally.closed["injected"]) == (1, 0), "they were no connections"
        assert len(picky._chosen) == before, "it keeps what it chose for open connections alone"

    run(loop_name, scenario)
