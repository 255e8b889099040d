"""Costly work on one connection, or on many, does not make the others wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chaosproxy.net.proxy import Proxy
from tests.net.building import fault, proxy
from tests.net.harness import LOOPS, Stage, receive, run, send, until
from tests.supervising import change_proxy
from tests.turns import measured_turns

EACH = {"direction": "upstream"}
COSTLY: dict[str, tuple[str, dict[str, object]]] = {
    "slices of 1 byte": ("tcp", {"type": "slicer", "size": "1B"}),
    "slices of 16 bytes": ("tcp", {"type": "slicer", "size": "16B", "variation": "15B"}),
    "slices of 1 byte, 1 us apart": ("tcp", {"type": "slicer", "size": "1B", "gap": "1us"}),
    "each bit": ("tcp", {"type": "corrupt", "rate": "100%"}),
    "few bytes": ("tcp", {"type": "corrupt", "rate": "1%", "unit": "byte"}),
    "half the bytes": ("tcp", {"type": "corrupt", "rate": "50%", "unit": "byte"}),
    "a fast link": ("tcp", {"type": "bandwidth", "rate": "90MB/s"}),
    "bodies": ("http", {"type": "http_corrupt", "rate": "50%", "on": "request"}),
}
CHUNKS = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400_000 + b"0\r\n\r\n"
REQUESTS = b"GET / HTTP/1.1\r\n\r\n" * 30_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"


@contextlib.asynccontextmanager
async def pouring(stage: Stage, protocol: str, faults: dict[str, object]) -> AsyncIterator[None]:
    """Pour bytes through a proxy with these faults, and read them at the other end, during the block."""
    client, server = await connected(stage, "poured", protocol=protocol, faults=faults)
    loop = asyncio.get_running_loop()

    async def pour() -> None:
        if protocol == "http":
            await send(client, HEAD)
        while True:
            await loop.sock_sendall(client, bytes(range(256)) * 1024)

    async def drain() -> None:
        while True:
            await loop.sock_recv(server, 2**20)

    tasks = [asyncio.create_task(work()) for work in (pour, drain)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connected(stage: Stage, name: str, **settings: object) -> tuple[socket.socket, socket.socket]:
    """A client and a server that are connected through a proxy of that name."""
    listener = stage.listener()
    upstream = f"127.0.0.1:{listener.getsockname()[1]}"
    running = await stage.supervisor.add_proxy(proxy(name, upstream=upstream, **settings), "test")
    client = await stage.connect(running)
    return client, await stage.accept(listener)


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("name", COSTLY)
def test_a_costly_fault_lets_the_other_connections_have_their_turn(name: str, loop_name: str) -> None:
    protocol, settings = COSTLY[name]

    async def scenario(stage: Stage) -> None:
        plain = await connected(stage, "plain")
        delayed = await connected(stage, "delayed", faults={"it": {"type": "latency", "delay": "100us", **EACH}})
        async with pouring(stage, protocol, {"it": {**settings, **EACH}}), measured_turns() as turns:
            proxied = stage.supervisor.proxy("poured")
            await until(lambda: proxied.bytes("upstream") > 2**17 and turns.count > 100)
            trips = [await round_trip(*pair) for _ in range(10) for pair in (plain, delayed)]
        assert statistics.median(trips) < 0.05
        assert max(trips) < 0.1
        assert turns.longest < 0.025
        proxied.end_connections("reset")

    run(loop_name, scenario)


async def round_trip(client: socket.socket, server: socket.socket) -> float:
    """Send a byte there and back; return the CPU time that the thread has used meanwhile."""
    began = time.thread_time()
    await send(client, b"?")
    assert await receive(server, 1) == b"?"
    await send(server, b"!")
    assert await receive(client, 1) == b"!"
    return time.thread_time() - began


@pytest.mark.slow
@pytest.mark.parametrize("loop_name", LOOPS)
def test_hundreds_of_faults_on_hundreds_of_connections_are_put_and_healed_in_slices(loop_name: str) -> None:
    connections = 300

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        crowd = await stage.supervisor.add_proxy(proxy("crowd", upstream=upstream), "test")
        pairs = [(await stage.connect(crowd), await stage.accept(listener)) for _ in range(connections)]
        plain = await connected(stage, "plain")
        faults = tuple(fault(f"f{number}", type="latency", delay="1ms") for number in range(100))
        async with measured_turns() as turns:
            wanted = replace(crowd.spec, faults=faults)
            await change_proxy(stage.supervisor, wanted, "test")
            trips = [await round_trip(*plain) for _ in range(10)]
            await stage.supervisor.settled()
            assert links(crowd) == [100] * connections
            stage.supervisor.heal("test")
            trips += [await round_trip(*plain) for _ in range(10)]
            await stage.supervisor.settled()
            assert links(crowd) == [0] * connections
        assert statistics.median(trips) < 0.05
        assert max(trips) < 0.1
        assert turns.longest < 0.05
        assert len(pairs) == len(crowd.connections)

    run(loop_name, scenario)


@pytest.mark.parametrize("gone", [("stall", "slices"), ("stall",)], ids=["all faults", "one of two"])
@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_heal_that_releases_very_many_chunks_does_so_in_slices(loop_name: str, gone: tuple[str, ...]) -> None:
    faults = {"slices": {"type": "slicer", "size": "1B", **EACH}, "stall": {"type": "stall", **EACH}}
    size = 50_000

    async def scenario(stage: Stage) -> None:
        plain = await connected(stage, "plain")
        client, server = await connected(stage, "held", faults=faults)
        held = stage.supervisor.proxy("held")
        data = bytes(number % 251 for number in range(size))
        await send(client, data)
        [connection] = held.connections.values()
        await until(lambda: connection.upstream.chain is not None and connection.upstream.chain.chunks == size)
        async with measured_turns() as turns:
            for name in gone:
                stage.supervisor.remove_fault("held", name, "test")
            trips = [await round_trip(*plain) for _ in range(10)]
            assert await receive(server, size) == data
        assert max(trips) < 0.1
        assert turns.longest < 0.025

    run(loop_name, scenario)


@pytest.mark.parametrize("loop_name", LOOPS)
def test_changes_while_very_many_small_chunks_are_framed_are_made_in_slices(loop_name: str) -> None:
    faults = {"m": {"type": "http_delay", "delay": "1ms"}, "s": {"type": "slicer", "size": "4B", **EACH}}
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"".join(b"1\r\n%c\r\n" % (97 + number % 26) for number in range(60_000)) + b"0\r\n\r\n"

    async def scenario(stage: Stage) -> None:
        client, server = await connected(stage, "chunked", protocol="http", faults=faults)
        proxied = stage.supervisor.proxy("chunked")
        [connection] = proxied.connections.values()
        received = asyncio.ensure_future(receive(server, len(data)))
        sent = asyncio.ensure_future(send(client, data))
        await until(lambda: proxied.bytes("upstream") > 2**17)
        async with measured_turns() as turns:
            for number in range(6):
                stage.supervisor.put_fault("chunked", fault(f"x{number % 3}", type="http_delay", delay="1ms"), "test")
                if number == 3:
                    stage.supervisor.remove_fault("chunked", "m", "test")
                await asyncio.sleep(0)
            stage.supervisor.heal("test")
            assert await received == data
        await sent
        assert turns.longest < 0.1
        await until(lambda: connection.upstream.chain is None and connection.downstream.chain is None)

    run(loop_name, scenario)


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("data", [CHUNKS, REQUESTS], ids=["chunks", "requests"])
def test_a_client_of_very_many_small_pieces_lets_others_have_their_turn_without_any_fault(
    loop_name: str, data: bytes
) -> None:

    async def scenario(stage: Stage) -> None:
        client, server = await connected(stage, "small", protocol="http", pipeline_limit=100_000)
        received = 0

        async def drain() -> None:
            nonlocal received
            while received < len(data):
                received += len(await asyncio.get_running_loop().sock_recv(server, 2**20))

        async with measured_turns() as turns:
            await asyncio.wait_for(asyncio.gather(send(client, data), drain()), 60)
        assert turns.longest < 0.025

    run(loop_name, scenario)


def links(running: Proxy) -> list[int]:
    """The number of faults in the downstream pipe of every connection."""
    chains = [one.downstream.chain for one in running.connections.values()]
    return [0 if chain is None else len(chain.links) for chain in chains]
