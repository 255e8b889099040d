"""TLS with the client, with the server, with both and with neither, against real `ssl` peers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chaosproxy.errors import InvalidInput
from chaosproxy.events import ClientEnded, ConnectionClosed, DialFailed, PeerEnded, TlsFailed
from chaosproxy.model.tls import ListenTls
from chaosproxy.net.kernel.sockopts import tcp_socket
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.tls import contexts
from chaosproxy.net.tls.reasons import reason_of
from tests.net.building import fault, proxy
from tests.net.harness import Stage, can_send, close_with_reset, receive, run, send, turns, until
from tests.net.tls_peers import Certs, Peer, connect
from tests.refused import places
from tests.supervising import change_proxy

Scenario = Callable[[Stage], Awaitable[None]]


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


async def terminated(stage: Stage, certs: Certs, **settings: object) -> tuple[Proxy, Peer, socket.socket]:
    """Return a TLS client of the proxy, and the plain server behind it."""
    listener = stage.listener()
    upstream = f"127.0.0.1:{listener.getsockname()[1]}"
    running = await stage.proxy_to(upstream, **{"listen_tls": certs.listen(), **settings})
    client = await connect(stage, running, certs.client_context())
    server = await stage.accept(listener)
    await stage.event("connection_opened")
    return running, client, server


async def originated(stage: Stage, certs: Certs, **settings: object) -> tuple[Proxy, socket.socket, Peer]:
    """Return a plain client of the proxy, and the TLS server behind it."""
    listener = stage.listener()
    upstream = f"127.0.0.1:{listener.getsockname()[1]}"
    running = await stage.proxy_to(upstream, **{"upstream_tls": certs.upstream(), **settings})
    client = await stage.connect(running)
    server = await Peer(await stage.accept(listener), certs.server_context()).handshake()
    await stage.event("connection_opened")
    return running, client, server


async def both(stage: Stage, certs: Certs, **settings: object) -> tuple[Proxy, Peer, Peer]:
    listener = stage.listener()
    upstream = f"127.0.0.1:{listener.getsockname()[1]}"
    tls = {"listen_tls": certs.listen(), "upstream_tls": certs.upstream()}
    running = await stage.proxy_to(upstream, **{**tls, **settings})
    client, server = await asyncio.gather(
        connect(stage, running, certs.client_context()), _serve(stage, listener, certs)
    )
    await stage.event("connection_opened")
    return running, client, server


async def _serve(stage: Stage, listener: socket.socket, certs: Certs) -> Peer:
    return await Peer(await stage.accept(listener), certs.server_context()).handshake()


def test_terminated_tls_goes_both_ways_and_counts_plain_bytes(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await terminated(stage, certs)
        await client.send(b"question")
        assert await receive(server, 8) == b"question"
        await send(server, b"answer")
        assert await client.receive(6) == b"answer"
        assert (running.bytes("upstream"), running.bytes("downstream")) == (8, 6)
        assert client.tls.version() == "TLSv1.3"

    run(loop_name, scenario)


def test_originated_tls_goes_both_ways(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await originated(stage, certs)
        await send(client, b"question")
        assert await server.receive(8) == b"question"
        await server.send(b"answer")
        assert await receive(client, 6) == b"answer"

    run(loop_name, scenario)


@pytest.mark.slow
@pytest.mark.parametrize("make", [terminated, originated, both])
def test_bulk_is_identical_both_ways_at_once(loop_name: str, certs: Certs, make: object) -> None:
    size = 50 * 2**20
    there, back = os.urandom(2**20) * 50, os.urandom(2**20) * 50

    async def put(end: Peer | socket.socket, data: bytes) -> None:
        await (end.send(data) if isinstance(end, Peer) else send(end, data))

    async def take(end: Peer | socket.socket) -> bytes:
        return await (end.receive(size) if isinstance(end, Peer) else receive(end, size))

    async def scenario(stage: Stage) -> None:
        _, client, server = await make(stage, certs)  # type: ignore[operator]
        _, _, got_back, got_there = await asyncio.gather(
            put(client, there), put(server, back), take(client), take(server)
        )
        assert hashlib.sha256(got_there).digest() == hashlib.sha256(there).digest()
        assert hashlib.sha256(got_back).digest() == hashlib.sha256(back).digest()

    run(loop_name, scenario)


def test_a_client_that_says_close_notify_still_gets_its_answer(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await terminated(stage, certs)
        await client.send(b"all I have")
        await client.close_notify()
        assert await receive(server, 100) == b"all I have"  # the end-of-stream arrived, too
        await send(server, b"late answer")
        assert await client.receive(11) == b"late answer"
        server.close()
        assert await client.receive(1) == b""  # close_notify: without it this would raise
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        assert (closed.cause, closed.detail) == ("client", "client closed first")
        assert running.connections == {}

    run(loop_name, scenario)


def test_a_server_that_ends_its_stream_still_hears_the_client(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await terminated(stage, certs)
        await send(server, b"bye")
        server.shutdown(socket.SHUT_WR)
        assert await client.receive(10) == b"bye"
        await client.send(b"still talking" * 10_000)
        assert await receive(server, 130_000) == b"still talking" * 10_000

    run(loop_name, scenario)


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_goes_through_tls_on_both_sides(loop_name: str, certs: Certs, first: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await both(stage, certs)
        one, other = (client, server) if first == "client" else (server, client)
        await one.send(b"question")
        await one.close_notify()
        assert await other.receive(100) == b"question"
        await other.send(b"answer" * 50_000)
        await other.close_notify()
        assert await one.receive(10**6) == b"answer" * 50_000
        await stage.event("connection_closed")

    run(loop_name, scenario)


def test_a_truncated_stream_goes_on_truncated(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await both(stage, certs)
        await server.send(b"half of it")
        server.sock.shutdown(socket.SHUT_WR)  # FIN without close_notify
        assert await client.receive(10) == b"half of it"
        with pytest.raises(ssl.SSLEOFError):
            await client.receive(1)

    run(loop_name, scenario)


def test_a_truncated_stream_is_an_end_of_stream_for_a_plain_peer(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await terminated(stage, certs)
        await client.send(b"half of it")
        client.sock.shutdown(socket.SHUT_WR)
        assert await receive(server, 100) == b"half of it"
        await send(server, b"answer")
        assert await client.receive(6) == b"answer"

    run(loop_name, scenario)


@pytest.mark.parametrize("resetting", ["client", "server"])
def test_a_reset_of_one_side_resets_the_other(loop_name: str, certs: Certs, resetting: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await both(stage, certs)
        one, other = (client, server) if resetting == "client" else (server, client)
        await one.send(b"x")
        assert await other.receive(1) == b"x"
        close_with_reset(one.sock)
        with pytest.raises(ConnectionResetError):
            await other.receive(1)

    run(loop_name, scenario)


@pytest.mark.parametrize("victim", ["client", "server"])
def test_a_record_that_makes_no_sense_ends_both(loop_name: str, certs: Certs, victim: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await both(stage, certs)
        sender, other = (client, server) if victim == "client" else (server, client)
        await sender.send(b"good")
        await send(sender.sock, b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await other.receive(4) == b"good"
        with pytest.raises(ConnectionResetError):
            await other.receive(1)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            await sender.receive(1)
        failed = await stage.event("tls_failed")
        assert isinstance(failed, TlsFailed) and failed.side == victim
        closed = await stage.event("connection_closed")
        ended = await stage.event(f"{victim}_ended")
        assert isinstance(closed, ConnectionClosed) and isinstance(ended, PeerEnded)
        reason = f"TLS with the {victim} failed: decryption failed or bad record mac"
        assert failed.reason == closed.detail == ended.error == reason

    run(loop_name, scenario)


def test_what_waits_behind_a_slow_server_is_whole_when_the_client_has_left(loop_name: str, certs: Certs) -> None:
    """Nothing may overtake data that is not read yet: close_notify and FIN come after it."""

    async def scenario(stage: Stage) -> None:
        listener = stage.listener(buffer=65536)
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", listen_tls=certs.listen())
        client = await connect(stage, running, certs.client_context())
        server = await stage.accept(listener)
        await stage.event("connection_opened")
        pipe = running.connections[1].upstream
        data = os.urandom(16 * 2**20)  # the kernel takes 4 MiB for a reader that does not read
        sending = asyncio.create_task(_send_and_leave(client, data))
        await until(lambda: pipe.sink is not None and pipe.sink.get_write_buffer_size() > 0)
        assert await receive(server, len(data) + 1) == data
        await sending

    run(loop_name, scenario)


async def _send_and_leave(client: Peer, data: bytes) -> None:
    await client.send(data)
    await client.close_notify()
    client.sock.shutdown(socket.SHUT_WR)


def test_what_a_client_sends_with_its_handshake_is_kept_for_the_server(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults = {"late": {"type": "slow_accept", "delay": "100ms"}}
        running = await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}", listen_tls=certs.listen(), faults=faults
        )
        started = asyncio.get_running_loop().time()
        client = await connect(stage, running, certs.client_context())
        assert asyncio.get_running_loop().time() - started >= 0.099, "its handshake waits, too"
        await client.send(b"first words")
        assert await receive(await stage.accept(listener), 11) == b"first words"

    run(loop_name, scenario)


def test_an_operator_may_end_what_has_not_begun(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        for how in ("reset", "close"):
            client = await stage.connect(running)
            while not running.connections:
                await asyncio.sleep(0)
            await turns()
            running.end_connections(how)
            with pytest.raises(ConnectionResetError):
                await receive(client, 1)
            closed = await stage.event("connection_closed")
            assert isinstance(closed, ConnectionClosed)
            assert (closed.cause, closed.detail) == ("operator", f"{how.replace('close', 'closed')} by the operator")
            stage.events.clear()

    run(loop_name, scenario)


def test_a_slow_reader_slows_the_sender_and_nothing_piles_up(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener(buffer=65536)
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        running = await stage.proxy_to(upstream, listen_tls=certs.listen(), upstream_tls=certs.upstream())
        client, server = await asyncio.gather(
            connect(stage, running, certs.client_context()), _serve(stage, listener, certs)
        )
        [connection] = running.connections.values()
        pipe, size = connection.upstream, 32 * 2**20
        source, sink = pipe.source, pipe.sink
        assert source is not None and sink is not None
        sending = asyncio.create_task(client.send(bytes(size)))
        await until(lambda: not source.is_reading() and not can_send(client.sock))
        assert not sending.done()
        assert pipe.bytes < 16 * 2**20
        assert sink.get_write_buffer_size() < 2**20
        assert len(await server.receive(size)) == size
        await sending

    run(loop_name, scenario)


def test_a_full_stream_in_one_direction_does_not_hinder_the_other(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await terminated(stage, certs)
        filling = asyncio.create_task(client.send(bytes(64 * 2**20)))
        assert len(await receive(server, 2**20)) == 2**20
        await send(server, b"answer")
        assert not filling.done(), "64 MB cannot be buffered"
        assert await client.receive(6) == b"answer"
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling

    run(loop_name, scenario)


async def failure(stage: Stage) -> TlsFailed:
    failed = await stage.event("tls_failed")
    assert isinstance(failed, TlsFailed)
    closed = await stage.event("connection_closed")
    assert isinstance(closed, ConnectionClosed)
    assert (closed.cause, closed.detail) == ("client", failed.reason)
    return failed


def test_a_client_that_does_not_trust_us_is_told_of(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            await connect(stage, running, ssl.create_default_context())
        failed = await failure(stage)
        assert failed.side == "client"
        assert failed.reason == "client does not trust the proxy's certificate (alert unknown ca)"
        assert running.tally.tls_handshakes["client", "failed"] == 1
        assert not [event for event in stage.events if event.kind == "dial_failed"], "the upstream was not bothered"

    run(loop_name, scenario)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "client speaks HTTP, not TLS"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "client does not speak TLS"),
    ],
)
def test_what_is_no_tls_is_turned_away(loop_name: str, certs: Certs, words: bytes, reason: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        client = await stage.connect(running)
        await send(client, words)
        assert (await failure(stage)).reason == reason
        await receive(client, 100)  # an alert and the end-of-stream

    run(loop_name, scenario)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_the_handshake_is_told_of(loop_name: str, certs: Certs, how: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        client = await stage.connect(running)
        await send(client, b"\x16\x03\x01\x02\x00")
        while not running.connections:
            await asyncio.sleep(0)
        if how == "close":
            client.close()
        else:
            close_with_reset(client)
        assert (await failure(stage)).reason.startswith("client ")
        over = await stage.event("connection_closed")
        left = [(event.how, event.held_by) for event in stage.events if isinstance(event, ClientEnded)]
        assert left == [("fin" if how == "close" else "reset", None)]
        assert isinstance(over, ConnectionClosed) and (over.first, over.cause) == ("client", "client")

    run(loop_name, scenario)


def test_a_client_that_rejects_the_certificate_has_ended_tls(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(stage, running, ssl.create_default_context())
        event = await stage.event("client_ended")
        assert isinstance(event, ClientEnded) and event.how == "tls"
        assert event.error == "client does not trust the proxy's certificate (alert unknown ca)"

    run(loop_name, scenario)


@pytest.mark.parametrize("alerts", ["15030300020100", "1503030002015a15030300020100"], ids=["alone", "user_canceled"])
def test_a_close_notify_in_the_handshake_is_an_end_of_stream(loop_name: str, certs: Certs, alerts: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        peer = Peer(await stage.connect(running), certs.client_context(), "api.test")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        assert await receive(peer.sock, 1) == b"\x16"  # the ServerHello
        await send(peer.sock, bytes.fromhex(alerts))
        assert (await failure(stage)).reason == "client closed the connection during the TLS handshake"
        ended = await stage.event("client_ended")
        closed = await stage.event("connection_closed")
        assert isinstance(ended, ClientEnded) and isinstance(closed, ConnectionClosed)
        assert (ended.how, ended.error, closed.first) == ("fin", "", "client")

    run(loop_name, scenario)


def test_a_reason_does_not_name_the_source_of_python() -> None:
    """OpenSSL gives some errors no code; Python's message then ends with the place in its own source."""
    error = ssl.SSLError(1, "A failure in the SSL library occurred (_ssl.c:1006)")
    error.reason = ""
    assert reason_of(error, "client") == "TLS with the client failed: A failure in the SSL library occurred"


def test_a_client_that_says_nothing_does_not_wait_for_ever(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen(), connect_timeout="200ms")
        client = await stage.connect(running)
        assert (await failure(stage)).reason == "no TLS handshake within 0.2 s"
        assert await receive(client, 1) == b""
        assert not any(isinstance(event, ClientEnded) for event in stage.events), "it is still there"

    run(loop_name, scenario)


def test_mutual_tls_lets_in_who_has_a_certificate(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        tls = certs.listen(client_ca=certs("ca.pem"), require_client_cert=True)
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", listen_tls=tls)
        client = await connect(stage, running, certs.client_context(cert="client.test"))
        server = await stage.accept(listener)
        await client.send(b"hello")
        assert await receive(server, 5) == b"hello"

        # With TLS 1.3 the client gets the alert after its handshake.
        stranger = await connect(stage, running, certs.client_context())
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await stranger.receive(1)
        failed = await stage.event("tls_failed")
        assert isinstance(failed, TlsFailed)
        assert failed.reason == "client sent no certificate, and one is required"

    run(loop_name, scenario)


def test_the_server_may_ask_us_for_a_certificate(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        tls = certs.upstream(cert=certs("client.test.pem"), key=certs("client.test.key"))
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", upstream_tls=tls)
        client = await stage.connect(running)
        context = certs.server_context()
        context.load_verify_locations(certs("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        server = await Peer(await stage.accept(listener), context).handshake()
        assert server.tls.getpeercert()["subjectAltName"] == (("DNS", "client.test"),)  # type: ignore[index]
        await send(client, b"hello")
        assert await server.receive(5) == b"hello"

    run(loop_name, scenario)


def test_a_server_that_misses_our_certificate_resets_the_client_and_is_told_of(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}", upstream_tls=certs.upstream()
        )
        client = await stage.connect(running)
        context = certs.server_context()
        context.load_verify_locations(certs("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        with pytest.raises(ssl.SSLError):
            await Peer(await stage.accept(listener), context).handshake()
        failed = await stage.event("tls_failed")
        assert isinstance(failed, TlsFailed)
        assert failed.side == "server"
        assert failed.reason == "server requires a client certificate (alert certificate required)"
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)

    run(loop_name, scenario)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"server_name": "other.test"}, "hostname mismatch, certificate is not valid for 'other.test'"),
        ({"ca": None}, "unable to get local issuer certificate"),
    ],
)
def test_a_server_that_is_not_the_right_one_is_not_reached(
    loop_name: str, certs: Certs, settings: dict[str, object], reason: str
) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}", upstream_tls={**certs.upstream(), **settings}
        )
        client = await stage.connect(running)
        with pytest.raises(ssl.SSLError):
            await Peer(await stage.accept(listener), certs.server_context()).handshake()
        failed = await stage.event("dial_failed")
        assert isinstance(failed, DialFailed)
        assert failed.reason == f"certificate verify failed: {reason}"
        assert running.tally.tls_handshakes["server", "failed"] == 1
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)

    run(loop_name, scenario)


def test_verify_false_takes_any_certificate(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await originated(stage, certs, upstream_tls={"verify": False, "server_name": "who.test"})
        await send(client, b"hello")
        assert await server.receive(5) == b"hello"

    run(loop_name, scenario)


def test_a_server_that_never_answers_the_hello_is_not_reached(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}", upstream_tls=certs.upstream(), connect_timeout="200ms"
        )
        client = await stage.connect(stage.supervisor.proxy("proxy"))
        server = await stage.accept(listener)
        failed = await stage.event("dial_failed")
        assert isinstance(failed, DialFailed)
        assert failed.reason == "no TLS handshake within 0.2 s"
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)
        assert server.fileno() >= 0

    run(loop_name, scenario)


def test_a_client_that_leaves_while_the_server_shakes_hands_ends_that_too(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", upstream_tls=certs.upstream())
        client = await stage.connect(running)
        server = await stage.accept(listener)
        assert await receive(server, 1) == b"\x16"
        close_with_reset(client)
        await stage.event("connection_closed")
        with pytest.raises(ConnectionResetError):
            await receive(server, 10**6)

    run(loop_name, scenario)


def test_the_protocol_that_the_client_chose_is_offered_to_the_server(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        tls = {"listen_tls": certs.listen(alpn=["h2", "http/1.1"]), "upstream_tls": certs.upstream()}
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", **tls)
        for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)):
            client = await connect(stage, running, certs.client_context(alpn=offered))
            server_context = certs.server_context(alpn=["http/1.1", "h2"])
            server = await Peer(await stage.accept(listener), server_context).handshake()
            assert (client.tls.selected_alpn_protocol(), server.tls.selected_alpn_protocol()) == (chosen, chosen)

    run(loop_name, scenario)


def test_tls_1_2_does_the_same(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", listen_tls=certs.listen())
        context = certs.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        client = await connect(stage, running, context)
        server = await stage.accept(listener)
        assert client.tls.version() == "TLSv1.2"
        await client.send(b"question")
        await client.close_notify()
        assert await receive(server, 100) == b"question"
        await send(server, b"answer")
        server.shutdown(socket.SHUT_WR)
        assert await client.receive(100) == b"answer"

    run(loop_name, scenario)


def test_faults_act_on_the_decrypted_stream(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await both(stage, certs)
        broken = fault("broken", type="corrupt", rate=1.0, unit="byte", direction="upstream")
        stage.supervisor.put_fault("proxy", broken, "test")
        await client.send(b"question")
        got = await server.receive(8)
        assert len(got) == 8 and got != b"question"
        stage.supervisor.heal("test")

        stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="150ms", direction="upstream"), "test")
        started = asyncio.get_running_loop().time()
        await client.send(b"question")
        assert await server.receive(8) == b"question"
        assert asyncio.get_running_loop().time() - started >= 0.149
        stage.supervisor.heal("test")

        await client.send(b"again")
        assert await server.receive(5) == b"again"
        stage.supervisor.put_fault("proxy", fault("cut", type="reset"), "test")
        await server.send(b"x")
        with pytest.raises(ConnectionResetError):
            await client.receive(1)
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        assert (closed.cause, closed.detail) == ("injected", "reset by fault cut")

    run(loop_name, scenario)


def test_faults_in_the_kernel_see_the_socket_under_tls(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, _ = await both(stage, certs)
        [connection] = running.connections.values()
        for transport in (connection.upstream.source, connection.downstream.source):
            assert transport is not None
            sock = tcp_socket(transport)
            assert sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert connection.downstream.sink is not None
        assert connection.downstream.sink.get_extra_info("peername") == client.sock.getsockname()
        if stage.supervisor.kernel.tcp_info.available:
            assert len(running.tcp("client")) == len(running.tcp("server")) == 1

    run(loop_name, scenario)


def test_renewed_files_are_met_by_new_clients_and_open_ones_go_on(
    loop_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "CHECK_EVERY", 0.0)

    async def scenario(stage: Stage) -> None:
        certs = Certs(tmp_path / "certs")
        running, client, server = await terminated(stage, certs)
        before = client.tls.getpeercert(True)
        Certs(tmp_path / "certs")
        another = await connect(stage, running, certs.client_context())
        assert another.tls.getpeercert(True) != before
        await client.send(b"still here")
        assert await receive(server, 10) == b"still here"

        good = another.tls.getpeercert(True)
        (tmp_path / "certs" / "api.test.key").write_text("nonsense")
        third = await connect(stage, running, certs.client_context())
        assert third.tls.getpeercert(True) == good

    run(loop_name, scenario)


def listen_tls(settings: dict[str, object]) -> ListenTls | None:
    return proxy("proxy", upstream="127.0.0.1:1", listen_tls=settings).listen_tls


def test_a_change_of_tls_is_for_new_connections_and_whole_or_not_at_all(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await terminated(stage, certs)
        wrong = replace(running.spec, listen_tls=listen_tls(certs.listen(client_ca="/nowhere")))
        with pytest.raises(InvalidInput) as caught:
            await change_proxy(stage.supervisor, wrong, "test")
        assert places(caught.value.problems) == ["listen_tls.client_ca unreadable-file"]
        assert running.spec.listen_tls is not None and running.spec.listen_tls.client_ca is None

        other = replace(running.spec, listen_tls=listen_tls(certs.listen("localhost")))
        await change_proxy(stage.supervisor, other, "test")
        await connect(stage, running, certs.client_context(), "localhost")
        await client.send(b"still here")
        assert await receive(server, 10) == b"still here"

    run(loop_name, scenario)


def test_without_tls_of_its_own_a_proxy_passes_tls_through(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        client, server = await asyncio.gather(
            connect(stage, running, certs.client_context()), _serve(stage, listener, certs)
        )
        await client.send(b"secret")
        assert await server.receive(6) == b"secret"

    run(loop_name, scenario)
