"""Message faults that are added, changed and removed during messages, alone and together with others."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time

import pytest

from tests.net.building import fault
from tests.net.harness import Stage, run, until
from tests.net.http_shapes import (
    GET,
    LARGE,
    OK,
    OTHER,
    OTHER_ANSWER,
    End,
    Server,
    Shape,
    answer,
    chunked,
    request,
    settled,
)  # fmt: skip

PLAIN = Shape("plain", GET, OK)
POST_LARGE = request("POST", "/hit", body=LARGE)


async def ends(stage: Stage, **faults: dict[str, object]) -> tuple[End, End]:
    _, client, server = await stage.pair(protocol="http", faults=faults, routes=["/hit", "/other"])
    return End(client), End(server)


def put(stage: Stage, name: str, **settings: object) -> None:
    stage.supervisor.put_fault("proxy", fault(name, **settings), "test")


async def over(*ends: End) -> None:
    for end in ends:
        await end.stop()


async def is_still(stage: Stage, end: End, client: End, server: End) -> bool:
    """Return whether this peer receives nothing more after the proxy has read all bytes sent so far."""
    size = len(end.raw)
    [connection] = stage.supervisor.proxy("proxy").connections.values()
    await settled(connection, client, server)
    return len(end.raw) == size and not end.end


@pytest.mark.parametrize("cut", [1, len(GET.head) // 2, len(GET.head) - 1, len(GET.head) - 3])
def test_a_head_that_has_partly_gone_on_is_left_alone_and_the_next_is_not(cut: int, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage)
        await client.send(GET.raw[:cut])
        assert await server.has(cut)
        put(stage, "abort", type="http_abort")
        put(stage, "edit", type="http_headers", on="request", set={"X-Old": "changed"})
        await client.send(GET.raw[cut:])
        assert await server.has(len(GET.raw))
        await server.send(OK.raw)
        assert await client.has(len(OK.raw))
        assert (client.raw, server.raw) == (OK.raw, GET.raw)
        await client.send(GET.raw)
        assert await client.until(lambda: b" 503 " in client.raw)
        assert await is_still(stage, server, client, server) and server.raw == GET.raw
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize("kind", ["http_abort", "http_drop_request", "http_corrupt", "http_truncate", "http_delay"])
def test_a_fault_that_comes_in_the_middle_of_a_body_leaves_that_message_alone(kind: str, loop_name: str) -> None:
    more = {
        "http_corrupt": {"on": "request", "rate": "100%"}, "http_truncate": {"direction": "upstream", "size": "1B"},
        "http_delay": {"delay": "1h"},
    }.get(kind, {})  # fmt: skip

    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage)
        await client.send(POST_LARGE.raw[:100_000])
        assert await server.has(100_000)
        put(stage, "it", type=kind, **more)
        await client.send(POST_LARGE.raw[100_000:])
        assert await server.has(len(POST_LARGE.raw))
        await server.send(OK.raw)
        assert await client.has(len(OK.raw))
        assert (server.raw, client.raw) == (POST_LARGE.raw, OK.raw)
        assert stage.supervisor.proxy("proxy").fault_tallies()["it"].messages == 0
        await client.send(POST_LARGE.raw[:200])
        await until(lambda: stage.supervisor.proxy("proxy").fault_tallies()["it"].messages == 1)
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize("on", ["request", "response", "body"])
@pytest.mark.parametrize("then", ["removed", "changed", "other type"])
def test_what_a_delay_holds_comes_at_once_when_it_goes_and_later_when_it_changes(
    on: str, then: str, loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        client, s = await ends(stage, slow={"type": "http_delay", "delay": "1h", "on": on, "match": {"path": "/hit"}})
        await s.stop_reading()
        server = Server(s.sock, PLAIN)
        await client.send(GET.raw + OTHER.raw)
        assert await is_still(stage, client, client, server) or on == "body"
        if then == "changed":
            put(stage, "slow", type="http_delay", delay="80ms", on=on, match={"path": "/hit"})
        elif then == "removed":
            stage.supervisor.heal("test")
        else:
            put(stage, "slow", type="http_truncate", size="1MB", match={"path": "/hit"})
        assert await client.has(len(OK.raw + OTHER_ANSWER.raw))
        assert client.raw == OK.raw + OTHER_ANSWER.raw
        assert server.raw == GET.raw + OTHER.raw
        await client.send(OTHER.raw)
        assert await client.until(lambda: client.raw.endswith(OTHER_ANSWER.raw * 2))
        await over(client, server)

    run(loop_name, scenario)


def test_a_change_counts_from_when_the_message_came(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, slow={"type": "http_delay", "delay": "1h"})
        began = time.monotonic()
        await client.send(GET.raw)
        assert await is_still(stage, server, client, server)
        put(stage, "slow", type="http_delay", delay="150ms")
        assert await server.has(len(GET.raw))
        assert time.monotonic() - began >= 0.15
        await over(client, server)

    run(loop_name, scenario)


ON_BODIES = (
    {"type": "http_delay", "delay": "200ms", "on": "body"},
    {"type": "http_delay", "delay": "10s", "on": "body"},
    {"type": "http_delay", "delay": "10s", "on": "response"},
    {"type": "http_slow_body", "rate": "100kB/s"},
    {"type": "http_slow_body", "rate": "1MB/s"},
    {"type": "http_truncate", "size": "1MB"},
    {"type": "http_truncate", "share": "100%"},
    {"type": "http_reset", "size": "1MB"},
    {"type": "http_headers", "remove": ["x-none"]},
    {"type": "latency", "delay": "1ms"},
)
LONG = answer("200 OK", body=LARGE[:50_000])
LONG_CHUNKED = chunked(answer("200 OK", body=None), *(LARGE[:5_000] for _ in range(10)))


def test_any_change_in_the_middle_of_a_body_loses_nothing(loop_name: str) -> None:
    """Replace each lossless fault with each other one while half of the response has arrived."""

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", protocol="http")
        for before, after in itertools.permutations(ON_BODIES, 2):
            for long in (LONG, LONG_CHUNKED):
                what = f"{before}, then {after}"
                put(stage, "it", **before)
                client, server = End(await stage.connect(proxy)), End(await stage.accept(listener))
                await client.send(GET.raw)
                assert await server.has(len(GET.raw)), what
                await server.send(long.raw[:25_000])
                await asyncio.sleep(0.001)
                put(stage, "it", **after)
                await server.send(long.raw[25_000:])
                await asyncio.sleep(0.001)
                stage.supervisor.heal("test")
                assert await client.has(len(long.raw)), what
                assert client.raw == long.raw, what
                await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize("heals", [False, True], ids=["placed", "healed"])
@pytest.mark.parametrize("form", ["sized", "chunked"])
def test_the_rest_of_an_aborted_request_never_reaches_the_server(heals: bool, form: str, loop_name: str) -> None:
    asked = POST_LARGE if form == "sized" else chunked(request("POST", "/hit"), *(LARGE[:65536] for _ in range(10)))

    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, it={"type": "http_abort", "match": {"path": "/hit"}})
        await client.send(asked.raw[:100_000])
        assert await client.until(lambda: client.raw.endswith(b"\r\n\r\n"))
        if heals:
            stage.supervisor.heal("test")
        first = len(client.raw)
        await client.send(asked.raw[100_000:])
        await client.send(OTHER.raw)
        assert await server.has(len(OTHER.raw))
        await server.send(OTHER_ANSWER.raw)
        assert await client.has(first + len(OTHER_ANSWER.raw))
        assert server.raw == OTHER.raw
        assert client.raw[first:] == OTHER_ANSWER.raw
        await over(client, server)

    run(loop_name, scenario)


def test_an_abort_that_closes_lets_the_client_end_its_request_first(loop_name: str) -> None:
    """If the proxy closed earlier, the kernel would respond to the rest with a RST, and the client lose it."""
    asked = request("POST", "/hit", "Connection: close", body=LARGE)

    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, it={"type": "http_abort", "body": "injected"})
        await client.send(asked.raw[:1000])
        assert await client.until(lambda: client.raw.endswith(b"injected"))
        assert await is_still(stage, client, client, server)
        await client.send(asked.raw[1000:])
        assert await client.over() == "eof"
        assert b"\r\nConnection: close\r\n" in client.raw
        assert await server.over() == "eof" and server.raw == b""
        closed = await stage.event("connection_closed")
        assert "closed by fault it" in str(closed)
        await over(client, server)

    run(loop_name, scenario)


def test_an_abort_waits_for_its_turn_and_survives_its_fault(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, it={"type": "http_abort", "match": {"path": "/hit"}})
        await client.send(OTHER.raw + GET.raw + OTHER.raw)
        assert await server.has(2 * len(OTHER.raw))
        assert await is_still(stage, client, client, server) and client.raw == b""
        stage.supervisor.heal("test")
        await server.send(OTHER_ANSWER.raw[:20])
        assert await is_still(stage, server, client, server)
        await server.send(OTHER_ANSWER.raw[20:] + OTHER_ANSWER.raw)
        assert await client.until(lambda: client.raw.count(OTHER_ANSWER.raw) == 2)
        assert client.raw.startswith(OTHER_ANSWER.raw + b"HTTP/1.1 503 ")
        assert client.raw.endswith(b"Content-Length: 0\r\n\r\n" + OTHER_ANSWER.raw)
        assert server.raw == OTHER.raw * 2
        await over(client, server)

    run(loop_name, scenario)


BESIDE = {
    "latency": {"type": "latency", "delay": "20ms", "direction": "both"},
    "bandwidth": {"type": "bandwidth", "rate": "2MB/s", "direction": "both", "mode": "stream"},
    "slicer": {"type": "slicer", "size": "7000B", "variation": "500B", "direction": "both"},
}
TREATING = {
    "late": {"type": "http_delay", "delay": "30ms", "on": "response"},
    "edit": {"type": "http_headers", "set": {"X-Old": "changed"}},
    "abort": {"type": "http_abort", "status": 429, "match": {"path": "/other"}},
}


@pytest.mark.parametrize("order", [0, 1, 2, 3], ids=["message-first", "stream-first", "mixed", "on-the-fly"])
def test_beside_faults_on_the_stream_in_any_order(order: int, loop_name: str) -> None:
    mixed = dict(pair for both in zip(BESIDE.items(), TREATING.items(), strict=True) for pair in both)
    faults = [{**TREATING, **BESIDE}, {**BESIDE, **TREATING}, mixed, {}][order]
    long = answer("200 OK", body=LARGE[:100_000])

    async def scenario(stage: Stage) -> None:
        client, s = await ends(stage, **faults)
        await s.stop_reading()
        server = Server(s.sock, Shape("long", GET, long))
        if not faults:
            for name, settings in mixed.items():
                put(stage, name, **settings)
        began = time.monotonic()
        await client.send(GET.raw + OTHER.raw + GET.raw)
        expected = long.raw.replace(b"x-old: 1", b"x-old: changed")
        assert await client.until(lambda: client.raw.count(LARGE[:100_000]) == 2)
        assert time.monotonic() - began >= 0.02 + 0.03 + 0.02 + 0.1  # latency twice, delay, 200 kB at 2 MB/s
        middle = client.raw[len(expected) : -len(expected)]
        assert client.raw == expected + middle + expected
        assert middle.startswith(b"HTTP/1.1 429 ") and middle.endswith(b"Content-Length: 0\r\n\r\n")
        assert server.raw == GET.raw * 2
        stage.supervisor.heal("test")
        await client.send(OTHER.raw)
        assert await client.until(lambda: client.raw.endswith(OTHER_ANSWER.raw))
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.slow
def test_meddling_with_every_fault_during_many_exchanges_keeps_them_whole(loop_name: str) -> None:
    """Add and remove lossless faults a thousand times during a hundred exchanges."""
    long = answer("200 OK", body=LARGE[:20_000])

    async def scenario(stage: Stage) -> None:
        client, s = await ends(stage)
        await s.stop_reading()
        server = Server(s.sock, Shape("long", GET, long))

        async def meddle() -> None:
            for number in itertools.count():
                settings = [*ON_BODIES, *BESIDE.values()][number * 7 % (len(ON_BODIES) + len(BESIDE))]
                put(stage, f"f{number % 3}", **settings)
                await asyncio.sleep(0.0005)
                if number % 5 == 4:
                    stage.supervisor.heal("test")
                    await asyncio.sleep(0)

        meddling = asyncio.create_task(meddle())
        for number in range(30):
            await client.send(GET.raw * 3)
            assert await client.has((number + 1) * 3 * len(long.raw))
        meddling.cancel()
        assert client.raw == long.raw * 90
        assert server.raw == GET.raw * 90
        await over(client, server)

    run(loop_name, scenario)


def test_copies_beyond_the_limit_are_not_sent_and_that_is_told_once(
    loop_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chaosproxy.net.http.copies._MOST", 1)

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        twice = {"type": "http_duplicate", "copies": 3}
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        proxy = await stage.proxy_to(upstream, protocol="http", faults={"twice": twice})
        client, server = End(await stage.connect(proxy)), End(await stage.accept(listener))
        await client.send(GET.raw)
        copy = End(await stage.accept(listener))
        assert await copy.has(len(GET.raw)) and await server.has(len(GET.raw))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        await copy.send(OK.raw)
        assert await copy.over() == "eof"
        await copy.stop()
        await over(client, server)

    with caplog.at_level(logging.WARNING, "chaosproxy.net.http.copies"):
        run(loop_name, scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "proxy: further copies of requests are not sent for now: 1 are under way"
    ]
