"""TCP without faults: both directions, half-close, reset, back-pressure, dialling."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from chaosproxy.events import ConnectionClosed, DialFailed
from tests.net.harness import Stage, can_send, close_with_reset, receive, run, send, until


def test_bytes_go_both_ways_and_are_counted(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair()
        await send(client, b"question")
        assert await receive(server, 8) == b"question"
        await send(server, b"answer")
        assert await receive(client, 6) == b"answer"
        assert (proxy.bytes("upstream"), proxy.bytes("downstream")) == (8, 6)

    run(loop_name, scenario)


def test_half_close_of_the_client_leaves_the_answer_open(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair()
        await send(client, b"all I have")
        client.shutdown(socket.SHUT_WR)
        assert await receive(server, 100) == b"all I have"  # the end-of-stream arrived, too
        await send(server, b"late answer")
        assert await receive(client, 11) == b"late answer"
        server.close()
        assert await receive(client, 1) == b""
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        assert (closed.cause, closed.detail) == ("client", "client closed first")
        assert proxy.connections == {}

    run(loop_name, scenario)


def test_half_close_of_the_server_leaves_the_request_open(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        server.shutdown(socket.SHUT_WR)
        assert await receive(client, 1) == b""
        await send(client, b"still talking")
        assert await receive(server, 13) == b"still talking"

    run(loop_name, scenario)


def test_a_reset_of_one_side_resets_the_other(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        for resetting, other in ((0, 1), (1, 0)):
            client = await stage.connect(proxy)
            ends = (client, await stage.accept(listener))
            await send(ends[0], b"x")
            await receive(ends[1], 1)
            close_with_reset(ends[resetting])
            with pytest.raises(ConnectionResetError):
                await receive(ends[other], 1)

    run(loop_name, scenario)


def test_a_slow_reader_slows_the_sender(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        client = await stage.connect(proxy, buffer=65536)
        server = await stage.accept(listener)
        await stage.event("connection_opened")
        pipe, size = proxy.connections[1].downstream, 64 * 2**20
        sending = asyncio.create_task(send(server, bytes(size)))
        source, sink = pipe.source, pipe.sink
        assert source is not None and sink is not None
        await until(lambda: not source.is_reading() and not can_send(server))
        assert not sending.done()
        assert pipe.bytes < 24 * 2**20  # the rest is in the kernel's buffers; the test's own are small
        assert sink.get_write_buffer_size() < 2**20
        assert len(await receive(client, size)) == size
        await sending

    run(loop_name, scenario)


def test_what_a_client_sends_before_its_upstream_is_there_arrives(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        client = await stage.connect(proxy)
        client.send(b"early")
        client.shutdown(socket.SHUT_WR)
        server = await stage.accept(listener)
        assert await receive(server, 100) == b"early"
        await send(server, b"ok")
        assert await receive(client, 2) == b"ok"

    run(loop_name, scenario)


def test_an_upstream_that_refuses_resets_the_client_and_says_why(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        closed = stage.listener()
        port = closed.getsockname()[1]
        closed.close()
        proxy = await stage.proxy_to(f"127.0.0.1:{port}")
        client = await stage.connect(proxy)
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)
        failed = await stage.event("dial_failed")
        assert isinstance(failed, DialFailed)
        assert failed.upstream == f"127.0.0.1:{port}"
        assert "refused" in failed.reason.lower() or "connect call failed" in failed.reason.lower()
        assert proxy.tally.dial_failures == 1

    run(loop_name, scenario)


def test_an_upstream_that_does_not_answer_times_out(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        full = stage.keep(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [stage.keep(socket.socket()) for _ in range(4)]
        for filler in fillers:  # the backlog takes one or two; after that, SYNs get no response
            filler.connect_ex(full.getsockname())
        await until(lambda: any(can_send(filler) for filler in fillers))
        proxy = await stage.proxy_to(f"127.0.0.1:{full.getsockname()[1]}", connect_timeout="300ms")
        client = await stage.connect(proxy)
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)
        failed = await stage.event("dial_failed")
        assert isinstance(failed, DialFailed)
        assert failed.reason == "no response within 0.3 s"
        assert failed.after_s >= 0.299  # the loop measures this in whole ms

    run(loop_name, scenario)


def test_a_name_that_does_not_resolve_resets_the_client(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy = await stage.proxy_to("no-such-host.invalid:80")
        client = await stage.connect(proxy)
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)
        assert (await stage.event("dial_failed")).kind == "dial_failed"

    run(loop_name, scenario)


def test_a_name_with_several_addresses_is_tried_in_turn(loop_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()  # on IPv4 only; ::1 refuses the same port
        port = listener.getsockname()[1]

        def both_families(*_: object, **__: object) -> list[object]:
            stream = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [
                (socket.AF_INET6, *stream, ("::1", port, 0, 0)),
                (socket.AF_INET, *stream, ("127.0.0.1", port)),
            ]

        proxy = await stage.proxy_to(f"localhost:{port}")
        monkeypatch.setattr(socket, "getaddrinfo", both_families)
        client = await stage.connect(proxy)
        server = await stage.accept(listener)
        await send(client, b"hello")
        assert await receive(server, 5) == b"hello"

    run(loop_name, scenario)


def test_unix_sockets_on_both_sides(loop_name: str, tmp_path: os.PathLike[str]) -> None:
    async def scenario(stage: Stage) -> None:
        upstream = stage.keep(socket.socket(socket.AF_UNIX))
        upstream.bind(os.path.join(tmp_path, "up"))
        upstream.listen(5)
        path = os.path.join(tmp_path, "in")
        await stage.proxy_to(f"unix:{os.path.join(tmp_path, 'up')}", listen=f"unix:{path}")
        client = stage.keep(socket.socket(socket.AF_UNIX))
        await asyncio.get_running_loop().sock_connect(client, path)
        server = await stage.accept(upstream)
        await send(client, b"hello")
        assert await receive(server, 5) == b"hello"
        await stage.supervisor.remove_proxy("proxy", "test")
        assert not os.path.exists(path)

    run(loop_name, scenario)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_ipv6_on_both_sides(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        upstream = stage.keep(socket.socket(socket.AF_INET6))
        upstream.bind(("::1", 0))
        upstream.listen(5)
        proxy = await stage.proxy_to(f"[::1]:{upstream.getsockname()[1]}", listen="[::1]:0")
        client = stage.keep(socket.socket(socket.AF_INET6))
        await asyncio.get_running_loop().sock_connect(client, ("::1", proxy.listening_on[0].port))
        server = await stage.accept(upstream)
        await send(client, b"hello")
        assert await receive(server, 5) == b"hello"

    run(loop_name, scenario)


def test_removing_a_proxy_ends_its_connections_and_closes_its_port(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair()
        where = ("127.0.0.1", proxy.listening_on[0].port)
        await stage.supervisor.remove_proxy("proxy", "test")
        assert await receive(client, 1) == b""
        assert await receive(server, 1) == b""
        late = stage.keep(socket.socket())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(late, where)

    run(loop_name, scenario)
