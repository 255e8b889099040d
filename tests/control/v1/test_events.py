"""The stream of events over HTTP, on real sockets and both loops."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientPayloadError

from chaosproxy.control.web import server
from chaosproxy.control.web.connection import ControlConnection
from chaosproxy.events import ClientGaveUp, LoopStalled, ProxyRemoved
from chaosproxy.journal.form import KINDS
from chaosproxy.model import Address, ControlLimits, ControlSpec
from tests.control.serving import DOCUMENT, LOOPBACK, Api, serving
from tests.net.clockwork import Clockwork
from tests.net.harness import LOOPS

PROXY = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": False}
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Sent:
    """One event as it arrived."""

    id: int
    kind: str
    data: dict[str, Any]


class Stream:
    """Reads a stream of events. It is not the parser of the product."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments: list[str] = []

    async def next(self) -> Sent:
        """Return the next event; comments are put aside."""
        while True:
            block = (await self.response.content.readuntil(b"\n\n")).decode()
            if not block:
                raise EOFError
            lines = block.rstrip("\n").split("\n")
            if lines[0].startswith(":"):
                self.comments.append(block)
                continue
            names = [line.partition(": ")[0] for line in lines]
            assert names == ["id", "event", "data"], block
            number, kind, data = (line.partition(": ")[2] for line in lines)
            return Sent(int(number), kind, json.loads(data))

    async def begun(self) -> None:
        """Wait until the stream has sent all kept events, and no other."""
        block = await self.response.content.readuntil(b"\n\n")
        assert re.fullmatch(r": the stream begins\nid: \d+\n\n", block.decode()), block

    async def rest(self) -> list[Sent]:
        """Return everything up to the end."""
        found = []
        while not self.response.content.at_eof():
            try:
                found.append(await self.next())
            except EOFError:
                break
        return found


@asynccontextmanager
async def streaming(api: Api, query: str = "", last_id: str | None = None) -> AsyncIterator[Stream]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with api.session.get(f"http://127.0.0.1:{api.port}/v1/events{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        yield Stream(response)


async def kept(api: Api, query: str = "", last_id: str | None = None) -> list[Sent]:
    """Return the kept events that a query selects."""
    async with streaming(api, f"?follow=false{query}", last_id) as stream:
        return await stream.rest()


async def add(api: Api, *names: str) -> None:
    for name in names:
        assert (await api.ask("POST", "/v1/proxies", {**PROXY, "name": name})).status == 201


def publish(api: Api, count: int, at: float = 0.0) -> None:
    for number in range(count):
        api.supervisor.bus.publish(ProxyRemoved(at=at, proxy="db", by=str(number)))


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    def run(scenario: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            unhandled: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            async with asyncio.timeout(60):
                await scenario()
            assert unhandled == []

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(bounded())

    return run


Play = Callable[[Callable[[], Awaitable[None]]], None]


def test_new_events_arrive_numbered_with_kind_and_date(play: Play) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add(api, "old")
            async with streaming(api) as stream:
                await stream.begun()
                await add(api, "db")
                await api.ask("PUT", "/v1/proxies/db/faults/slow", {"type": "stall", "ttl": "1h"})
                await api.ask("POST", "/v1/heal")
                sent = [await stream.next() for _ in range(3)]
        assert [(one.id, one.kind) for one in sent] == [(2, "proxy_added"), (3, "fault_added"), (4, "fault_removed")]
        assert [one.data["kind"] for one in sent] == [one.kind for one in sent]
        assert list(sent[1].data)[:3] == ["kind", "at", "proxy"]
        assert (sent[1].data["fault"], sent[1].data["type"], sent[1].data["by"]) == ("slow", "stall", "rest")
        assert all(DATE.fullmatch(one.data["at"]) for one in sent)

    play(scenario)


# ── filters ───────────────────────────────────────────────────────────────────────────────


def test_proxies_and_kinds_select_and_may_be_repeated(play: Play) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add(api, "a", "b/c", "d")
            api.supervisor.bus.publish(LoopStalled(seconds=1.0, cpu_s=0.0, held_by=None, where=""))
            await api.ask("DELETE", "/v1/proxies/a")
            for query, ids in (
                ("", [1, 2, 3, 4, 5]),
                ("&proxy=a", [1, 5]),
                ("&proxy=b%2Fc&proxy=d", [2, 3]),
                ("&kind=proxy_added", [1, 2, 3]),
                ("&kind=loop_stalled&kind=proxy_removed", [4, 5]),
                ("&kind=proxy_added&proxy=d", [3]),
                ("&kind=lagged", []),
            ):
                assert [one.id for one in await kept(api, query)] == ids, query

    play(scenario)


def test_a_filter_also_holds_for_new_events(play: Play) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add(api, "a")
            async with streaming(api, "?proxy=a&kind=proxy_changed&kind=proxy_removed") as stream:
                await stream.begun()
                await add(api, "b")
                await api.ask("PATCH", "/v1/proxies/a", {"enabled": True})
                await api.ask("DELETE", "/v1/proxies/b")
                await api.ask("DELETE", "/v1/proxies/a")
                sent = [await stream.next() for _ in range(2)]
        assert [(one.id, one.kind) for one in sent] == [(3, "proxy_changed"), (5, "proxy_removed")]

    play(scenario)


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("kind=fault_aded", {"kind": "unknown-value"}),
        ("kind=proxy_added&kind=", {"kind": "unknown-value"}),
        ("since=10", {"since": "unit-missing"}),
        ("since=soon", {"since": "not-a-duration"}),
        ("since=", {"since": "not-a-duration"}),
        ("since=2026-02-30T00:00:00Z", {"since": "malformed"}),
        ("since=2026-03-01T00:00:00", {"since": "malformed"}),
        ("since=0000-01-01T00:00:00Z", {"since": "malformed"}),
        ("since=1s&since=2s", {"since": "duplicate"}),
        ("follow=no", {"follow": "unknown-value"}),
        ("proxi=a", {"proxi": "unknown-key"}),
        ("since=x&follow=x&kind=x", {"since": "not-a-duration", "follow": "unknown-value", "kind": "unknown-value"}),
        ("&".join(["kind=lagged"] * 101), {"kind": "too-large"}),
    ],
)
def test_a_query_that_is_wrong_is_refused(query: str, wrong: dict[str, str]) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("GET", f"/v1/events?{query}")
            assert (answer.status, answer.wrong) == (400, wrong)

    asyncio.run(scenario())


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    async def scenario() -> None:
        async with serving() as api:
            [error] = (await api.ask("GET", "/v1/events?kind=fault_aded")).body["errors"]
            assert "(did you mean 'fault_added'?)" in error["message"]
            assert all(kind in error["message"] for kind in KINDS)

    asyncio.run(scenario())


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "9" * 20, "²"])
def test_an_id_that_is_no_number_is_refused(last_id: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("GET", "/v1/events", headers={"Last-Event-ID": last_id})
            assert (answer.status, answer.wrong) == (400, {"Last-Event-ID": "malformed"})

    asyncio.run(scenario())


def test_a_proxy_that_never_was_is_not_found_and_one_that_was_removed_is(play: Play) -> None:
    async def scenario() -> None:
        async with serving(ring_size=300) as api:
            await add(api, "orders")
            wrong = await api.ask("GET", "/v1/events?proxy=orders&proxy=oders")
            assert (wrong.status, wrong.body["code"]) == (404, "not-found")
            assert "did you mean 'orders'?" in wrong.body["detail"]
            await api.ask("DELETE", "/v1/proxies/orders")
            publish(api, 250)
            assert [one.kind for one in await kept(api, "&proxy=orders")] == ["proxy_added", "proxy_removed"]
            publish(api, 250)
            assert (await api.ask("GET", "/v1/events?proxy=orders")).status == 404, "nothing is known of it any longer"

    play(scenario)


# ── where it begins and ends ──────────────────────────────────────────────────────────────


def test_since_begins_with_kept_events_of_that_time() -> None:
    async def scenario() -> None:
        clock = Clockwork()
        async with serving(time=clock) as api:
            for at in (0.0, 100.0, 200.0):
                clock.now = at
                await add(api, f"at-{at:g}")
            clock.now = 205.0
            for since, ids in (("1s", []), ("5s", [3]), ("6s", [3]), ("105s", [2, 3]), ("1h", [1, 2, 3])):
                assert [one.id for one in await kept(api, f"&since={since}")] == ids, since
            date = (await kept(api))[1].data["at"]
            assert [one.id for one in await kept(api, f"&since={date}")] == [2, 3]
            later = date.replace("Z", "%2B00:00").replace(".", ".9")
            assert [one.id for one in await kept(api, f"&since={later}")] in ([3], [2, 3])

    asyncio.run(scenario())


def test_since_goes_on_with_new_events_also_with_those_published_late(play: Play) -> None:
    """A give-up is published when it is known, with the time at which the client left."""

    async def scenario() -> None:
        clock = Clockwork()
        async with serving(time=clock) as api:
            await add(api, "db")
            clock.now = 100.0
            async with streaming(api, "?since=10s") as stream:
                await stream.begun()
                late = ClientGaveUp(
                    at=5.0, proxy="db", connection=1, turn=1, client="c", digest="", waiting_for="answer",
                    waited_s=1.0, quiet_s=1.0, how="fin",
                )  # fmt: skip
                api.supervisor.bus.publish(late)
                assert (await stream.next()).id == 2

    play(scenario)


def test_without_following_the_response_ends_and_the_connection_stays(play: Play) -> None:
    async def scenario() -> None:
        async with serving() as api:
            assert await kept(api) == []
            publish(api, 1_234)
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=2**22)
            for _ in range(2):
                writer.write(b"GET /v1/events?follow=false HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = (await reader.readuntil(b"\r\n0\r\n\r\n")).decode()
                assert [int(one) for one in re.findall(r"^id: (\d+)", answer, re.MULTILINE)] == list(range(1, 1_235))
            writer.close()

    play(scenario)


def test_a_client_resumes_after_its_last_event(play: Play) -> None:
    async def scenario() -> None:
        async with serving() as api:
            publish(api, 5)
            async with streaming(api) as stream:
                await stream.begun()
                publish(api, 3)
                last = [await stream.next() for _ in range(2)][-1]
            publish(api, 4)
            async with streaming(api, "?since=0s", str(last.id)) as stream:
                assert [(await stream.next()).id for _ in range(5)] == [8, 9, 10, 11, 12], "since has no effect"
                publish(api, 1)
                assert (await stream.next()).id == 13
            assert [one.id for one in await kept(api, "", "11")] == [12, 13]
            assert [one.id for one in await kept(api, "", "13")] == []
            assert [one.id for one in await kept(api, "", "")] == list(range(1, 14)), "an empty id is as none"

    play(scenario)


def test_a_client_that_resumes_too_late_is_told_what_it_missed(play: Play) -> None:
    async def scenario() -> None:
        async with serving(ring_size=10) as api:
            publish(api, 25)
            async with streaming(api, "?kind=proxy_removed", "3") as stream:
                lagged, *others = [await stream.next() for _ in range(11)]
                assert (lagged.kind, lagged.id, lagged.data["missed"]) == ("lagged", 15, 12)
                assert set(lagged.data) == {"kind", "at", "missed"} and DATE.fullmatch(lagged.data["at"])
                assert [one.id for one in others] == list(range(16, 26))

    play(scenario)


def test_an_id_of_the_process_before_begins_with_all_events_of_this_one() -> None:
    async def scenario() -> None:
        async with serving(ring_size=10) as api:
            publish(api, 4)
            assert [one.id for one in await kept(api, "", "5000")] == [1, 2, 3, 4]
            publish(api, 10)
            first = (await kept(api, "", "5000"))[0]
            assert (first.kind, first.data["missed"]) == ("lagged", 4)

    asyncio.run(scenario())


# ── readers, limits and the end of the server ─────────────────────────────────────────────


def limited(**limits: float) -> ControlSpec:
    return replace(LOOPBACK, limits=ControlLimits(**limits))  # type: ignore[arg-type]  # whole numbers, too


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[ControlConnection]:
    """The server's connections that have received a request."""
    found: list[ControlConnection] = []
    begin = ControlConnection.begin_request
    monkeypatch.setattr(ControlConnection, "begin_request", lambda self, body: found.append(self) or begin(self, body))
    return found


@asynccontextmanager
async def deaf_reader(api: Api, connections: list[ControlConnection]) -> AsyncIterator[asyncio.Transport]:
    """Yield the server's transport to a client that has requested the stream, and never reads it."""
    before = len(connections)
    _, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1)
    try:
        writer.transport.pause_reading()
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while len(connections) == before:
            await asyncio.sleep(0.01)
        transport = connections[-1].transport
        assert transport is not None
        yield transport
    finally:
        writer.transport.abort()


def test_a_reader_that_never_reads_is_cut_off_and_takes_little_memory(
    play: Play, connections: list[ControlConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    ended: list[str] = []
    end = ControlConnection.end
    monkeypatch.setattr(ControlConnection, "end", lambda self, limit: ended.append(limit) or end(self, limit))

    async def scenario() -> None:
        async with serving(limited(send_timeout=0.5), ring_size=2_000) as api:
            async with deaf_reader(api, connections) as transport:
                while not ended:
                    publish(api, 1_000)
                    sizes.append(transport.get_write_buffer_size())
                    await asyncio.sleep(0.005)
            assert ended == ["send_timeout"]
            assert 0 < max(sizes) < 32_000, "one batch of 100 events, however many there are"

    play(scenario)


def test_a_stream_is_neither_idle_nor_limited_in_time_nor_closed_for_another(play: Play) -> None:
    async def scenario() -> None:
        limits = limited(connections=2, head_timeout=0.3, body_timeout=0.3, send_timeout=0.3, idle_timeout=0.3)
        async with serving(limits) as api, streaming(api) as stream:
            await stream.begun()
            await asyncio.sleep(0.7)  # longer than all limits
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
                writer.close()
            publish(api, 1)
            assert (await stream.next()).kind == "proxy_removed"

    play(scenario)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server wait long for handlers that do not end."""
    monkeypatch.setattr(server, "_SHUTDOWN_S", 30.0)


@pytest.mark.usefixtures("patient")
def test_the_end_of_the_server_ends_a_waiting_stream_at_once_and_regularly(play: Play) -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession() as session, AsyncExitStack() as clients:
            async with serving() as api:
                other = Api(api.program, session, api.port)
                stream = await clients.enter_async_context(streaming(other))
                await stream.begun()
                publish(api, 10)
                assert [(await stream.next()).id for _ in range(10)] == list(range(1, 11))
                began = time.monotonic()
            assert time.monotonic() - began < 10.0
            assert await stream.rest() == []

    play(scenario)


@pytest.mark.usefixtures("patient")
def test_the_end_of_the_server_does_not_wait_for_a_reader_that_does_not_read(
    play: Play, connections: list[ControlConnection]
) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as clients:
            async with serving() as api:
                transport = await clients.enter_async_context(deaf_reader(api, connections))
                while not transport.get_write_buffer_size():  # until the kernel takes no more
                    publish(api, 1_000)
                    await asyncio.sleep(0.005)
                began = time.monotonic()
            assert time.monotonic() - began < 10.0

    play(scenario)


def test_a_replay_that_the_end_of_the_server_cuts_short_is_incomplete(play: Play) -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession() as session, AsyncExitStack() as clients:
            async with serving() as api:
                publish(api, 50_000)
                other = Api(api.program, session, api.port)
                stream = await clients.enter_async_context(streaming(other, "?follow=false"))
                assert (await stream.next()).id == 1
            with pytest.raises((ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError)):
                await stream.rest()

    play(scenario)


def test_a_client_that_leaves_ends_its_stream(play: Play) -> None:
    async def scenario() -> None:
        async with serving() as api:
            before = len(asyncio.all_tasks())
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"the stream begins")
            assert len(asyncio.all_tasks()) > before
            writer.close()
            while len(asyncio.all_tasks()) > before:  # well before the heartbeat of 15 s; `play` has a time limit
                await asyncio.sleep(0.01)

    began = time.monotonic()
    play(scenario)
    assert time.monotonic() - began < 10.0


# ── access, HEAD, the description ─────────────────────────────────────────────────────────


def test_the_stream_needs_the_token_and_an_allowed_host() -> None:
    async def scenario() -> None:
        async with serving(ControlSpec(listen=Address("127.0.0.1", 0), token="secret")) as api:
            assert (await api.ask("GET", "/v1/events")).status == 401
            allowed = {"Authorization": "Bearer secret"}
            assert (await api.ask("GET", "/v1/events?follow=false", headers=allowed)).status == 200
            foreign = await api.ask("GET", "/v1/events", headers={**allowed, "Host": "evil.example"})
            assert foreign.status == 403

    asyncio.run(scenario())


def test_head_and_other_methods() -> None:
    async def scenario() -> None:
        async with serving() as api:
            async with api.session.head(f"http://127.0.0.1:{api.port}/v1/events") as response:
                assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
                assert await response.read() == b""
            answer = await api.ask("POST", "/v1/events", {})
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")

    asyncio.run(scenario())


def test_the_description_names_what_the_server_reads() -> None:
    operation = DOCUMENT["paths"]["/v1/events"]["get"]
    parameters = {(one["in"], one["name"]): one for one in operation["parameters"]}
    assert set(parameters) == {
        ("query", "proxy"), ("query", "kind"), ("query", "since"), ("query", "follow"), ("header", "Last-Event-ID"),
    }  # fmt: skip
    assert parameters["query", "kind"]["schema"]["items"]["enum"] == sorted(KINDS)
    content = operation["responses"]["200"]["content"]
    assert content == {"text/event-stream": {"schema": {"$ref": "#/components/schemas/EventStream"}}}
