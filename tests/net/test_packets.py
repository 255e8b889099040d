"""Faults in the kernel, on real sockets: the reactions of the client's and the server's own TCP."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import struct

import pytest

from chaosproxy.declare import Problems
from chaosproxy.events import ConnectionAttempt, ConnectionClosed, Event
from chaosproxy.model import read_partition
from chaosproxy.net.kernel.sockopts import tcp_info
from chaosproxy.net.proxy import Proxy
from chaosproxy.tallies import TcpInfo
from tests.net.building import fault
from tests.net.harness import Stage, address_of, can_send, close_with_reset, is_empty, receive, run, send, timed, until

pytestmark = pytest.mark.namespace

on_uvloop = pytest.mark.parametrize("loop_name", ["uvloop"])
"""For tests of the kernel only; in the others it matters how a loop reads, writes, accepts and closes."""

SO_GET_FILTER = 26
TCP_USER_TIMEOUT = 18
TCP_SYN_SENT = 2
CLIENT_TO_SERVER = {"from": "client", "to": "server", "one_way": True}
SERVER_TO_CLIENT = {"from": "server", "to": "client", "one_way": True}
NODES = {"from": "client", "to": "server"}


def cut(stage: Stage, id: str = "cut", /, **partition: object) -> None:
    problems = Problems()
    spec = read_partition({"mode": "packet", **partition}, id, problems)
    problems.raise_if_any()
    assert spec is not None
    stage.supervisor.partitions.add(spec, "test")


def heal(stage: Stage, id: str = "cut") -> None:
    stage.supervisor.partitions.remove(id, "test")


def info(sock: socket.socket) -> TcpInfo:
    found = tcp_info(sock)
    assert found is not None
    return found


def segments_received(sock: socket.socket) -> int:
    """Return tcpi_segs_in, which includes bare acknowledgements."""
    return int(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 140)[0])


def filters_of(running: Proxy) -> list[int]:
    """Return the length of the filter of each socket of the open connections; 0 without one."""
    pipes = [pipe for one in running.connections.values() for pipe in (one.upstream, one.downstream)]
    return [filter_length(pipe.source.get_extra_info("socket")) for pipe in pipes if pipe.source is not None]


def filter_length(sock: socket.socket) -> int:
    """Return the length of a socket's filter: the kernel returns it if no buffer for instructions is given."""
    length = ctypes.c_uint32(0)
    code = ctypes.CDLL(None, use_errno=True).getsockopt(
        sock.fileno(), socket.SOL_SOCKET, SO_GET_FILTER, None, ctypes.byref(length)
    )
    assert code == 0, os.strerror(ctypes.get_errno())
    return length.value


def is_connecting(sock: socket.socket) -> bool:
    """Return whether a client's SYN has got no response; loopback delivers one while the client still sends."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_SYN_SENT


async def arrival(stage: Stage, client: socket.socket) -> None:
    """Wait until a client's SYN has arrived at a proxy that lets no client connect."""

    def fits(event: Event) -> bool:
        host, port = client.getsockname()
        return isinstance(event, ConnectionAttempt) and event.client == f"{host}:{port}"

    await stage.event_that(fits)


async def sent_again(sock: socket.socket) -> None:
    """Wait until a socket's own TCP has retransmitted, so the first transmission is lost."""
    before = info(sock).retransmits
    await until(lambda: info(sock).retransmits > before)


@on_uvloop
@pytest.mark.parametrize("way", [CLIENT_TO_SERVER, SERVER_TO_CLIENT], ids=["upstream", "downstream"])
def test_a_cut_one_way_stops_that_way_alone_and_heals_by_itself(loop_name: str, way: dict[str, object]) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        sender, receiver = (client, server) if way is CLIENT_TO_SERVER else (server, client)
        cut(stage, **way)
        lost = os.urandom(5_000)
        await send(sender, lost)
        await sent_again(sender)
        assert is_empty(receiver)
        assert info(sender).unacked > 0
        back = os.urandom(3_000_000)  # far more than may be unacknowledged at once
        _, arrived = await asyncio.gather(send(receiver, back), receive(sender, len(back)))
        assert arrived == back, "the other way goes on in full"
        assert is_empty(receiver)
        direction = "upstream" if way is CLIENT_TO_SERVER else "downstream"
        again = info(sender).retransmits
        await until(lambda: running.dropped(direction) >= again)
        heal(stage)
        await send(sender, b"end")
        assert await receive(receiver, len(lost) + 3) == lost + b"end", "each byte arrives once"
        await until(lambda: info(sender).unacked == 0)
        assert running.tally.dropped_upstream == running.tally.dropped_downstream == 0, "the connection is still open"

    run(loop_name, scenario)


@on_uvloop
def test_with_acks_lost_too_the_other_way_comes_to_a_halt(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        [connection] = running.connections.values()
        assert connection.downstream.sink is not None
        ours = connection.downstream.sink.get_extra_info("socket")
        cut(stage, **CLIENT_TO_SERVER, acks="drop")
        back = os.urandom(30_000_000)
        sending = asyncio.ensure_future(send(server, back))
        got = bytearray()

        async def read() -> None:
            while len(got) < len(back):
                got.extend(await asyncio.get_running_loop().sock_recv(client, 2**18))

        reading = asyncio.ensure_future(read())
        await until(lambda: info(ours).backoff >= 1)  # for one retransmission timeout nothing was acknowledged
        assert 0 < len(got) < len(back), "what the window holds arrives, and no more"
        heal(stage)
        await asyncio.gather(sending, reading)
        assert got == back

    run(loop_name, scenario)


@pytest.mark.slow
@on_uvloop
def test_tcp_user_timeout_ends_a_connection_whose_data_is_not_acknowledged(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, _ = await stage.pair(**NODES)
        client.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 1500)
        cut(stage, **CLIENT_TO_SERVER)
        async with timed() as elapsed:
            await send(client, b"are you there?")
            with pytest.raises(TimeoutError) as caught:  # without the option it would take 15 minutes
                await receive(client, 1)
            assert elapsed() >= 1.49
        assert caught.value.errno == errno.ETIMEDOUT

    run(loop_name, scenario)


@pytest.mark.slow
@on_uvloop
def test_a_cut_ends_no_connection_while_other_losses_come_and_go(loop_name: str) -> None:
    """After each of them, chaosproxy asks the peer for signs of life; Linux ends a connection after nine by default."""

    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        held = fault("cut", type="partition", mode="packet", acks="drop", direction="both")
        stage.supervisor.put_fault("proxy", held, "test")
        for _ in range(12):
            stage.supervisor.put_fault("proxy", fault("loss", type="packet_loss", rate="1%", mode="packet"), "test")
            stage.supervisor.remove_fault("proxy", "loss", "test")
            await asyncio.sleep(1.0)  # the kernel's own timer sends the probes
        assert not any(isinstance(one, ConnectionClosed) for one in stage.events)
        stage.supervisor.heal("test")
        await send(client, b"still here")
        assert await receive(server, 10) == b"still here"

    run(loop_name, scenario)


@pytest.mark.slow
@on_uvloop
def test_keepalive_ends_an_idle_connection_that_is_cut_both_ways(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, _ = await stage.pair(**NODES)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        asked = segments_received(client)
        await until(lambda: segments_received(client) >= asked + 2)
        assert is_empty(client), "while it is whole, probes are answered"
        cut(stage, **NODES)
        async with timed() as elapsed:
            with pytest.raises(TimeoutError) as caught:
                await receive(client, 1)
            assert elapsed() > 1.5
        assert caught.value.errno == errno.ETIMEDOUT

    run(loop_name, scenario)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["packet", "stream"])
def test_unreachable_lets_no_client_connect_and_a_syn_sent_again_gets_through(loop_name: str, mode: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode=mode), "test")
        new = stage.keep(socket.socket())
        connecting = asyncio.ensure_future(asyncio.get_running_loop().sock_connect(new, address_of(running)))
        await arrival(stage, new)
        assert is_connecting(new)
        await send(client, b"open connections go on")
        assert await receive(server, 22) == b"open connections go on"
        assert is_connecting(new)
        stage.supervisor.remove_fault("proxy", "off", "test")
        await connecting
        assert info(new).retransmits >= 1, "a SYN sent again after the fault got through"
        host, port = new.getsockname()
        await until(lambda: any(one.client_address == f"{host}:{port}" for one in running.connections.values()))
        assert running.tally.opened == 2, "the connections that fill the backlog, accepted before it, are no clients"

    run(loop_name, scenario)


@on_uvloop
def test_a_new_client_gets_no_answer_while_either_way_is_cut(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _, _ = await stage.pair(**NODES)
        for way in (CLIENT_TO_SERVER, SERVER_TO_CLIENT):
            cut(stage, **way)
            client = stage.keep(socket.socket())
            with pytest.raises(BlockingIOError):
                client.connect(address_of(running))
            await arrival(stage, client)
            assert is_connecting(client)
            client.close()
            heal(stage)
        assert running.tally.opened == 1

    run(loop_name, scenario)


def test_no_filter_outlives_its_fault(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        assert filters_of(running) == [0, 0]
        cut(stage, "both", **NODES)
        assert all(filters_of(running))
        heal(stage, "both")
        assert filters_of(running) == [0, 0]
        cut(stage, "short", **CLIENT_TO_SERVER, ttl="200ms")
        assert [bool(length) for length in filters_of(running)] == [True, False]
        await stage.event("partition_expired")
        assert filters_of(running) == [0, 0]
        stage.supervisor.put_fault("proxy", fault("loss", type="packet_loss", rate=0.5, mode="packet"), "test")
        assert [bool(length) for length in filters_of(running)] == [False, True]
        stage.supervisor.heal("test")
        assert filters_of(running) == [0, 0]
        await send(client, b"well")
        assert await receive(server, 4) == b"well"

    run(loop_name, scenario)


@on_uvloop
def test_a_client_that_came_during_loss_is_free_of_it_when_it_heals(loop_name: str) -> None:
    """An accepted socket inherits the filter of the listening socket."""

    async def scenario(stage: Stage) -> None:
        settings = {"type": "packet_loss", "rate": 0.01, "mode": "packet", "direction": "upstream"}
        running, client, server = await stage.pair(faults={"loss": settings})
        assert [bool(length) for length in filters_of(running)] == [True, False]
        stage.supervisor.heal("test")
        assert filters_of(running) == [0, 0]
        await send(client, b"well")
        assert await receive(server, 4) == b"well"

    run(loop_name, scenario)


def test_a_client_that_waited_in_the_backlog_is_free_of_a_filter_that_is_gone(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _, _ = await stage.pair()
        settings = {"type": "packet_loss", "rate": 0.01, "mode": "packet", "direction": "upstream"}
        stage.supervisor.put_fault("proxy", fault("loss", **settings), "test")
        stage.supervisor.put_fault("proxy", fault("stopped", type="pause", direction="both"), "test")
        await stage.connect(running)  # the kernel gives it the filter of the listening socket
        stage.supervisor.heal("test")
        await until(lambda: running.tally.opened == 2 and len(filters_of(running)) == 4)
        assert filters_of(running) == [0, 0, 0, 0]

    run(loop_name, scenario)


@on_uvloop
def test_overlapping_cuts_heal_one_by_one(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(**NODES)
        cut(stage, "one", **CLIENT_TO_SERVER)
        cut(stage, "both", **NODES)
        heal(stage, "both")
        await send(server, b"this way is whole again")
        assert await receive(client, 23) == b"this way is whole again"
        await send(client, b"x")
        await sent_again(client)
        assert is_empty(server), "the other partition still cuts this way"
        heal(stage, "one")
        assert await receive(server, 1) == b"x"

    run(loop_name, scenario)


def test_closing_during_a_cut_ends_both_sides_in_good_order(loop_name: str) -> None:
    """The filter is removed before the last packets: it would drop the acknowledgement of the proxy's own FIN."""

    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        cut(stage, **NODES)
        running.end_connections("close")
        assert await receive(client, 1) == b""
        assert await receive(server, 1) == b""
        await stage.event("connection_closed")

    run(loop_name, scenario)


@pytest.mark.slow
def test_a_peer_that_left_while_its_reset_was_lost_is_missed_after_healing(loop_name: str) -> None:
    """A RST is not retransmitted: without keepalive probes the server would keep a dead connection for ever."""

    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        cut(stage, **NODES)
        close_with_reset(client)
        await until(lambda: running.dropped("upstream") > 0)
        assert is_empty(server)
        heal(stage)
        with pytest.raises(ConnectionResetError):
            await receive(server, 1)
        await stage.event("connection_closed")
        assert not running.connections

    run(loop_name, scenario)


@pytest.mark.slow
def test_a_peer_that_lives_does_not_notice_that_it_is_asked(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        cut(stage, **NODES)
        heal(stage)
        [connection] = running.connections.values()
        assert connection.upstream.source is not None
        ours = connection.upstream.source.get_extra_info("socket")
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        await until(lambda: ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0)
        await send(client, b"well")
        assert await receive(server, 4) == b"well"

    run(loop_name, scenario)


@pytest.mark.parametrize("mode", ["packet", "stream"])
def test_fail_fast_resets_and_refuses(loop_name: str, mode: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(**NODES)
        cut(stage, **NODES, fail_fast=True, mode=mode)
        for sock in (client, server):
            with pytest.raises(ConnectionResetError):
                await receive(sock, 1)
        with socket.socket() as late, pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(late.connect, address_of(running))
        heal(stage)
        await stage.connect(running)

    run(loop_name, scenario)


def test_a_pause_leaves_data_in_the_kernel_and_clients_in_the_backlog(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(queue="4KiB")
        stage.supervisor.put_fault("proxy", fault("stopped", type="pause", direction="both"), "test")
        await asyncio.sleep(0)
        flood = bytes(16_000_000)
        sending = asyncio.ensure_future(send(client, flood))
        late = await stage.connect(running)  # the kernel accepts clients for a stopped process
        await send(late, b"hello")
        await until(lambda: not can_send(client))
        assert is_empty(server)
        assert not sending.done(), "its window is closed: nobody reads"
        assert running.registry.held("upstream") <= 2**18, "what had been read when it began"
        assert running.tally.opened == 1
        stage.supervisor.remove_fault("proxy", "stopped", "test")
        assert await receive(server, len(flood)) == flood
        await sending
        await until(lambda: running.tally.opened == 2)

    run(loop_name, scenario)


@on_uvloop
def test_bandwidth_in_mode_packet_is_paced_by_the_kernel(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        pacing = {"type": "bandwidth", "rate": "100MB/s", "mode": "packet"}
        running, client, server = await stage.pair(faults={"thin": pacing})
        [connection] = running.connections.values()
        assert connection.upstream.sink is not None and connection.upstream.source is not None
        sock = connection.upstream.source.get_extra_info("socket")
        assert struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, 47, 8)) == (100_000_000,)
        size = 40_000_000
        async with timed() as elapsed:
            await asyncio.gather(send(server, bytes(size)), receive(client, size))
            assert size / elapsed() < 110e6  # the benchmark measures the accuracy
        stage.supervisor.heal("test")
        assert struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, 47, 8)) == (2**64 - 1,)

    run(loop_name, scenario)


@on_uvloop
def test_ipv6_is_cut_too(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(listen="[::1]:0", **NODES)
        assert client.family == socket.AF_INET6
        cut(stage, **CLIENT_TO_SERVER)
        await send(client, b"x")
        await sent_again(client)
        assert is_empty(server)
        await send(server, b"back")
        assert await receive(client, 4) == b"back"
        heal(stage)
        assert await receive(server, 1) == b"x"

    run(loop_name, scenario)
