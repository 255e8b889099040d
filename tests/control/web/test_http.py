"""HTTP itself: bodies, methods, paths, HEAD, streams and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from chaosproxy.control.v1.routes import ROUTES, SERVER_OPERATIONS
from chaosproxy.control.web import Route
from chaosproxy.control.web.problem import Refused
from chaosproxy.events import Event
from chaosproxy.observe import Collector
from tests.control.serving import Api, serving
from tests.net.clockwork import Clockwork


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty"),
        (b"{", "not-json"),
        (b'{"a": NaN}', "not-json"),
        (b'{"a": -Infinity}', "not-json"),
        (b'{"a": 1e999}', "not-json"),
        (b'{"a": ' + b"9" * 400 + b"}", "not-json"),
        (b'{"a": 1, "a": 2}', "not-json"),
        (b'{"x": {"a": 1, "a": 2}}', "not-json"),
        (b'{"a": "\\ud800"}', "not-json"),
        (b'{"\\ud800": 1}', "not-json"),
        (b'{"a": "\xff"}', "not-json"),
        (b'{"' + b"k" * 201 + b'": 1}', "not-json"),
        (b"[" * 9_000, "not-json"),
        (b"[" * 200_000, "too-large"),
        (b"[" + b"1," * 200_000 + b"1]", "too-large"),
        (b"[" + b'"\\\\",' * 100_000 + b"1]", "too-large"),
        (b"[]", "wrong-type"),
        (b"null", "wrong-type"),
        (b'"text"', "wrong-type"),
    ],
)
def test_a_body_that_is_no_plain_json_object_is_refused(raw: bytes, code: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("POST", "/v1/proxies", raw=raw)
            assert (answer.status, answer.body["code"]) == (400, code), answer

    asyncio.run(scenario())


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_a_body_that_is_not_said_to_be_json_is_refused(sent: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            for path in ("/v1/proxies", "/v1/heal"):
                answer = await api.ask("POST", path, raw=b"{}", headers={"Content-Type": sent})
                assert (answer.status, answer.body["code"]) == (415, "unsupported-media-type")

    asyncio.run(scenario())


def test_a_body_of_one_mebibyte_is_read_and_a_larger_one_is_not() -> None:
    async def scenario() -> None:
        async with serving() as api:
            empty = b'{"fault": null}'
            fits = await api.ask("POST", "/v1/heal", raw=BytesIO(empty + b" " * (2**20 - len(empty))))
            assert fits.status == 200
            answer = await api.ask("POST", "/v1/heal", raw=BytesIO(b" " * (2**20 + 1)))
            assert (answer.status, answer.body["code"]) == (413, "too-large")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/proxies", "GET, HEAD, POST"),
        ("POST", "/v1/proxies/db", "DELETE, GET, HEAD, PATCH"),
        ("PATCH", "/v1/proxies/db/faults/x", "DELETE, GET, HEAD, PUT"),
        ("GET", "/v1/heal", "POST"),
        ("DELETE", "/metrics", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(method: str, path: str, allow: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask(method, path)
            assert (answer.status, answer.headers["Allow"]) == (405, allow)
            assert answer.body["code"] == "method-not-allowed"

    asyncio.run(scenario())


def test_a_path_that_is_not_there_is_not_found() -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("GET", "/v2/proxies")
            assert (answer.status, answer.body["code"]) == (404, "not-found")

    asyncio.run(scenario())


def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await api.ask("POST", "/v1/proxies", {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})
            plain = await api.ask("GET", "/metrics")
            assert plain.headers["Content-Type"].startswith("text/plain")
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            opened = await api.ask("GET", "/metrics", headers=accept)
            assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
            assert "chaosproxy_connections" in {family.name for family in plain_text(plain.body)}
            families = list(open_metrics(opened.body))  # type: ignore[no-untyped-call]  # not annotated there
            assert "chaosproxy_connections" in {family.name for family in families}

    asyncio.run(scenario())


def test_head_gives_the_headers_of_get_and_no_body() -> None:
    async def scenario() -> None:
        async with serving(time=Clockwork()) as api:  # ages of 0.009 s and 0.01 s differ in length
            await api.ask("POST", "/v1/proxies", {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})
            for path in ("/v1/proxies", "/v1/proxies/none", "/v1/nodes", "/v1/openapi.json", "/healthz", "/readyz"):
                wanted, head = await api.ask("GET", path), await head_of(api, path)
                assert head.status == wanted.status, path
                for name in ("Content-Type", "Content-Length"):
                    assert head.headers[name] == wanted.headers[name], path

    asyncio.run(scenario())


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_head_of_the_metrics_collects_nothing(accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        collected: list[object] = []
        families = Collector.families
        monkeypatch.setattr(
            Collector, "families", lambda self, counts: collected.append(self) or families(self, counts)
        )
        async with serving() as api:
            head = await head_of(api, "/metrics", {"Accept": accept})
            assert (head.status, collected) == (200, [])
            assert "Content-Length" not in head.headers
            wanted = await api.ask("GET", "/metrics", headers={"Accept": accept})
            assert len(collected) == 1
            assert head.headers["Content-Type"] == wanted.headers["Content-Type"]

    asyncio.run(scenario())


def test_head_does_not_run_the_handler_of_a_get() -> None:
    async def scenario() -> None:
        ran: list[str] = []

        async def count(request: web.Request) -> web.StreamResponse:
            ran.append(request.method)
            return web.Response(text="counted")

        route = Route(method="GET", path="/count", handler=count, media="text/plain")
        async with serving(beside=[route]) as api:
            head = await head_of(api, "/count")
            assert (head.status, head.headers["Content-Type"], ran) == (200, "text/plain", [])
            assert (await api.ask("GET", "/count")).body == "counted"
            assert ran == ["GET"]

    asyncio.run(scenario())


def test_head_changes_nothing_on_any_route() -> None:
    async def scenario() -> None:
        async with serving() as api:
            wish = {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "from": "a", "to": "b"}
            await api.ask("POST", "/v1/proxies", {**wish, "faults": [{"name": "f", "type": "stall"}]})
            await api.ask("POST", "/v1/partitions", {"id": "p", "from": "a", "to": "b"})
            before = await state_of(api)
            events: list[Event] = []
            api.supervisor.bus.subscribe(events.append)
            names = {"proxy": "db", "fault": "f", "partition": "p", "connection": "db:1", "node": "a", "lease": "l"}
            for route in (*ROUTES, *SERVER_OPERATIONS.values()):
                await head_of(api, route.path.format(**names))
            assert (await state_of(api), events) == (before, [])

    asyncio.run(scenario())


def test_a_second_set_of_routes_stands_beside_v1() -> None:
    async def scenario() -> None:
        async def version(_request: web.Request) -> web.StreamResponse:
            return web.json_response({"version": "2.12.0"})

        async with serving(beside=[Route(method="GET", path="/version", handler=version)]) as api:
            assert (await api.ask("GET", "/version")).body == {"version": "2.12.0"}
            assert (await api.ask("GET", "/v1/status")).status == 200
            foreign = await api.ask("GET", "/version", headers={"Origin": "http://evil.example"})
            assert foreign.status == 403

    asyncio.run(scenario())


def test_a_handler_may_stream() -> None:
    async def scenario() -> None:
        async with serving(beside=[streaming(b"one", b"two")]) as api:
            answer = await api.ask("GET", "/stream")
            assert (answer.status, answer.body) == (200, "onetwo")
            assert "Content-Length" not in answer.headers

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [RuntimeError("a defect"), Refused(409, "Conflict", "conflict", "too late")])
def test_an_error_after_a_response_has_begun_cuts_it_short(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with caplog.at_level(logging.DEBUG):
            async with serving(beside=[streaming(b"begun", error)]) as api:
                reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
                writer.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                async with asyncio.timeout(10):  # a connection that is not cut stays open
                    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
                assert head.startswith(b"HTTP/1.1 200 ")
                assert body == b"5\r\nbegun\r\n", "no end of the chunks, and no second response"
                assert (await api.ask("GET", "/healthz")).status == 200
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
            "a defect: GET /stream failed during its response"
        ]

    asyncio.run(scenario())


def test_a_client_that_leaves_a_stream_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ended = asyncio.Event()

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(b"x" * 65536)
                    await asyncio.sleep(0)
            finally:
                ended.set()

        async with serving(beside=[Route(method="GET", path="/endless", handler=endless)]) as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readexactly(100)
            writer.close()
            await ended.wait()
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    asyncio.run(scenario())


def streaming(*parts: bytes | Exception) -> Route:
    """A route that sends each part, or raises it."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in parts:
            if isinstance(part, Exception):
                raise part
            await response.write(part)
        return response

    return Route(method="GET", path="/stream", handler=stream)


async def head_of(api: Api, path: str, headers: Mapping[str, str] | None = None) -> aiohttp.ClientResponse:
    async with api.session.head(f"http://127.0.0.1:{api.port}{path}", headers=headers) as response:
        assert await response.read() == b""
        return response


async def state_of(api: Api) -> object:
    status = (await api.ask("GET", "/v1/status")).body
    return {**status, "uptime_s": None}
