"""Faults that requests ask for, response headers that announce faults, and limits."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from chaosproxy.http.caller import CallerFaults
from chaosproxy.net.proxy import Proxy
from tests.net.building import fault
from tests.net.harness import Stage, can_send, receive, run, send, taken, turns, until
from tests.net.http_shapes import GET, LARGE, OK, OTHER, OTHER_ANSWER, End, Server, Shape, answer, request
from tests.supervising import change_proxy

PLAIN = Shape("plain", GET, OK)


async def served(stage: Stage, shape: Shape = PLAIN, **settings: object) -> tuple[Proxy, End, Server]:
    proxy, client, server = await stage.pair(protocol="http", **settings)
    return proxy, End(client), Server(server, shape)


async def over(*ends: End) -> None:
    for end in ends:
        await end.stop()


ASKS_DELAY = request("GET", "/hit", "X-Chaosproxy-Delay: 80ms")
ASKS_ABORT = request("GET", "/hit", "x-chaosproxy-abort: 418")
ON = {"headers": True}


@pytest.mark.parametrize("faults", [{}, {"edit": {"type": "http_headers", "add": {"X": "1"}}}], ids=["alone", "beside"])
def test_a_request_may_ask_to_be_delayed_or_aborted(faults: dict[str, object], loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await served(stage, caller_faults=ON, faults=faults)
        ok = OK.raw.replace(b"\r\n\r\n", b"\r\nX: 1\r\n\r\n", 1) if faults else OK.raw
        began = time.monotonic()
        await client.send(ASKS_DELAY.raw)
        assert await client.has(len(ok))
        assert time.monotonic() - began >= 0.08
        assert (client.raw, server.raw) == (ok, GET.raw)
        await client.send(ASKS_ABORT.raw)
        assert await client.until(lambda: b" 418 " in client.raw[len(ok) :])
        assert server.raw == GET.raw
        assert proxy.fault_tallies()["caller"].messages == 2
        size = len(client.raw)
        await client.send(GET.raw)
        assert await client.has(size + len(ok))
        assert client.raw[size:] == ok
        assert proxy.fault_tallies()["caller"].messages == 2
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize(
    ("asked", "settings", "longest"),
    [
        ("x-chaosproxy-delay: 1h", {"max_delay": "60ms"}, 0.06),
        ("X-CHAOSPROXY-DELAY: soon", {}, 0.0),
        ("x-chaosproxy-delay: 100", {}, 0.0),
        ("x-chaosproxy-delay: 60ms", {"allow": ["http_abort"]}, 0.0),
        ("x-chaosproxy-abort: 999", {}, 0.0),
        ("x-chaosproxy-abort: 503", {"allow": ["http_delay"]}, 0.0),
        ("x-chaosproxy-abort: ", {}, 0.0),
    ],
)
def test_what_it_may_not_have_or_nobody_can_read_is_taken_away(
    asked: str, settings: dict[str, object], longest: float, loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await served(stage, caller_faults={**ON, **settings})
        await client.send(request("GET", "/hit", asked).raw)
        assert await client.has(len(OK.raw))
        assert proxy.fault_tallies()["caller"].delay.sum == pytest.approx(longest)
        assert (client.raw, server.raw) == (OK.raw, GET.raw)
        await over(client, server)

    run(loop_name, scenario)


def test_nobody_may_ask_unless_it_is_allowed(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await served(stage)
        for raw in (ASKS_DELAY.raw, ASKS_ABORT.raw):
            size = len(client.raw)
            await client.send(raw)
            assert await client.has(size + len(OK.raw))
        assert client.raw == OK.raw * 2
        assert server.raw == ASKS_DELAY.raw + ASKS_ABORT.raw
        assert "caller" not in proxy.fault_tallies()
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_delayed_abort_waits_and_keeps_its_turn_even_while_faults_change(forbidden: bool, loop_name: str) -> None:
    asked = request("GET", "/hit", "x-chaosproxy-delay: 150ms", "x-chaosproxy-abort: 418")

    async def scenario(stage: Stage) -> None:
        proxy, client, server = await served(stage, caller_faults=ON)
        began = time.monotonic()
        await client.send(asked.raw + OTHER.raw)
        assert await server.has(len(OTHER.raw))
        await taken(proxy, downstream=len(OTHER_ANSWER.raw))  # the response to the second request waits behind it
        stage.supervisor.put_fault("proxy", fault("edit", type="http_headers", remove=["x"]), "test")
        await asyncio.sleep(0)
        stage.supervisor.heal("test")
        if forbidden:  # requests may not ask for faults any more, but an earlier request still gets its fault
            await change_proxy(stage.supervisor, replace(proxy.spec, caller_faults=CallerFaults()), "test")
        assert await client.until(lambda: client.raw.endswith(OTHER_ANSWER.raw))
        assert time.monotonic() - began >= 0.15
        assert client.raw.startswith(b"HTTP/1.1 418 ")
        assert server.raw == OTHER.raw
        await over(client, server)

    run(loop_name, scenario)


# ── announcements ─────────────────────────────────────────────────────────────────────────


def test_answers_that_faults_made_or_changed_say_so(loop_name: str) -> None:
    faults = {
        "gone": {"type": "http_abort", "match": {"path": "/gone"}},
        "edit": {"type": "http_headers", "set": {"X-Old": "1"}, "match": {"path": "/hit"}},
        "noise": {"type": "http_corrupt", "rate": "0%", "match": {"path": "/hit"}},
        "idle": {"type": "http_headers", "remove": ["x-old"], "match": {"path": "/other", "status": 404}},
    }

    async def scenario(stage: Stage) -> None:
        _, client, server = await served(stage, announce=True, caller_faults=ON, faults=faults)
        await client.send(OTHER.raw)
        assert await client.has(len(OTHER_ANSWER.raw))
        assert client.raw == OTHER_ANSWER.raw, "which no fault has touched"
        await client.send(GET.raw)
        expected = OK.head[:-2] + b"X-Chaosproxy-Fault: edit, noise\r\n\r\n" + OK.body
        assert await client.until(lambda: client.raw.endswith(OK.body))
        assert client.raw[len(OTHER_ANSWER.raw) :] == expected
        await client.send(request("GET", "/gone").raw + ASKS_ABORT.raw)
        assert await client.until(lambda: client.raw.count(b"HTTP/1.1 ") == 4)
        assert client.raw.count(b"X-Chaosproxy-Fault: gone\r\n") == 1
        assert client.raw.count(b"X-Chaosproxy-Fault: caller\r\n") == 1
        await over(client, server)

    run(loop_name, scenario)


# ── limits ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("faults", [{}, {"it": {"type": "http_headers", "remove": ["x"]}}], ids=["without", "with"])
def test_a_client_that_pipelines_without_reading_is_slowed_and_loses_nothing(
    faults: dict[str, object], loop_name: str
) -> None:
    post, total = request("POST", "/hit", body=LARGE[:4000]), 3000

    async def scenario(stage: Stage) -> None:
        proxy, c, s = await stage.pair(protocol="http", pipeline_limit=50, faults=faults)
        client, server = End(c), End(s)
        sending = asyncio.create_task(client.send(post.raw * total))
        source = proxy.connections[1].upstream.source
        assert source is not None
        await until(lambda: not source.is_reading() and not can_send(c) and proxy.exchanges_in_flight() > 50)
        most = 50 + 2**18 // len(post.raw) + 2  # one read may bring more requests than the limit
        assert not sending.done(), "12 MB cannot all be on their way"
        assert proxy.exchanges_in_flight() < most
        assert proxy.registry.held("upstream") < 2**19
        assert len(server.raw) < most * len(post.raw)
        answered = 0
        while answered < total:
            await server.has((answered + 1) * len(post.raw))
            asked = len(server.raw) // len(post.raw)
            await server.send(OK.raw * (asked - answered))
            answered = asked
            assert proxy.exchanges_in_flight() < most
        await sending
        assert await client.has(total * len(OK.raw))
        assert client.raw == OK.raw * total
        assert server.raw == post.raw * total
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize(("size", "copies"), [(1000, 1), (1001, 0)])
def test_a_request_longer_than_hold_limit_is_not_copied(size: int, copies: int, loop_name: str) -> None:
    head = len(request("POST", "/hit", body=b"x" * 500).head)
    asked = request("POST", "/hit", body=b"x" * (size - head))
    assert len(asked.raw) == size

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        settings = {"protocol": "http", "hold_limit": "1000B", "faults": {"it": {"type": "http_duplicate"}}}
        proxy = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", **settings)
        client, server = End(await stage.connect(proxy)), Server(await stage.accept(listener), PLAIN)
        await client.send(asked.raw)
        assert await client.has(len(OK.raw))
        if copies:
            copy = Server(await stage.accept(listener), PLAIN)
            assert await copy.over() == "eof" and copy.raw == asked.raw
            await copy.stop()
        else:
            later = await stage.connect(proxy)  # a copy's connection would be accepted first
            await send(later, OTHER.raw)
            assert await receive(await stage.accept(listener), len(OTHER.raw)) == OTHER.raw
        assert server.raw == asked.raw
        await over(client, server)

    run(loop_name, scenario)


def test_a_body_of_unknown_length_is_held_no_longer_than_hold_limit(loop_name: str) -> None:
    head = answer("200 OK", body=None).head

    async def scenario(stage: Stage) -> None:
        faults = {"it": {"type": "http_truncate", "share": "50%"}}
        proxy, c, s = await stage.pair(protocol="http", hold_limit="10000B", faults=faults)
        client, server = End(c), End(s)
        await client.send(GET.raw)
        assert await server.has(len(GET.raw))
        await server.send(head + LARGE[:9_000])
        assert await client.has(len(head))
        await taken(proxy, downstream=server.sent)
        await turns()
        assert client.raw == head, "the body's length may still be found out"
        await server.send(LARGE[9_000:10_000])
        assert await client.over() == "eof"
        assert client.raw == head + LARGE[:5_000]
        await over(client, server)

    run(loop_name, scenario)
