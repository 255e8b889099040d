"""Handshakes that a fault makes fail, against a client that checks the certificate; and recovery after the fault."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from pathlib import Path

import pytest

from chaosproxy.errors import InvalidInput, Unsupported
from chaosproxy.events import ClientEnded, ConnectionClosed, TlsFailed
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.tls import contexts
from chaosproxy.net.tls.peek import Peek
from tests.net.building import fault
from tests.net.harness import Stage, close_with_reset, is_empty, receive, run, send, turns, until
from tests.net.tls_peers import Certs, Peer, connect
from tests.refused import places


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


async def wrong(stage: Stage, certs: Certs, how: str, **placement: object) -> Proxy:
    listener = stage.listener()
    faults = {"wrong": {"type": "tls_handshake", "how": how, **placement}}
    upstream = f"127.0.0.1:{listener.getsockname()[1]}"
    return await stage.proxy_to(upstream, listen_tls=certs.listen(), faults=faults)


async def closed(stage: Stage) -> tuple[str, str]:
    event = await stage.event("connection_closed")
    assert isinstance(event, ConnectionClosed)
    return event.cause, event.detail


@pytest.mark.parametrize(
    ("how", "code", "what"),
    [
        ("expired_cert", 10, "certificate has expired"),
        ("wrong_host", 62, "Hostname mismatch, certificate is not valid for 'api.test'"),
        ("unknown_ca", 20, "unable to get local issuer certificate"),
    ],
)
def test_a_client_that_checks_finds_this_one_thing_wrong(
    loop_name: str, certs: Certs, how: str, code: int, what: str
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, how)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await connect(stage, running, certs.client_context())
        assert caught.value.verify_code == code
        assert caught.value.verify_message.rstrip(".") == what
        told = await stage.event("tls_failed")
        assert isinstance(told, TlsFailed)
        assert (told.side, told.fault) == ("client", "wrong")
        assert await closed(stage) == ("injected", f"{told.reason} (fault wrong)")
        assert running.fault_tallies()["wrong"].connections == 1

    run(loop_name, scenario)


@pytest.mark.parametrize("how", ["expired_cert", "wrong_host", "unknown_ca"])
def test_all_else_is_right_with_the_certificate(loop_name: str, certs: Certs, how: str) -> None:
    """A client that skips the one check that fails is served: everything else in the certificate is correct."""

    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, how)
        context = certs.client_context()
        if how == "wrong_host":
            context.check_hostname = False
        elif how == "expired_cert":
            context.verify_flags |= ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME
        else:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = await connect(stage, running, context)
        if how == "unknown_ca":
            assert b"api.test" in (client.tls.getpeercert(True) or b"")
        await stage.event("connection_opened")

    run(loop_name, scenario)


def test_old_version_is_turned_down_by_a_client_of_today(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "old_version")
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await connect(stage, running, certs.client_context())
        assert await closed(stage) == ("injected", "client offers no TLS version that the proxy allows (fault wrong)")

        old = certs.client_context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
        old.set_ciphers("ALL:@SECLEVEL=0")
        client = await connect(stage, running, old)
        assert client.tls.version() == "TLSv1.1"

    run(loop_name, scenario)


def test_stall_never_answers_until_it_is_healed(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "stall")
        peer = Peer(await stage.connect(running), certs.client_context(), "api.test")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        await until(lambda: bool(running.fault_tallies()["wrong"].chunks))
        await turns()
        assert is_empty(peer.sock)
        assert running.fault_tallies()["wrong"].chunks == 1
        stage.supervisor.heal("test")
        await peer.handshake()
        await stage.event("connection_opened")

    run(loop_name, scenario)


def test_a_stalled_client_may_leave(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "stall")
        client = await stage.connect(running)
        while not running.connections:
            await asyncio.sleep(0)
        client.close()
        assert (await closed(stage))[0] == "injected"

    run(loop_name, scenario)


def test_a_stalled_client_may_leave_in_the_turn_in_which_it_is_healed(
    loop_name: str, certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end-of-stream is reported once, to the protocol of that time: the handshake must not wait for another."""

    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "stall")
        hear = Peek.eof_received

        def hear_and_heal(peek: Peek) -> bool:
            stage.supervisor.heal("test")
            return hear(peek)

        monkeypatch.setattr(Peek, "eof_received", hear_and_heal)
        client = await stage.connect(running)
        while not running.connections:
            await asyncio.sleep(0)
        client.shutdown(socket.SHUT_WR)
        assert await closed(stage) == ("client", "client closed the connection during the TLS handshake")

    run(loop_name, scenario)


NOT_TLS = {
    "http": (b"GET / HTTP/1.1\r\n\r\n", "", "client speaks HTTP, not TLS"),
    "silence": (b"", "", "no TLS handshake within 0.2 s"),
    "half a hello": (b"\x16\x03\x01\x02\x00\x01", "", "no TLS handshake within 0.2 s"),
    "fin": (b"", "fin", "client closed the connection during the TLS handshake"),
    "reset": (b"", "reset", "client reset the connection during the TLS handshake"),
    "half a hello, fin": (b"\x16\x03\x01", "fin", "client closed the connection during the TLS handshake"),
}
"""Clients that send no complete ClientHello: the bytes, the end, and the reason of the failed handshake."""


@pytest.mark.parametrize("client_does", NOT_TLS)
@pytest.mark.parametrize("how", [None, "wrong_host", "old_version", "reset"])
def test_a_handshake_without_a_hello_fails_as_it_does_without_the_fault(
    loop_name: str, certs: Certs, how: str | None, client_does: str
) -> None:
    data, end, reason = NOT_TLS[client_does]

    async def scenario(stage: Stage) -> None:
        faults = {} if how is None else {"wrong": {"type": "tls_handshake", "how": how}}
        running = await stage.proxy_to(
            "127.0.0.1:1", listen_tls=certs.listen(), faults=faults, connect_timeout="200ms" if not end else "1h"
        )
        client = await stage.connect(running)
        await send(client, data)
        await until(lambda: bool(running.connections))
        if end == "fin":
            client.shutdown(socket.SHUT_WR)
        elif end:
            close_with_reset(client)
        assert await closed(stage) == ("client", reason)
        failed = await stage.event("tls_failed")
        assert isinstance(failed, TlsFailed)
        assert (failed.reason, failed.fault) == (reason, "")
        assert running.tally.closed == {"client": 1}
        assert how is None or running.fault_tallies()["wrong"].chunks == 0
        assert [event.how for event in stage.events if isinstance(event, ClientEnded)] == ([end] if end else [])

    run(loop_name, scenario)


def test_a_fault_that_is_healed_before_the_hello_does_not_act(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "reset")
        client = await stage.connect(running)
        await until(lambda: bool(running.connections))
        stage.supervisor.heal("test")
        await Peer(client, certs.client_context(), "api.test").handshake()
        await stage.event("connection_opened")

    run(loop_name, scenario)


def test_a_stall_that_begins_before_the_hello_stalls(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "reset")
        client = await stage.connect(running)
        await until(lambda: bool(running.connections))
        await turns()
        stage.supervisor.put_fault("proxy", fault("wrong", type="tls_handshake", how="stall"), "test")
        peer = Peer(client, certs.client_context(), "api.test")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        await until(lambda: running.fault_tallies()["wrong"].chunks == 1)
        stage.supervisor.heal("test")
        await peer.handshake()

    run(loop_name, scenario)


def test_reset_comes_after_the_hello(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "reset")
        client = await stage.connect(running)
        await until(lambda: bool(running.connections))
        await turns()
        assert is_empty(client), "not before the hello"
        with pytest.raises(ConnectionResetError):
            await Peer(client, certs.client_context(), "api.test").handshake()
        assert await closed(stage) == ("injected", "reset by fault wrong during the TLS handshake")

    run(loop_name, scenario)


def test_a_handshake_that_slow_accept_delays_continues_when_that_is_healed(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}",
            listen_tls=certs.listen(),
            faults={"late": {"type": "slow_accept", "delay": "1h"}},
        )
        peer = Peer(await stage.connect(running), certs.client_context(), "api.test")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        await until(lambda: any(one.delayed_by == "late" for one in running.connections.values()))
        await turns()
        assert is_empty(peer.sock)
        stage.supervisor.heal("test")
        await peer.handshake()
        await stage.event("connection_opened")

    run(loop_name, scenario)


def test_a_placement_leaves_some_clients_alone(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        running = await wrong(stage, certs, "unknown_ca", skip=1, count=1)
        await connect(stage, running, certs.client_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(stage, running, certs.client_context())
        await connect(stage, running, certs.client_context())

    run(loop_name, scenario)


def test_it_can_be_for_one_server_name(loop_name: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        certs = Certs(tmp_path, ["*.api.test"])
        listener = stage.listener()
        faults = {"wrong": {"type": "tls_handshake", "how": "unknown_ca", "match": {"sni": "a.*"}}}
        running = await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}", listen_tls=certs.listen("_wildcard.api.test"), faults=faults
        )
        await connect(stage, running, certs.client_context(), "b.api.test")
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(stage, running, certs.client_context(), "a.api.test")

    run(loop_name, scenario)


def test_it_needs_tls_with_clients(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.proxy_to("127.0.0.1:1")
        with pytest.raises(InvalidInput) as caught:
            stage.supervisor.add_fault("proxy", fault("wrong", type="tls_handshake", how="stall"), "test")
        assert places(caught.value.problems) == ["type not-applicable"]
        assert stage.supervisor.proxy("proxy").spec.faults == ()
        with pytest.raises(InvalidInput) as caught:
            await stage.proxy_to("127.0.0.1:1", faults={"wrong": {"type": "tls_handshake", "how": "stall"}})
        assert places(caught.value.problems) == ["faults.wrong.type not-applicable"]

    run(loop_name, scenario)


@pytest.mark.parametrize("missing", ["ca.key", "ca.pem"])
def test_without_the_key_of_the_ca_it_says_what_to_do(loop_name: str, tmp_path: Path, missing: str) -> None:
    async def scenario(stage: Stage) -> None:
        certs = Certs(tmp_path)
        (tmp_path / missing).unlink()
        await stage.proxy_to("127.0.0.1:1", listen_tls=certs.listen())
        for how in ("expired_cert", "wrong_host"):
            with pytest.raises(Unsupported, match=missing) as caught:
                stage.supervisor.add_fault("proxy", fault("wrong", type="tls_handshake", how=how), "test")
            assert places(caught.value.problems) == ["how unsupported"]
        assert stage.supervisor.proxy("proxy").spec.faults == ()
        stage.supervisor.add_fault("proxy", fault("wrong", type="tls_handshake", how="unknown_ca"), "test")

    run(loop_name, scenario)


def test_another_ca_beside_the_certificate_will_not_do(loop_name: str, certs: Certs, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        Certs(tmp_path)
        for file in ("api.test.pem", "api.test.key"):
            (tmp_path / file).write_bytes(Path(certs(file)).read_bytes())
        listen = {"cert": str(tmp_path / "api.test.pem"), "key": str(tmp_path / "api.test.key")}
        await stage.proxy_to("127.0.0.1:1", listen_tls=listen)
        with pytest.raises(Unsupported) as caught:
            stage.supervisor.add_fault("proxy", fault("wrong", type="tls_handshake", how="wrong_host"), "test")
        assert places(caught.value.problems) == ["how unsupported"]

    run(loop_name, scenario)


def test_a_fault_is_made_anew_from_renewed_files(
    loop_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contexts, "CHECK_EVERY", 0.0)

    async def scenario(stage: Stage) -> None:
        certs = Certs(tmp_path)
        running = await wrong(stage, certs, "wrong_host")
        for file in ("ca.pem", "ca.key"):
            (tmp_path / file).unlink()
        Certs(tmp_path)  # another CA, and certificates of it

        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await connect(stage, running, certs.client_context())

    run(loop_name, scenario)


def test_open_connections_are_left_alone(loop_name: str, certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", listen_tls=certs.listen())
        client = await connect(stage, running, certs.client_context())
        server = await stage.accept(listener)
        stage.supervisor.add_fault("proxy", fault("wrong", type="tls_handshake", how="reset"), "test")
        await client.send(b"still here")
        assert await receive(server, 10) == b"still here"

    run(loop_name, scenario)
