"""Faults on live connections: added, changed and removed while data is in flight."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
from typing import Any

import pytest

from chaosproxy.events import ConnectionClosed
from chaosproxy.net.stream.pipe import Pipe
from tests.cpu import cpu_time
from tests.net.building import fault
from tests.net.harness import (
    Stage,
    address_of,
    close_with_reset,
    is_empty,
    receive,
    run,
    send,
    taken,
    timed,
    turns,
    until,
)  # fmt: skip


def test_latency_delays_one_direction_and_never_less(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(faults={"slow": {"type": "latency", "delay": "50ms"}})
        await send(client, b"q")
        assert await receive(server, 1) == b"q"
        async with timed() as elapsed:
            await send(server, b"a")
            assert await receive(client, 1) == b"a"
            assert elapsed() >= 0.05

    run(loop_name, scenario)


def test_changing_a_fault_times_anew_what_it_holds(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(faults={"slow": {"type": "latency", "delay": "1h"}})
        await send(server, b"held")
        await taken(proxy, downstream=4)
        assert is_empty(client)
        assert proxy.registry.held("downstream") == 4
        stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="100ms"), "test")
        assert await receive(client, 4) == b"held"
        assert proxy.registry.held("downstream") == 0

    run(loop_name, scenario)


def test_healing_releases_at_once_in_order_and_goes_back_to_forwarding(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(faults={"stop": {"type": "stall", "direction": "both"}})
        for word in (b"one ", b"two ", b"three"):
            await send(client, word)
        client.shutdown(socket.SHUT_WR)
        connection = next(iter(proxy.connections.values()))
        await until(lambda: connection.upstream.ended)
        assert is_empty(server)
        assert [name for _, gone in stage.supervisor.heal("test") for name in (gone.name,)] == ["stop"]
        assert await receive(server, 100) == b"one two three"
        assert connection.upstream.chain is None and connection.downstream.chain is None

    run(loop_name, scenario)


def test_toggling_faults_during_a_transfer_loses_and_reorders_nothing(loop_name: str) -> None:
    data = random.Random(5).randbytes(20_000_000)

    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        digest = hashlib.sha256()

        async def read() -> None:
            while part := await asyncio.get_running_loop().sock_recv(client, 2**18):
                digest.update(part)

        async def meddle() -> None:
            dice = random.Random(3)
            for _ in range(150):
                choice = dice.choice(
                    (
                        {"type": "latency", "delay": "3ms", "jitter": "3ms"},
                        {"type": "slicer", "size": "2000B"},
                        {"type": "bandwidth", "rate": "50MB/s"},
                        {"type": "stall"},
                    )
                )
                stage.supervisor.put_fault("proxy", fault(f"f{dice.randrange(3)}", **choice), "test")
                await asyncio.sleep(0.003)
                if dice.random() < 0.5:
                    stage.supervisor.heal("test")
                    await asyncio.sleep(0.001)

        reading = asyncio.create_task(read())
        sending = asyncio.create_task(send(server, data))
        await meddle()
        stage.supervisor.heal("test")
        await sending
        server.shutdown(socket.SHUT_WR)
        await reading
        assert digest.digest() == hashlib.sha256(data).digest()

    run(loop_name, scenario)


def test_a_full_queue_slows_the_sender(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(faults={"stop": {"type": "stall"}}, queue="1MiB")
        [connection] = proxy.connections.values()
        flood = bytes(32 * 2**20)  # more than all socket buffers on the path
        sending = asyncio.create_task(send(server, flood))
        await until(lambda: not is_read(connection.downstream))
        assert 2**19 < proxy.registry.held("downstream") < 2 * 2**20
        assert not sending.done()
        stage.supervisor.heal("test")
        assert len(await receive(client, len(flood))) == len(flood)
        await sending

    run(loop_name, scenario)


def test_no_change_waits_for_a_peer_that_does_not_read(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", queue="256KiB")
        for ordinal in range(1, 101):
            await stage.connect(proxy, buffer=4096)
            server = await stage.accept(listener)
            pipe = proxy.connections[ordinal].downstream
            await until(lambda pipe=pipe: pipe.source is not None)
            assert pipe.sink is not None
            pipe.sink.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            while not pipe.sink.get_write_buffer_size():
                with contextlib.suppress(BlockingIOError):
                    server.send(bytes(65536))
                await asyncio.sleep(0)
        for change in (
            lambda: stage.supervisor.put_fault("proxy", fault("a", type="latency", delay="1s"), "test"),
            lambda: stage.supervisor.put_fault("proxy", fault("b", type="stall"), "test"),
            lambda: stage.supervisor.put_fault("proxy", fault("a", type="latency", delay="2s"), "test"),
            lambda: stage.supervisor.remove_fault("proxy", "a", "test"),
            lambda: stage.supervisor.heal("test"),
        ):
            with cpu_time() as used:
                change()
            assert used.seconds < 0.1

    run(loop_name, scenario)


def test_reset_reaches_both_sides(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        stage.supervisor.put_fault("proxy", fault("cut", type="reset"), "test")
        for end in (client, server):
            with pytest.raises(ConnectionResetError):
                await receive(end, 1)
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        assert (closed.cause, closed.detail) == ("injected", "reset by fault cut")

    run(loop_name, scenario)


@pytest.mark.parametrize("existing", ["keep", "close", "reset"])
def test_refuse_closes_the_port_and_gives_it_back(loop_name: str, existing: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        client = await stage.connect(proxy)
        server = await stage.accept(listener)
        where = address_of(proxy)
        stage.supervisor.put_fault("proxy", fault("shut", type="refuse", existing=existing), "test")
        late = stage.keep(socket.socket())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(late, where)
        match existing:
            case "keep":
                await send(client, b"still here")
                assert await receive(server, 10) == b"still here"
            case "close":
                assert await receive(client, 1) == b""
            case "reset":
                with pytest.raises(ConnectionResetError):
                    await receive(client, 1)
        stage.supervisor.heal("test")
        assert address_of(proxy) == where
        again = await stage.connect(proxy)
        await send(again, b"back")
        assert await receive(await stage.accept(listener), 4) == b"back"

    run(loop_name, scenario)


def test_slow_accept_delays_what_the_server_sees(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults = {"queue": {"type": "slow_accept", "delay": "80ms"}}
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        async with timed() as elapsed:
            client = await stage.connect(proxy)
            await send(client, b"hello")
            server = await stage.accept(listener)
            assert elapsed() >= 0.08
        assert await receive(server, 5) == b"hello"

    run(loop_name, scenario)


@pytest.mark.parametrize("change", ["heal", "remove", "shorten", "less than since accept"])
@pytest.mark.parametrize("kind", ["plain", "sni"])
def test_a_slow_accept_that_ends_releases_the_clients_that_wait(loop_name: str, kind: str, change: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults: dict[str, object] = {"late": {"type": "slow_accept", "delay": "1h"}}
        if kind == "sni":
            faults["sni"] = {"type": "latency", "delay": "1ms", "match": {"sni": "other.test"}}
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        async with timed() as elapsed:
            client = await stage.connect(proxy)
            await send(client, b"hello")
            await until(lambda: any(one.upstream.bytes for one in proxy.connections.values()))
            await turns()
            if change == "heal":
                stage.supervisor.heal("test")
            elif change == "remove":
                stage.supervisor.remove_fault("proxy", "late", "test")
            else:
                delay = "80ms" if change == "shorten" else "1us"
                stage.supervisor.put_fault("proxy", fault("late", type="slow_accept", delay=delay), "test")
            server = await stage.accept(listener)
            assert elapsed() >= 0.08 or change != "shorten"
        assert await receive(server, 5) == b"hello"

    run(loop_name, scenario)


def test_other_changes_do_not_end_a_slow_accept(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults = {"late": {"type": "slow_accept", "delay": "1h"}, "longer": {"type": "slow_accept", "delay": "2h"}}
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        await stage.connect(proxy)
        await until(lambda: any(one.delayed_by == "longer" for one in proxy.connections.values()))
        stage.supervisor.remove_fault("proxy", "longer", "test")
        await until(lambda: any(one.delayed_by == "late" for one in proxy.connections.values()))
        stage.supervisor.put_fault("proxy", fault("other", type="latency", delay="1ms"), "test")
        await turns()
        assert is_empty_backlog(listener)
        stage.supervisor.remove_fault("proxy", "late", "test")
        await stage.accept(listener)

    run(loop_name, scenario)


def is_empty_backlog(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_an_injected_reset_does_not_wait_for_a_reader_that_reads_nothing(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, _, server = await stage.pair(faults={"slow": {"type": "latency", "delay": "1ms"}}, queue="64KiB")
        [connection] = proxy.connections.values()
        sending = asyncio.create_task(send(server, bytes(32 * 2**20)))
        await until(lambda: not is_read(connection.downstream))
        stage.supervisor.put_fault("proxy", fault("cut", type="reset"), "test")
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        assert closed.cause == "injected"
        with pytest.raises(ConnectionResetError):
            await sending

    run(loop_name, scenario)


def is_read(pipe: Pipe) -> bool:
    """Return whether the source is read, so that its sender is not slowed."""
    assert pipe.source is not None
    return pipe.source.is_reading()


def test_a_reset_waits_behind_what_a_fault_holds(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(faults={"stop": {"type": "stall", "direction": "upstream"}})
        await send(client, b"last words")
        await taken(proxy, upstream=10)
        [connection] = proxy.connections.values()
        close_with_reset(client)
        await until(lambda: connection.upstream.source is None)
        assert is_empty(server)
        stage.supervisor.heal("test")
        with pytest.raises(ConnectionResetError):
            while await receive(server, 1):
                pass

    run(loop_name, scenario)


def test_skip_count_and_nth_choose_connections(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        server = await asyncio.start_server(_greet, "127.0.0.1", 0)
        faults = {"third": {"type": "reset", "skip": 1, "nth": 2, "count": 2}}
        proxy = await stage.proxy_to(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", faults=faults)
        touched = []
        for ordinal in range(1, 9):
            client = await stage.connect(proxy)
            try:
                assert await receive(client, 5) == b"hello"
            except ConnectionResetError:
                touched.append(ordinal)
        server.close()
        assert touched == [3, 5]
        assert proxy.fault_tallies()["third"].connections == 2

    run(loop_name, scenario)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()


def test_a_fault_heals_itself_after_its_ttl(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(faults={"stop": {"type": "stall", "ttl": "100ms"}})
        await send(server, b"x")
        assert await receive(client, 1) == b"x"
        expired = await stage.event("fault_expired")
        assert stage.supervisor.proxy("proxy").spec.faults == ()
        assert expired.proxy == "proxy"

    run(loop_name, scenario)


def test_a_socket_that_the_loop_has_closed_by_itself_does_not_keep_others_from_being_healed(loop_name: str) -> None:
    """The state after uvloop cancels a dial at the moment it succeeds: closed, but not `is_closing`, and unusable."""

    class Closed:
        def __init__(self, real: object) -> None:
            self._real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def is_closing(self) -> bool:
            return False

        def pause_reading(self) -> None:
            raise RuntimeError("the handler is closed")

        resume_reading = pause_reading

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        await stage.connect(running)
        await stage.accept(listener)
        client, server = await stage.connect(running), await stage.accept(listener)
        await send(client, b"both are open")
        assert await receive(server, 13) == b"both are open"
        first = running.connections[1].upstream
        gone: Any = Closed(first.source)  # Any: the pipe needs only a few methods of a transport
        first.source, real = gone, first.source
        stage.supervisor.put_fault("proxy", fault("stuck", type="pause", direction="both"), "test")
        await send(client, b"held")
        await turns()
        assert is_empty(server)
        stage.supervisor.heal("test")
        assert await receive(server, 4) == b"held"
        first.source = real

    run(loop_name, scenario)


def test_an_end_of_stream_that_a_closed_server_refuses_is_no_error(loop_name: str) -> None:
    """The bytes sent before the end-of-stream make the server reset, so the half-close comes too late."""

    async def scenario(stage: Stage) -> None:
        listener = stage.listener(buffer=4096)
        faults = {"slow": {"type": "latency", "delay": "1h"}}  # holds the server's own end-of-stream
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        client, server = await stage.connect(running), await stage.accept(listener)
        await stage.event("connection_opened")
        pipe, sent = running.connections[1].upstream, 0
        assert pipe.sink is not None
        while not pipe.sink.get_write_buffer_size():
            await send(client, bytes(16384))
            sent += 16384
            while pipe.bytes < sent:
                await asyncio.sleep(0)
        client.shutdown(socket.SHUT_WR)
        while not pipe.finished:
            await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            while server.recv(2**20):
                pass
        server.close()
        while pipe.sink is not None and pipe.sink.get_write_buffer_size():
            await asyncio.sleep(0)
        stage.supervisor.heal("test")
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        # The kernel decides whether the server's reset is read before the ends-of-stream are forwarded.
        assert closed.detail in ("client closed first", "client closed first, then server reset")
        assert (closed.cause, closed.first) == ("client", "client"), "the first to end is the one who closed"
        assert closed.bytes_upstream == sent

    run(loop_name, scenario)
