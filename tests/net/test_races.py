"""An ending, a deadline or a change of faults that meets a socket while it is attached, read or dialled."""

from __future__ import annotations

import asyncio
import socket

import pytest

from chaosproxy.net.http import copies
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.timer.deadline import Deadline
from tests.net.building import fault
from tests.net.harness import Stage, address_of, close_with_reset, run, send, turns, until
from tests.net.tls_peers import Certs

SNI = {"type": "latency", "delay": "1ms", "match": {"sni": "other.test"}}
"""A fault that makes the proxy read each ClientHello, and acts on no client here."""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


def pass_deadlines(running: Proxy) -> None:
    """Let every dial's time be over."""
    for _, _, timed in list(running.scheduler._heap):
        if isinstance(timed, Deadline):
            timed.on_due(0.0)


def upstream_of(stage: Stage) -> str:
    return f"127.0.0.1:{stage.listener().getsockname()[1]}"


@pytest.mark.parametrize("soon", [False, True])
def test_a_dial_that_times_out_as_it_succeeds_leaves_nothing(
    loop_name: str, monkeypatch: pytest.MonkeyPatch, soon: bool
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(upstream_of(stage))
        real = Connection.source_made

        def made(self: Connection, pipe: Pipe, transport: asyncio.Transport) -> None:
            real(self, pipe, transport)
            if pipe is self.downstream and soon:
                asyncio.get_running_loop().call_soon(pass_deadlines, running)
            elif pipe is self.downstream:
                pass_deadlines(running)

        monkeypatch.setattr(Connection, "source_made", made)
        await stage.connect(running)
        await stage.event("connection_closed")
        assert not running.connections

    run(loop_name, scenario)


def test_a_copy_that_times_out_as_it_connects_leaves_nothing(loop_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(upstream_of(stage), protocol="http")
        real = copies._Copy.connection_made

        def made(self: copies._Copy, transport: asyncio.BaseTransport) -> None:
            real(self, transport)
            pass_deadlines(running)

        monkeypatch.setattr(copies._Copy, "connection_made", made)
        running.http.send_copies([GET], None)
        sent = running.http._copies
        assert len(sent._open) == 1
        await until(lambda: not sent._open)

    run(loop_name, scenario)


@pytest.mark.parametrize("faults", [{}, {"wait": {"type": "tls_handshake", "how": "stall"}}], ids=["none", "stall"])
def test_a_reset_while_the_client_is_attached_ends_it(
    loop_name: str, certs: Certs, monkeypatch: pytest.MonkeyPatch, faults: dict[str, object]
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(
            upstream_of(stage), listen_tls=certs.listen(), connect_timeout="1h", faults=faults
        )
        real = Connection.start

        def start(self: Connection, *arguments: object) -> None:
            real(self, *arguments)  # type: ignore[arg-type]  # passed on as they came
            asyncio.get_running_loop().call_soon(running.end_connections, "reset")

        monkeypatch.setattr(Connection, "start", start)
        await stage.connect(running)
        await stage.event("connection_closed")
        assert not running.connections

    run(loop_name, scenario)


def test_data_that_came_with_the_hello_does_not_end_back_pressure(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {"sni": SNI, "slow": {"type": "slow_accept", "delay": "1h"}}
        running = await stage.proxy_to(upstream_of(stage), faults=faults)
        client = socket.socket()
        client.setblocking(False)
        stage.keep(client)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, address_of(running))
        sending = asyncio.ensure_future(loop.sock_sendall(client, b"x" * 30_000_000))
        await until(lambda: running.connections and running.connections[1].upstream.is_paused)
        pipe, before = running.connections[1].upstream, -1
        while pipe.bytes != before:  # until no more is read
            before = pipe.bytes
            await turns(20)
        assert pipe.bytes < 2_000_000 and not sending.done()
        sending.cancel()

    run(loop_name, scenario)


@pytest.mark.parametrize("kind", ["plain", "sni", "tls"])
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_leaves_before_the_dial_has_ended_first(
    loop_name: str, certs: Certs, kind: str, how: str
) -> None:
    async def scenario(stage: Stage) -> None:
        faults: dict[str, object] = {"slow": {"type": "slow_accept", "delay": "1h"}}
        faults |= {"sni": SNI} if kind == "sni" else {}
        more: dict[str, object] = {"listen_tls": certs.listen()} if kind == "tls" else {}
        running = await stage.proxy_to(upstream_of(stage), faults=faults, **more)
        client = await stage.connect(running)
        await until(lambda: running.connections)
        if how == "reset":
            close_with_reset(client)
        else:
            client.shutdown(socket.SHUT_WR)
        ended = await stage.event("client_ended")
        assert ended.how == how  # type: ignore[attr-defined]  # of ClientEnded
        assert ended.held_by == "slow"  # type: ignore[attr-defined]  # of ClientEnded
        if how == "reset" or kind == "tls":  # else it may still wait for a response
            closed = await stage.event("connection_closed")
            assert closed.first == closed.cause == "client"  # type: ignore[attr-defined]  # of ConnectionClosed
            assert "while fault slow delayed it" in closed.detail  # type: ignore[attr-defined]  # of ConnectionClosed
            assert closed.client_ended_s == ended.after_s  # type: ignore[attr-defined]  # of ClientEnded

    run(loop_name, scenario)


def test_a_message_fault_after_the_server_is_gone_leaves_its_held_reset_held(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        slow = {"type": "latency", "delay": "1h", "direction": "downstream"}
        running, client, server = await stage.pair(protocol="http", faults={"slow": slow})
        await stage.event("connection_opened")
        close_with_reset(server)
        await stage.event("server_ended")
        other = fault("other", type="http_abort", status=503, match={"path": "/other"})
        stage.supervisor.add_fault("proxy", other, "test")
        await turns()
        await send(client, GET)
        await until(lambda: running.connections[1].upstream.bytes == len(GET))
        await turns(20)
        assert len(running.connections) == 1
        assert [event.kind for event in stage.events if event.kind.endswith("_ended")] == ["server_ended"]

    run(loop_name, scenario)
