"""The queue of a fault bounds the bytes between a sender's kernel and a receiver; the buffers are sized to it."""

from __future__ import annotations

import array
import asyncio
import contextlib
import dataclasses
import fcntl
import socket
import sys

import pytest

from chaosproxy.events import HeldLimitReached
from chaosproxy.faults.chain import CHUNK_COST
from chaosproxy.model import Config
from chaosproxy.model.address import Address
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.kernel.buffers import UNSIZED_FROM, prepare_socket, segment_of, share_of
from chaosproxy.net.kernel.sockopts import tcp_socket
from chaosproxy.net.proxy import Proxy
from tests.net.building import fault
from tests.net.harness import Stage, receive, run, send, until
from tests.supervising import change_proxy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the options are Linux's")

SIOCOUTQ = 0x5411
SO_BUF_LOCK, TCP_NOTSENT_LOWAT = 72, 25
FOR_HOURS = {"type": "latency", "delay": "10h"}


def in_kernel(sock: socket.socket) -> int:
    """Count the bytes in the sender's own kernel, which the peer has not acknowledged."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, SIOCOUTQ, count)
    return count[0]


async def fill(sender: socket.socket, running: Proxy, direction: str) -> int:
    """Send until nothing more is accepted and the proxy does not read; return the bytes that have left the sender."""
    [connection] = running.connections.values()
    pipe = connection.upstream if direction == "upstream" else connection.downstream
    sent = before = 0
    while True:
        with contextlib.suppress(BlockingIOError):
            sent += sender.send(bytes(2**16))
            continue
        if pipe.is_paused and sent - in_kernel(sender) == before:
            return before
        before = sent - in_kernel(sender)
        await asyncio.sleep(0.02)  # loopback delivers at once what the window allows


def option(sock: socket.socket | None, name: int, level: int = socket.SOL_SOCKET) -> int:
    assert sock is not None
    return int.from_bytes(sock.getsockopt(level, name, 4), sys.byteorder)


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
@pytest.mark.parametrize("queue", [4096, 65_536])
def test_the_queue_bounds_what_is_in_flight(loop_name: str, queue: int, direction: str) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {"slow": {**FOR_HOURS, "direction": direction}}
        running, client, server = await stage.pair(queue=f"{queue}B", faults=faults)
        sender = client if direction == "upstream" else server
        assert await fill(sender, running, direction) < 2.5 * queue

    run(loop_name, scenario)


def test_at_the_heal_the_kernel_sizes_its_buffers_again(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(queue="4KiB")
        [connection] = running.connections.values()
        source, sink = connection.upstream.source, connection.downstream.source
        assert source is not None and sink is not None
        before = option(tcp_socket(source), socket.SO_RCVBUF)
        stage.supervisor.put_fault("proxy", fault("slow", direction="upstream", **FOR_HOURS), "test")
        await fill(client, running, "upstream")
        assert option(tcp_socket(source), SO_BUF_LOCK) == 2
        assert option(tcp_socket(sink), TCP_NOTSENT_LOWAT, socket.IPPROTO_TCP) > 0
        stage.supervisor.remove_fault("proxy", "slow", "test")
        assert option(tcp_socket(source), SO_BUF_LOCK) == 0
        assert option(tcp_socket(source), socket.SO_RCVBUF) >= before
        assert option(tcp_socket(sink), TCP_NOTSENT_LOWAT, socket.IPPROTO_TCP) == 0
        client.setblocking(False)
        await asyncio.gather(receive(server, 2**24), send_at_least(client, 2**24))

    run(loop_name, scenario)


async def send_at_least(sock: socket.socket, size: int) -> None:
    await send(sock, bytes(size))


def test_the_default_queue_leaves_the_buffers_alone(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _, _ = await stage.pair(faults={"slow": {**FOR_HOURS, "direction": "both"}})
        [connection] = running.connections.values()
        for pipe in (connection.upstream, connection.downstream):
            assert pipe.source is not None
            sock = tcp_socket(pipe.source)
            assert option(sock, SO_BUF_LOCK) == 0
            assert option(sock, TCP_NOTSENT_LOWAT, socket.IPPROTO_TCP) == 0

    run(loop_name, scenario)


def test_the_default_is_not_sized() -> None:
    [default] = {one.default for one in ProxySpec.__dataclass_fields__.values() if one.name == "queue"}
    assert default == UNSIZED_FROM


def test_a_connection_that_has_carried_much_shrinks_and_loses_nothing(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(queue="64KiB")
        size = 2**25
        data = bytes(range(256)) * (size // 256)
        got, _ = await asyncio.gather(receive(server, size), send(client, data))
        assert got == data
        [connection] = running.connections.values()
        assert connection.upstream.source is not None
        sock = tcp_socket(connection.upstream.source)
        large = option(sock, socket.SO_RCVBUF)
        stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="1ms", direction="upstream"), "test")
        got, _ = await asyncio.gather(receive(server, size), send(client, data))
        assert got == data
        assert option(sock, socket.SO_RCVBUF) < max(large // 4, 300_000)

    run(loop_name, scenario)


def test_connections_on_which_no_fault_acts_keep_autotuning(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        slow = {**FOR_HOURS, "direction": "upstream", "skip": 1}
        running, client, server = await stage.pair(queue="4KiB", faults={"slow": slow})
        [connection] = running.connections.values()
        assert connection.upstream.source is not None
        sock = tcp_socket(connection.upstream.source)
        assert option(sock, SO_BUF_LOCK) == 0
        small = option(sock, socket.SO_RCVBUF)
        await asyncio.gather(receive(server, 2**23), send(client, bytes(2**23)))
        assert option(sock, socket.SO_RCVBUF) > small

    run(loop_name, scenario)


def test_new_connections_are_prepared_only_while_a_fault_acts(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, _, _ = await stage.pair(queue="4KiB")
        await until(lambda: len(running.connections) == 1)
        stage.supervisor.put_fault("proxy", fault("slow", direction="both", **FOR_HOURS), "test")
        listener = stage.listener()
        other = await change_proxy(stage.supervisor, with_upstream(running, listener.getsockname()[1]), "test"
        )
        client = await stage.connect(other)
        server = await stage.accept(listener)
        small = segment_of(4096)
        assert option(client, socket.TCP_MAXSEG, socket.IPPROTO_TCP) <= small
        assert option(server, socket.TCP_MAXSEG, socket.IPPROTO_TCP) <= small
        stage.supervisor.remove_fault("proxy", "slow", "test")
        client = await stage.connect(other)
        assert option(client, socket.TCP_MAXSEG, socket.IPPROTO_TCP) > small

    run(loop_name, scenario)


def with_upstream(running: Proxy, port: int) -> ProxySpec:
    return dataclasses.replace(running.spec, upstream=Address("127.0.0.1", port))


def test_the_limit_of_the_process_pauses_senders_and_loses_nothing(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        limit, size = 2**20, 2**22
        await stage.supervisor.apply(Config(max_held=limit), "test")
        listener = stage.listener()
        faults = {"slow": {**FOR_HOURS, "direction": "upstream"}}
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        first = await stage.connect(running)
        first_server = await stage.accept(listener)
        second = await stage.connect(running)
        second_server = await stage.accept(listener)
        sending = asyncio.gather(send(first, b"1" * size), send(second, b"2" * size))
        told = await stage.event("held_limit_reached")
        assert isinstance(told, HeldLimitReached) and told.limit == limit
        held = stage.supervisor.held
        assert limit < held.total <= limit + 2 * (2**18 + CHUNK_COST)
        assert stage.supervisor.counts().times_full == 1
        stage.supervisor.remove_fault("proxy", "slow", "test")
        got = await asyncio.gather(receive(first_server, size), receive(second_server, size), sending)
        assert got[:2] == [b"1" * size, b"2" * size]
        assert held.total == 0

    run(loop_name, scenario)


@pytest.mark.parametrize(("queue", "segment"), [(4096, 536), (8192, 1024), (65_536, 1460), (2**20, 1460)])
def test_small_queues_have_small_segments(queue: int, segment: int) -> None:
    assert segment_of(queue) == segment


@pytest.mark.parametrize("queue", [4096, 65_536, 2**20])
@pytest.mark.parametrize("segment", [536, 1448, 32_768, 65_483])
def test_a_buffer_has_room_for_two_segments(queue: int, segment: int) -> None:
    assert 2 * share_of(queue, segment) >= 2 * segment
    assert share_of(queue, segment) <= max(queue // 4, segment + 2**14)


def test_a_unix_socket_is_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        prepare_socket(sock, 4096)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before
