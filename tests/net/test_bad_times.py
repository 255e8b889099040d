"""Overload: senders whose data is not read, servers that never read, two thousand resets at once."""

from __future__ import annotations

import asyncio
import resource

import psutil
import pytest

from chaosproxy.net.stream.pipe import DIAL_QUEUE
from tests.net.echo import Echo
from tests.net.harness import Stage, can_send, close_with_reset, run, turns, until


@pytest.fixture
def many_descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))


async def _send_until(sock: object, stop: asyncio.Event) -> None:
    sending = asyncio.create_task(_send_for_ever(sock))
    await stop.wait()
    sending.cancel()


async def _send_for_ever(sock: object) -> None:
    chunk = bytes(65536)
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, chunk)  # type: ignore[arg-type]


def test_a_hundred_stalled_senders_grow_memory_by_their_queues_alone(loop_name: str, many_descriptors: None) -> None:
    queue = 512 * 1024

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults = {"stop": {"type": "stall", "direction": "upstream"}}
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        proxy = await stage.proxy_to(upstream, faults=faults, queue="512KiB")
        clients = []
        for _ in range(100):
            clients.append(await stage.connect(proxy))
            await stage.accept(listener)
        before = psutil.Process().memory_info().rss
        stop = asyncio.Event()
        senders = [asyncio.create_task(_send_until(client, stop)) for client in clients]
        sources = [one.upstream.source for one in proxy.connections.values()]
        await until(lambda: not any(source.is_reading() for source in sources if source is not None))
        await until(lambda: not any(can_send(client) for client in clients))
        middle = psutil.Process().memory_info().rss
        await turns(1000)
        after = psutil.Process().memory_info().rss
        held = proxy.registry.held("upstream")
        stop.set()
        await asyncio.gather(*senders)
        # The last chunk read may exceed the limit, by at most 256 KiB.
        assert 100 * queue * 0.5 < held <= 100 * (queue + 2**18)
        assert after - before < 100 * (queue + 2**18) + 20e6
        assert after - middle < 2e6

    run(loop_name, scenario)


def test_a_server_that_never_reads_slows_its_client(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, _ = await stage.pair()
        stop = asyncio.Event()
        sender = asyncio.create_task(_send_until(client, stop))
        connection = next(iter(proxy.connections.values()))
        source = connection.upstream.source
        assert source is not None
        await until(lambda: not source.is_reading() and not can_send(client))
        sink = connection.upstream.sink
        assert sink is not None and sink.get_write_buffer_size() < 2**20 + DIAL_QUEUE
        stop.set()
        await sender

    run(loop_name, scenario)


@pytest.mark.slow
def test_two_thousand_connections_opened_and_reset_at_once(loop_name: str, many_descriptors: None) -> None:
    async def scenario(stage: Stage) -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
        proxy = await stage.proxy_to(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        clients = await asyncio.gather(*(stage.connect(proxy) for _ in range(2_000)))
        for client in clients:
            close_with_reset(client)
        # The last event may belong to a connection that ended before it was opened.
        await until(lambda: proxy.tally.opened == 2_000 and not proxy.connections)
        assert sum(proxy.tally.closed.values()) == 2_000
        server.close()

    run(loop_name, scenario)
