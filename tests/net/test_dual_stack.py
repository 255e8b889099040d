"""`[::]` takes clients of IPv4 too, and shows them as such; `ipv6only` leaves them out."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace

import pytest

from chaosproxy.errors import CannotListen
from chaosproxy.events import ConnectionAttempt, ConnectionClosed, ConnectionOpened
from chaosproxy.model import Address
from chaosproxy.net.proxy import Proxy
from tests.net.building import fault
from tests.net.harness import Stage, receive, run, send
from tests.supervising import change_proxy

LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
NOBODY = "127.0.0.1:1"


async def connect(stage: Stage, running: Proxy, version: int) -> socket.socket:
    sock = stage.keep(socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET))
    await asyncio.get_running_loop().sock_connect(sock, (LOOPBACKS[version], running.listening_on[0].port))
    return sock


async def reached_by(stage: Stage, running: Proxy) -> list[int]:
    """Return the versions of IP over which the proxy accepts clients."""
    found = []
    for version in LOOPBACKS:
        try:
            await connect(stage, running, version)
        except ConnectionRefusedError:
            continue
        found.append(version)
    return found


@pytest.mark.parametrize(
    ("listen", "alone", "versions"),
    [
        ("[::]:0", False, [4, 6]),
        ("[0:0::0]:0", False, [4, 6]),
        ("[::]:0", True, [6]),
        ("0.0.0.0:0", False, [4]),
        ("[::1]:0", False, [6]),
        ("[::ffff:127.0.0.1]:0", False, [4]),
    ],
)
def test_an_address_accepts_clients_of_its_families(
    loop_name: str, listen: str, alone: bool, versions: list[int]
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen=listen, ipv6only=alone)
        port = running.listening_on[0].port
        assert await reached_by(stage, running) == versions
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        assert await reached_by(stage, running) == []
        stage.supervisor.heal("test")
        assert running.listening_on[0].port == port
        assert await reached_by(stage, running) == versions, "it is bound again as it was"
        await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
        await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
        assert await reached_by(stage, running) == versions

    run(loop_name, scenario)


def test_both_families_are_forwarded_and_clients_of_ipv4_are_shown_as_such(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        upstream = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{upstream.getsockname()[1]}", listen="[::]:0")
        for version in LOOPBACKS:
            client = await connect(stage, running, version)
            server = await stage.accept(upstream)
            await send(client, b"hello")
            assert await receive(server, 5) == b"hello"
            [connection] = running.connections.values()
            host, port = client.getsockname()[:2]
            opened = [one.client for one in stage.events if isinstance(one, ConnectionOpened)]
            assert connection.client_address == opened[-1] == str(Address(host, port))
            assert connection.client_key == (host, port), "packets of the client are recognised by it"
            client.close()
            server.close()
            await stage.until_event_makes(lambda: not running.connections)
        shown = [one.client.rpartition(":")[0] for one in stage.events if isinstance(one, ConnectionClosed)]
        assert shown == ["127.0.0.1", "[::1]"]

    run(loop_name, scenario)


def test_a_refused_client_of_ipv4_is_shown_as_such(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        half = {"half": {"type": "refuse", "count": 5}}
        running = await stage.proxy_to(NOBODY, listen="[::]:0", faults=half)
        client = stage.keep(socket.socket())
        client.connect_ex(("127.0.0.1", running.listening_on[0].port))
        attempt = await stage.event("connection_attempt")
        assert isinstance(attempt, ConnectionAttempt)
        assert attempt.client == str(Address(*client.getsockname()))

    run(loop_name, scenario)


def test_a_fault_matches_a_client_of_ipv4(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        upstream = stage.listener()
        abort = {"no": {"type": "http_abort", "status": 503, "match": {"client": "127.0.0.0/8"}}}
        where = f"127.0.0.1:{upstream.getsockname()[1]}"
        running = await stage.proxy_to(where, listen="[::]:0", protocol="http", faults=abort)
        client = await connect(stage, running, 4)
        await send(client, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        assert (await receive(client, 12)).endswith(b"503")

    run(loop_name, scenario)


@pytest.mark.parametrize("mode", ["stream", "packet"])
@pytest.mark.namespace
def test_silence_and_its_attempts_are_those_of_both_families(loop_name: str, mode: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen="[::]:0")
        port = running.listening_on[0].port
        stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode=mode), "test")
        for count, version in enumerate(LOOPBACKS, 1):
            client = stage.keep(socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET))
            assert client.connect_ex((LOOPBACKS[version], port)) == errno.EINPROGRESS
            await stage.until_event_makes(lambda count=count: running.tally.attempts["unanswered"] == count)
        attempts = [one.client.rpartition(":")[0] for one in stage.events if isinstance(one, ConnectionAttempt)]
        assert attempts == ["127.0.0.1", "[::1]"]

    run(loop_name, scenario)


def test_ipv6only_can_be_changed_and_keeps_the_port(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen="[::]:0")
        port = running.listening_on[0].port
        for alone, versions in ((True, [6]), (False, [4, 6])):
            await change_proxy(stage.supervisor, replace(running.spec, ipv6only=alone), "test")
            assert running.listening_on == [Address("::", port)]
            assert await reached_by(stage, running) == versions
        await change_proxy(stage.supervisor, replace(running.spec, ipv6only=True), "test")
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # there are connections that have ended
            other.bind(("0.0.0.0", port))
            other.listen()
            with pytest.raises(CannotListen, match="Address already in use"):
                await change_proxy(stage.supervisor, replace(running.spec, ipv6only=False), "test")
        assert running.spec.ipv6only
        assert running.listening_on == [Address("::", port)]
        assert await reached_by(stage, running) == [6], "it listens as before"
        assert not [one for one in stage.events if one.kind == "listen_failed"]

    run(loop_name, scenario)


@pytest.mark.parametrize(("alone", "hosts"), [(False, ["127.0.0.1", "::1"]), (True, ["::1"])])
def test_a_name_is_listened_on_in_both_families(monkeypatch: pytest.MonkeyPatch, alone: bool, hosts: list[str]) -> None:
    resolve = socket.getaddrinfo

    def localhost(host: str, port: int, **settings: int) -> object:
        """Resolve localhost to both loopbacks, as on most machines."""
        if host != "localhost":
            return resolve(host, port, **settings)
        found = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
        return [(family, socket.SOCK_STREAM, 6, "", where) for family, where in found]

    monkeypatch.setattr(socket, "getaddrinfo", localhost)

    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen="localhost:0", ipv6only=alone)
        assert [one.host for one in running.listening_on] == hosts
        assert len({one.port for one in running.listening_on}) == 1
        before = running.listening_on
        await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
        await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
        assert running.listening_on == before

    run("asyncio", scenario)  # uvloop resolves without Python


@pytest.mark.parametrize("enabled", [True, False])
def test_a_proxy_can_move_to_an_address_that_overlaps_its_own(loop_name: str, enabled: bool) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, enabled=enabled)
        assert running.listener is not None
        port = running.listener.addresses[0].port
        for host, versions in (("0.0.0.0", [4]), ("::", [4, 6]), ("127.0.0.1", [4])):
            wanted = replace(running.spec, listen=Address(host, port), enabled=enabled)
            await change_proxy(stage.supervisor, wanted, "test")
            await change_proxy(stage.supervisor, replace(wanted, enabled=True), "test")
            assert await reached_by(stage, running) == versions
            await change_proxy(stage.supervisor, wanted, "test")

    run(loop_name, scenario)
