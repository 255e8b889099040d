"""Connections that are not HTTP/1, or no longer: their bytes are forwarded unchanged, as on a tcp proxy."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from chaosproxy.events import ConnectionClosed, NotFramed
from tests.net.building import fault
from tests.net.harness import Stage, run, turns, until
from tests.net.http_shapes import GET, LARGE, OK, OTHER, OTHER_ANSWER, End, request

EVERYTHING: dict[str, dict[str, object]] = {
    "abort": {"type": "http_abort", "match": {"path": "/never"}},
    "edit": {"type": "http_headers", "set": {"X-Old": "two"}},
    "edit-request": {"type": "http_headers", "on": "request", "set": {"X-Old": "two"}},
    "corrupt": {"type": "http_corrupt", "rate": "100%"},
}
NOISE = random.Random(5).randbytes(200_000)
UPGRADE = request("GET", "/chat", "Connection: keep-alive, Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Old: 1\r\n\r\n"
CONNECT = b"CONNECT x.test:443 HTTP/1.1\r\nHost: x.test:443\r\nX-Old: 1\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 Connected\r\nX-Old: 1\r\n\r\n"

faults_or_none = pytest.mark.parametrize("faults", [{}, EVERYTHING], ids=["without", "with-faults"])


async def ends(stage: Stage, faults: dict[str, dict[str, object]], **settings: object) -> tuple[End, End]:
    _, client, server = await stage.pair(protocol="http", faults=faults, **settings)
    return End(client), End(server)


async def exchange_bytes(client: End, server: End, data: bytes) -> None:
    """Send the same bytes from both sides at once, and check that they arrive unchanged."""
    there, back = len(server.raw), len(client.raw)
    sending = asyncio.create_task(client.send(data))
    await server.send(data)
    await sending
    assert await server.has(there + len(data)) and await client.has(back + len(data))
    assert server.raw[there:] == data == client.raw[back:]


@faults_or_none
@pytest.mark.parametrize(
    ("asked", "answered"), [(UPGRADE.raw, SWITCHED), (CONNECT, CONNECTED)], ids=["upgrade", "connect"]
)
def test_what_was_upgraded_is_a_stream(
    asked: bytes, answered: bytes, faults: dict[str, dict[str, object]], loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, faults)
        await client.send(GET.raw)
        assert await server.has(len(GET.raw))
        await server.send(OK.raw)
        assert await client.has(len(OK.raw))
        there, back = len(server.raw), len(client.raw)
        changed = (lambda raw: raw.replace(b"X-Old: 1", b"X-Old: two")) if faults else (lambda raw: raw)
        await client.send(asked)
        assert await server.has(there + len(changed(asked)))
        await server.send(answered + b"ahead")
        assert await client.has(back + len(changed(answered)) + 5)
        assert server.raw[there:] == changed(asked)
        assert client.raw[back:] == changed(answered) + b"ahead"
        await exchange_bytes(client, server, NOISE)
        await exchange_bytes(client, server, GET.raw)  # this is not a message any more
        put = {"type": "http_abort"}, {"type": "http_corrupt", "rate": "100%", "on": "request"}
        for number, settings in enumerate(put):
            stage.supervisor.put_fault("proxy", fault(f"f{number}", **settings), "test")
        await exchange_bytes(client, server, GET.raw + OK.raw)
        stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="50ms"), "test")
        began = time.monotonic()
        await server.send(b"late")
        size = len(client.raw)
        assert await client.has(size + 4)
        assert time.monotonic() - began >= 0.05
        stage.supervisor.put_fault("proxy", fault("slow", type="stall"), "test")
        await server.send(b"held")
        await until(lambda: stage.supervisor.proxy("proxy").registry.held("downstream") == 4)
        await turns()
        assert client.raw.endswith(b"late")
        stage.supervisor.heal("test")
        assert await client.has(size + 8)
        assert not [event for event in stage.events if isinstance(event, NotFramed)]
        assert stage.supervisor.proxy("proxy").tally.not_framed == 0
        await client.stop()
        assert await server.over() == "eof"
        await server.stop()

    run(loop_name, scenario)


@faults_or_none
def test_an_upgrade_that_is_refused_leaves_messages(faults: dict[str, dict[str, object]], loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, {"edit": EVERYTHING["edit-request"]} if faults else {})
        await client.send(UPGRADE.raw)
        assert await server.until(lambda: server.raw.endswith(b"\r\n\r\n"))
        await server.send(OTHER_ANSWER.raw)
        assert await client.has(len(OTHER_ANSWER.raw))
        asked = len(server.raw)
        await client.send(GET.raw)
        assert await server.until(lambda: server.raw.count(b"\r\n\r\n") == 2)
        assert server.raw[asked:] == (GET.raw.replace(b"X-Old: 1", b"X-Old: two") if faults else GET.raw)
        await client.stop()
        await server.over()
        await server.stop()

    run(loop_name, scenario)


H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
STRANGE = {"h2c": H2, "binary": NOISE, "tls": b"\x16\x03\x01\x02\x00\x01\x00" + NOISE[:600], "empty": b"\0" * 70_000,
           "smuggled": b"POST /hit HTTP/1.1\r\nTransfer-Encoding: chunked, x\r\n\r\nGET /hit HTTP/1.1\r\n\r\n",
           "long": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n"}  # fmt: skip

strange = pytest.mark.parametrize("data", STRANGE.values(), ids=list(STRANGE))


@faults_or_none
@strange
@pytest.mark.parametrize("first", ["client", "server"])
def test_what_is_no_http_passes_untouched(
    data: bytes, first: str, faults: dict[str, dict[str, object]], loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        settings = {"protocol": "http", "faults": {**faults, "drop": {"type": "http_drop_response"}}}
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", **settings)
        for number in range(1, 3):
            client, server = End(await stage.connect(proxy)), End(await stage.accept(listener))
            if first == "client":
                await client.send(data)
                assert await server.has(len(data))
                assert server.raw == data
            else:
                await server.send(NOISE)
                assert await client.has(len(NOISE))
                assert client.raw == NOISE
            await exchange_bytes(client, server, NOISE)
            await exchange_bytes(client, server, data)
            assert proxy.tally.not_framed == number
            await client.stop()
            assert await server.over() == "eof"
            await server.stop()
        told = [event for event in stage.events if isinstance(event, NotFramed)]
        assert len(told) == 1 and told[0].reason

    run(loop_name, scenario)


@strange
@pytest.mark.parametrize("first", ["client", "server"])
@faults_or_none
def test_a_strict_proxy_resets_what_is_no_http(
    data: bytes, first: str, faults: dict[str, dict[str, object]], loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, faults, strict=True)
        await (client.send(data) if first == "client" else server.send(NOISE))
        assert (await client.over(), await server.over()) == ("reset", "reset")
        closed = await stage.event("connection_closed")
        assert isinstance(closed, ConnectionClosed)
        assert closed.cause == "operator" and closed.detail.startswith("reset by strict: ")
        told = [event for event in stage.events if isinstance(event, NotFramed)]
        assert len(told) == 1
        passed = server.raw if first == "client" else client.raw
        assert (data if first == "client" else NOISE).startswith(passed)
        await client.stop()
        await server.stop()

    run(loop_name, scenario)


def test_a_strict_proxy_lets_upgrades_and_all_that_is_http_pass(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, {}, strict=True)
        post = request("POST", "/hit", body=LARGE)
        await client.send(OTHER.raw + post.raw)
        assert await server.has(len(OTHER.raw + post.raw))
        await server.send(OTHER_ANSWER.raw + OK.raw)
        assert await client.has(len(OTHER_ANSWER.raw + OK.raw))
        await client.send(UPGRADE.raw)
        assert await server.until(lambda: server.raw.endswith(UPGRADE.raw))
        await server.send(SWITCHED)
        assert await client.until(lambda: client.raw.endswith(SWITCHED))
        await exchange_bytes(client, server, NOISE)
        await client.stop()
        await server.over()
        await server.stop()

    run(loop_name, scenario)
