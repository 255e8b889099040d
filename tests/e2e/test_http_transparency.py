"""HTTP mode changes nothing: what clients and servers see of each other is the same with it and without.

Real clients ask real servers the same things directly and through chaosproxy, without faults,
with ten faults that want none of these messages, and with one that adds a field to every
answer. A relay right before the server records what the server heard and said, to the byte.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.http.clients import CLIENTS, SECONDS, Ask, Saw, curl, told_by_curl
from tests.servers.http.recorder import Recorder, alike, recording
from tests.servers.http.shown import LARGE
from tests.servers.http.sites import SITES, needs, site
from tests.servers.processes import HOST, wait_until

pytestmark = pytest.mark.real_server

ADDED = "x-chaos"
FAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "without faults": {},
    "ten faults that want nothing": {
        "delay": {"type": "http_delay", "delay": "5s", "match": {"path": "/never/**"}},
        "slow": {"type": "http_delay", "on": "body", "delay": "5s", "match": {"status": "418"}},
        "abort": {"type": "http_abort", "match": {"headers": {"x-tenant": "acme"}}},
        "lost": {"type": "http_drop_request", "match": {"method": "PATCH"}},
        "unheard": {"type": "http_drop_response", "match": {"content_type": "image/*"}},
        "again": {"type": "http_duplicate", "match": {"query": {"again": True}}},
        "cut": {"type": "http_truncate", "share": "10%", "match": {"host": "*.example.org"}},
        "noise": {"type": "http_corrupt", "rate": "50%", "probability": 0},
        "trickle": {"type": "http_slow_body", "rate": "1kB/s", "match": {"client": "192.0.2.0/24"}},
        "fields": {"type": "http_headers", "remove": ["Content-Type"], "skip": 1_000_000},
    },
    "a field more in every answer": {"more": {"type": "http_headers", "add": {"X-Chaos": "on"}}},
}

SMALL, HALF = b"0123456789abcdef", b"x" * 30_000
ASKS = [
    Ask("GET", "/small"),
    Ask("GET", "/large"),
    Ask("HEAD", "/large"),
    Ask("GET", "/chunked"),
    Ask("POST", "/echo", body=SMALL),
    Ask("POST", "/echo", {"Content-Type": "text/plain"}, HALF, chunked=True),
    Ask("GET", "/none"),
    Ask("GET", "/cached"),
    Ask("GET", "/cached", {"If-None-Match": "*"}),
    Ask("GET", "/old"),
    Ask("GET", "/zipped", {"Accept-Encoding": "gzip"}),
    Ask("GET", "/large", {"Range": "bytes=10-19"}),
    Ask("GET", "/twice"),
    Ask("GET", "/not-there"),
    Ask("GET", "/small", {"Connection": "close"}),
    Ask("GET", "/small"),
]
WITH_TRAILERS = [Ask("POST", "/trailers", body=HALF, chunked=True), Ask("GET", "/small")]


@dataclass
class Ways:
    """One server, reached directly and through HTTP mode with each set of faults; all of it is recorded."""

    chaos: ChaosproxyServer
    recorder: Recorder
    ports: dict[str, int]


PAIRS = [*(("uvloop", name) for name in SITES), ("asyncio", "nginx"), ("asyncio", "node")]
QUICK = ("uvloop", "nginx")
"""Each takes some seconds to start."""
PARAMS = [pytest.param(pair, id="-".join(pair), marks=[] if pair == QUICK else [pytest.mark.slow]) for pair in PAIRS]


@pytest.fixture(scope="module", params=PARAMS)
def ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    loop, name = request.param
    with site(name) as port, recording(port) as recorder:
        with serving(tmp_path_factory.mktemp("chaosproxy"), "--loop", loop) as chaos:
            ports = {
                name: chaos.add_proxy(name.replace(" ", "-"), recorder.port, protocol="http", faults=faults)
                for name, faults in FAULTS.items()
            }
            yield Ways(chaos, recorder, ports)


def compare(ways: Ways, ask: Callable[[int], list[Saw]]) -> None:
    """Ask every way; nothing may differ but the field that is added."""
    directly = ask(ways.recorder.port)
    heard = ways.recorder.take()
    assert heard and all(sent and answered for sent, answered in heard)
    for name, port in ways.ports.items():
        seen = ask(port)
        if "more" in FAULTS[name]:
            stripped = [one.without(ADDED) for one in seen]
            seen = [one for one, _ in stripped]
            heads = sum(one.body.count(b"HTTP/1.") if not one.status else 1 for one in directly)
            assert sum(count for _, count in stripped) == heads - interim(directly), f"one more in each answer, {name}"
        assert seen == directly, name
        assert ways.recorder.take() == heard, f"what the server heard and said, {name}"


def interim(seen: list[Saw]) -> int:
    return sum(one.body.count(b"HTTP/1.1 100 ") for one in seen)


@pytest.mark.parametrize("client", list(CLIENTS))
def test_every_client_and_server_see_the_same_of_each_other(ways: Ways, client: str) -> None:
    compare(ways, lambda port: CLIENTS[client](port, ASKS))
    assert "chaosproxy_connections_not_framed_total{" in ways.chaos.metrics()
    assert_all_was_framed(ways.chaos)


def test_curl_speaks_http_1_0_waits_for_leave_offers_http_2_and_sends_what_comes(ways: Ways) -> None:
    def ask(port: int) -> list[Saw]:
        base = ["--silent", "--show-error", "--include", "--max-time", str(SECONDS)]
        url = f"http://{HOST}:{port}"
        old = [curl(*base, "--http1.0", f"{url}/small"), curl(*base, "--http1.0", f"{url}/chunked")]
        leave = ["--header", "Expect: 100-continue", "--expect100-timeout", str(SECONDS)]
        waited = curl(*base, *leave, "--data-binary", "y" * 2000, f"{url}/echo")
        offered = curl(*base, "--http2", f"{url}/small", f"{url}/twice")  # by an upgrade, which all of them decline
        streamed = curl(*base, "--request", "POST", "--upload-file", "-", f"{url}/echo", said=HALF[:8000])
        return [Saw(0, *told_by_curl(one)) for one in (*old, waited, offered, streamed)]

    compare(ways, ask)
    assert_all_was_framed(ways.chaos)


def test_pipelined_requests_are_answered_in_their_order(ways: Ways) -> None:
    asked = b"".join(
        b"%s %s HTTP/1.1\r\nHost: web\r\n%s\r\n%s" % one
        for one in (
            (b"GET", b"/small", b"", b""),
            (b"HEAD", b"/large", b"", b""),
            (b"POST", b"/echo", b"Content-Length: 4\r\n", b"body"),
            (b"GET", b"/large", b"", b""),
            (b"POST", b"/echo", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
            (b"GET", b"/none", b"", b""),
            (b"GET", b"/small", b"Connection: close\r\n", b""),
        )
    )

    def ask(port: int) -> list[Saw]:
        with socket.create_connection((HOST, port), SECONDS) as client:
            client.sendall(asked)
            return [Saw(0, *told_by_curl(b"".join(iter(lambda: client.recv(1 << 16), b""))))]

    compare(ways, ask)
    assert_all_was_framed(ways.chaos)


@pytest.mark.slow
@pytest.mark.parametrize("ways", [("uvloop", "node"), ("asyncio", "node")], ids="-".join, indirect=True)
def test_trailers_of_requests_and_answers_arrive(ways: Ways) -> None:
    compare(ways, lambda port: CLIENTS["node"](port, WITH_TRAILERS))
    (answer, _) = CLIENTS["node"](ways.ports["without faults"], WITH_TRAILERS)
    assert answer.fields[-2:] == (("trailer X-Length", "trailer 30000"), ("trailer X-Asked", "trailer 42"))
    assert_all_was_framed(ways.chaos)


def assert_all_was_framed(chaos: ChaosproxyServer) -> None:
    lines = [line for line in chaos.metrics().splitlines() if line.startswith("chaosproxy_connections_not_framed")]
    assert lines and all(line.endswith(" 0.0") for line in lines), lines


@pytest.mark.slow
def test_faults_that_come_and_go_in_the_midst_of_messages_change_no_byte(chaosproxy_server: ChaosproxyServer) -> None:
    """With what each holds let go, and its place in the chain taken and given up, a hundred times or so."""
    harmless: list[dict[str, Any]] = [
        {"type": "http_headers", "add": {"X-Chaos": "on"}},
        {"type": "http_delay", "delay": "5ms", "on": "response"},
        {"type": "http_delay", "delay": "20ms", "on": "body"},
        {"type": "http_slow_body", "rate": "50MB/s"},
        {"type": "http_abort", "match": {"path": "/never"}},
        {"type": "latency", "delay": "2ms", "direction": "both"},
    ]
    with site("nginx") as upstream:
        port = chaos_port(chaosproxy_server, upstream, "without faults")
        stop = threading.Event()

        def come_and_go() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                inject(chaosproxy_server, f"fault-{number % 3}", **harmless[number % len(harmless)])
                if number % 7 == 6:
                    chaosproxy_server.heal()

        asks = [Ask("GET", "/large"), Ask("POST", "/echo", body=HALF, chunked=True), Ask("GET", "/small")] * 40
        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            seen = CLIENTS["aiohttp"](port, asks)
        finally:
            stop.set()
            thread.join(SECONDS)
        bodies = {alike(LARGE), b"POST 30000\n", b"hello\n"}
        assert {(one.status, one.body) for one in seen} == {(200, body) for body in bodies}
        samples = [line for line in chaosproxy_server.metrics().splitlines() if "exchanges_total{" in line]
        assert sum(float(line.split()[-1]) for line in samples if 'proxy="stream"' in line) == len(asks)
        chaosproxy_server.heal()
    assert_all_was_framed(chaosproxy_server)


# ── streams ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("faults", list(FAULTS))
def test_events_of_a_stream_arrive_one_by_one(chaosproxy_server: ChaosproxyServer, faults: str) -> None:
    """The server sends the next event only once the client has the one before: whoever gathers them hangs."""

    async def scenario() -> None:
        heard = asyncio.Queue[bytes]()

        async def tell(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await answer.prepare(request)
            for number in range(20):
                event = f"data: {number}\n\n".encode()
                await answer.write(event)
                assert await heard.get() == event
            return answer

        app = web.Application()
        app.router.add_get("/events", tell)
        async with serving_app(app) as upstream:
            port = await in_thread(chaos_port, chaosproxy_server, upstream, faults)
            async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{port}/events") as answer:
                count = 0
                async for event in answer.content.iter_any():
                    assert event == f"data: {count}\n\n".encode()
                    heard.put_nowait(event)
                    count += 1
                assert count == 20

    within_limit(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("faults", list(FAULTS))
def test_a_websocket_carries_messages_and_then_feels_faults_on_its_stream(
    chaosproxy_server: ChaosproxyServer, faults: str
) -> None:
    needs("websockets")
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(peer: ServerConnection) -> None:
        async for message in peer:
            await peer.send(message)

    async def scenario() -> None:
        async with serve(echo, HOST, 0) as server:
            upstream = next(iter(server.sockets)).getsockname()[1]
            port = await in_thread(chaos_port, chaosproxy_server, upstream, faults)
            async with connect(f"ws://{HOST}:{port}/talk", proxy=None) as client:
                assert client.response is not None
                assert (ADDED in client.response.headers) is ("more" in FAULTS[faults])
                for message in ("hello", b"\0" * 200_000, "", "x" * 70_000):
                    await client.send(message)
                    assert await client.recv() == message
                clock = asyncio.get_running_loop().time
                await in_thread(inject, chaosproxy_server, "far", type="latency", delay="100ms", direction="both")
                began = clock()
                await client.send("far")
                assert await client.recv() == "far"
                assert clock() - began >= 0.2
                await in_thread(inject, chaosproxy_server, "stuck", type="stall")
                await client.send("stuck")
                receiving = asyncio.ensure_future(client.recv())
                await in_thread(wait_until, partial(is_held, chaosproxy_server), SECONDS, "the stall holds the message")
                assert not receiving.done()
                await in_thread(chaosproxy_server.heal)
                assert await receiving == "stuck"

    within_limit(scenario())


def within_limit(scenario: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(SECONDS):
            await scenario

    asyncio.run(main())


def chaos_port(chaos: ChaosproxyServer, upstream: int, faults: str) -> int:
    return chaos.add_proxy("stream", upstream, protocol="http", faults=FAULTS[faults])


def inject(chaos: ChaosproxyServer, name: str, **fault: object) -> None:
    chaos.inject("stream", name, **fault)


def is_held(chaos: ChaosproxyServer) -> bool:
    return any(chaos.withheld("stream", direction) for direction in ("upstream", "downstream"))


async def in_thread(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(call, *arguments, **named)


class serving_app:
    """An aiohttp application in this loop, on a free port."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> int:
        await self._runner.setup()
        server = web.TCPSite(self._runner, HOST, 0)
        await server.start()
        return int(self._runner.addresses[0][1])

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()
