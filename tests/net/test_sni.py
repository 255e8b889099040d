"""Faults for the connections to one server name, on a proxy that forwards TLS unchanged."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from chaosproxy.events import ClientHello
from chaosproxy.net import front
from tests.net.building import fault
from tests.net.harness import Stage, is_empty, receive, run, send, taken
from tests.net.tls_peers import Certs, Peer


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"), ["a.test", "b.test"])


async def through(stage: Stage, certs: Certs, listener: socket.socket, name: str) -> tuple[Peer, Peer]:
    async def serve() -> Peer:
        return await Peer(await stage.accept(listener), certs.server_context(name)).handshake()

    running = stage.supervisor.proxy("proxy")
    sock = await stage.connect(running)
    context = certs.client_context(alpn=["h2", "http/1.1"])
    return await asyncio.gather(Peer(sock, context, name).handshake(), serve())


def test_only_connections_to_that_name_are_touched(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        running = stage.supervisor.proxy("proxy")
        stage.supervisor.add_fault("proxy", fault("cut", type="limit_data", size="4KiB", match={"sni": "A.*"}), "test")
        spared, server = await through(stage, certs, listener, "b.test")
        hello = await stage.event("client_hello")
        assert isinstance(hello, ClientHello)
        assert (hello.sni, hello.alpn, hello.connection) == ("b.test", "h2,http/1.1", 1)
        await server.send(bytes(100_000))
        assert len(await spared.receive(100_000)) == 100_000

        touched, server = await through(stage, certs, listener, "a.test")
        await server.send(bytes(100_000))
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            await touched.receive(100_000)
        assert running.fault_tallies()["cut"].connections == 1

    run(loop_name, scenario)


def test_what_is_no_tls_goes_through_at_once_and_untouched(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {"dead": {"type": "blackhole", "direction": "both", "match": {"sni": "*"}}}
        _, client, server = await _pair_saying(stage, b"GET / HTTP/1.1\r\n", faults)
        assert await receive(server, 16) == b"GET / HTTP/1.1\r\n"
        await send(server, b"answer")
        assert await receive(client, 6) == b"answer"
        assert not [event for event in stage.events if event.kind == "client_hello"]

    run(loop_name, scenario)


def test_a_hello_in_pieces_is_waited_for_and_arrives_whole(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {"dead": {"type": "blackhole", "direction": "downstream", "match": {"sni": "a.test"}}}
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        client = await stage.connect(running)
        hello = hello_of("a.test")
        for at in range(0, len(hello), 100):
            await send(client, hello[at : at + 100])
            await asyncio.sleep(0)
        server = await stage.accept(listener)
        assert await receive(server, len(hello)) == hello
        await send(server, b"answer")
        await taken(running, downstream=6)
        assert is_empty(client)

    run(loop_name, scenario)


def test_a_client_that_waits_for_the_server_to_begin_is_served_without_a_name(
    loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "HELLO_WITHIN", 0.05)

    async def scenario(stage: Stage) -> None:
        faults = {"dead": {"type": "blackhole", "match": {"sni": "*"}}}
        _, client, server = await _pair_saying(stage, b"", faults)
        await send(server, b"220 welcome")
        assert await receive(client, 11) == b"220 welcome"

    run(loop_name, scenario)


def test_a_half_closed_client_without_a_hello_still_gets_its_answer(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults = {"dead": {"type": "blackhole", "match": {"sni": "*"}}}
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
        client = await stage.connect(running)
        await send(client, b"\x16\x03")
        client.shutdown(socket.SHUT_WR)
        server = await stage.accept(listener)
        assert await receive(server, 10) == b"\x16\x03"
        await send(server, b"answer")
        assert await receive(client, 6) == b"answer"

    run(loop_name, scenario)


async def _pair_saying(stage: Stage, words: bytes, faults: object) -> tuple[object, socket.socket, socket.socket]:
    listener = stage.listener()
    running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", faults=faults)
    client = await stage.connect(running)
    if words:
        await send(client, words)
    return running, client, await stage.accept(listener)


def hello_of(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
