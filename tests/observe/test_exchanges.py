"""Metrics and events of HTTP mode, for real traffic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.events import ConnectionClosed, Event, MessageTouched, NotFramed
from chaosproxy.observe import GcPauses, make_registry
from chaosproxy.seed import Seed
from tests.net.building import proxy
from tests.net.clockwork import Clockwork

ROUTES = ["/orders", "/users/{id}"]


class World:
    """A proxy in HTTP mode in front of a server, with its events and metrics."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.events: list[Event] = []
        supervisor.bus.subscribe(self.events.append)
        self._registry = make_registry(supervisor, GcPauses(), "asyncio")

    @property
    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def samples(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return values by the labels that are not given, in the order of their names, without `proxy`."""
        found = {}
        for family in text_string_to_metric_families(self.text):
            for one in family.samples:
                if one.name == name and labels.items() <= one.labels.items():
                    rest = sorted(one.labels.keys() - labels.keys() - {"proxy"})
                    found[tuple(one.labels[key] for key in rest)] = one.value
        return found

    def exchanges(self) -> dict[tuple[str, ...], float]:
        """Return the counts of ended exchanges by method, route and status."""
        return self.samples("chaosproxy_exchanges_total")

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.supervisor.proxy("web").listening_on[0].port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask_once(self, *requests: tuple[str, str]) -> None:
        """Send all requests on one connection, and wait until it has ended."""
        closed = len(self.told(ConnectionClosed))
        async with self.client() as client:
            for method, target in requests:
                await client.ask(method, target)
        await self.until(lambda: len(self.told(ConnectionClosed)) > closed)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, method: str, target: str, *fields: str) -> None:
        self.writer.write("\r\n".join([f"{method} {target} HTTP/1.1", "Host: web", *fields, "", ""]).encode())

    async def ask(self, method: str, target: str, *fields: str) -> int:
        """Send a request, read its response, and return the status."""
        self.send(method, target, *fields)
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if length and method != "HEAD":
                await self.reader.readexactly(int(length))
        return int(head.split()[1])


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond with the status in the query, or 200; send no response to /dead."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = head.decode().split(" ", 2)
            if target.startswith("/dead"):
                continue
            asked = target.partition("?")[2]
            status = asked if asked.isdigit() else "200"
            body = b"" if method == "HEAD" or status in ("204", "304") else b"hello\n"
            length = b"" if status in ("204", "304") else b"Content-Length: 6\r\n"
            writer.write(b"HTTP/1.1 %s Said\r\n%s\r\n%s" % (status.encode(), length, body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def play(scenario: Callable[[World], Awaitable[None]], time: Clockwork | None = None, /, **settings: object) -> None:
    """`time` is moved by the test instead of passing."""

    async def main() -> None:
        if time is None:
            supervisor = Supervisor(Seed(1))
        else:
            supervisor = Supervisor(Seed(1), clock=time.clock, make_timer=time.make_timer)
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            spec = proxy("web", upstream=upstream, protocol="http", **({"routes": ROUTES} | settings))
            await supervisor.add_proxy(spec, "test")
            await scenario(World(supervisor))
        finally:
            await supervisor.close()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


WATCHED = {"look": {"type": "http_headers", "add": {"X-Seen": "yes"}}}
HELD = {"slow": {"type": "http_delay", "delay": "60ms", "match": {"path": "/users/*"}}}


@pytest.mark.parametrize("faults", [{}, WATCHED], ids=["unwatched", "watched"])
def test_exchanges_are_counted_by_method_route_and_class_of_status(faults: dict[str, object]) -> None:
    async def scenario(world: World) -> None:
        await world.ask_once(
            ("GET", "/orders"), ("GET", "/orders?page=2"), ("POST", "/orders?503"), ("GET", "/users/7?404"),
            ("GET", "/users/8?304"), ("HEAD", "/users/9"), ("GET", "/secret/7?204"), ("PROPFIND", "/orders"),
        )  # fmt: skip
        assert world.exchanges() == {
            ("GET", "/orders", "2xx"): 2,
            ("POST", "/orders", "5xx"): 1,
            ("GET", "/users/{id}", "4xx"): 1,
            ("GET", "/users/{id}", "3xx"): 1,
            ("HEAD", "/users/{id}", "2xx"): 1,
            ("GET", "other", "2xx"): 1,
            ("other", "/orders", "2xx"): 1,
        }
        assert world.samples("chaosproxy_exchanges_in_flight") == {(): 0}
        assert not any(path in world.text for path in ("/users/7", "secret", "page=2", "PROPFIND"))

    play(scenario, faults=faults)


def test_what_was_never_answered_in_full_is_counted_as_none() -> None:
    lost = {"lost": {"type": "http_drop_response", "match": {"method": "POST"}}}

    async def scenario(world: World) -> None:
        async with world.client() as client:
            client.send("POST", "/orders")
            await world.until(lambda: world.exchanges() == {("POST", "/orders", "none"): 1})  # as soon as it is lost
        async with world.client() as client:
            client.send("GET", "/dead")
            await world.until(lambda: world.samples("chaosproxy_exchanges_in_flight") == {(): 1})
        await world.until(lambda: world.samples("chaosproxy_exchanges_in_flight") == {(): 0})
        assert world.exchanges() == {("POST", "/orders", "none"): 1, ("GET", "other", "none"): 1}
        assert world.samples("chaosproxy_exchange_seconds_count") == {("POST", "/orders"): 0, ("GET", "other"): 0}
        assert world.samples("chaosproxy_fault_messages_touched_total") == {("lost",): 1}

    play(scenario, faults=lost)


@pytest.mark.parametrize("on", ["request", "response"])
def test_a_delay_shows_in_the_right_buckets(on: str) -> None:
    async def scenario(world: World) -> None:
        await world.ask_once(("GET", "/users/1"), ("GET", "/orders"))
        for name in ("chaosproxy_exchange_first_byte_seconds", "chaosproxy_exchange_seconds"):
            for route, at_least in (("/users/{id}", 0.06), ("/orders", 0.0)):
                seconds = world.samples(f"{name}_sum", method="GET", route=route)[()]
                buckets = world.samples(f"{name}_bucket", method="GET", route=route)
                assert seconds >= at_least
                assert buckets == {(limit,): seconds <= float(limit) for (limit,) in buckets}
        assert world.samples("chaosproxy_fault_messages_touched_total") == {("slow",): 1}

    play(scenario, faults={"slow": {**HELD["slow"], "on": on}})


def test_an_answer_that_a_fault_holds_is_in_flight_and_counted_once_it_goes_on() -> None:
    held = {"hold": {"type": "http_delay", "delay": "1h", "on": "response"}}

    async def scenario(world: World) -> None:
        async with world.client() as client:
            client.send("GET", "/orders")
            await world.until(lambda: world.samples("chaosproxy_held_bytes", direction="downstream")[()] > 0)
            assert world.samples("chaosproxy_exchanges_in_flight") == {(): 1}
            assert world.exchanges() == {}
            world.supervisor.heal("test")
            assert (await client.reader.readuntil(b"hello\n")).startswith(b"HTTP/1.1 200")
            assert world.samples("chaosproxy_exchanges_in_flight") == {(): 0}
            assert world.exchanges() == {("GET", "/orders", "2xx"): 1}
            assert await client.ask("GET", "/orders") == 200
        assert world.exchanges() == {("GET", "/orders", "2xx"): 2}

    play(scenario, faults=held)


def test_an_answer_of_a_fault_is_counted_by_its_status() -> None:
    abort = {"abort": {"type": "http_abort", "status": 503, "match": {"path": "/orders"}}}

    async def scenario(world: World) -> None:
        await world.ask_once(("POST", "/orders"), ("GET", "/users/1"))
        assert world.exchanges() == {("POST", "/orders", "5xx"): 1, ("GET", "/users/{id}", "2xx"): 1}
        assert world.samples("chaosproxy_fault_messages_touched_total") == {("abort",): 1}

    play(scenario, faults=abort)


def test_a_connection_that_is_no_http_is_counted_and_told_of_once() -> None:
    async def scenario(world: World) -> None:
        for count in (1, 2):
            async with world.client() as client:
                client.writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
                await world.until(partial(lambda wanted: not_framed(world) == {(): wanted}, count))
        assert len(world.told(NotFramed)) == 1
        assert world.exchanges() == {}

    play(scenario)


def not_framed(world: World) -> dict[tuple[str, ...], float]:
    return world.samples("chaosproxy_connections_not_framed_total")


def test_what_requests_ask_for_themselves_is_counted_as_callers() -> None:
    async def scenario(world: World) -> None:
        async with world.client() as client:
            assert await client.ask("GET", "/orders", "X-Chaosproxy-Abort: 418") == 418
            assert await client.ask("GET", "/orders") == 200
            assert await client.ask("GET", "/orders", "X-Chaosproxy-Delay: 10ms") == 200
        assert world.samples("chaosproxy_fault_messages_touched_total") == {("caller",): 2}
        assert world.exchanges() == {("GET", "/orders", "4xx"): 1, ("GET", "/orders", "2xx"): 2}
        assert [event.fault for event in world.told(MessageTouched)] == ["caller", "caller"]  # type: ignore[attr-defined]

    play(scenario, caller_faults={"headers": True})


def test_of_many_messages_twenty_a_second_and_fault_are_told_of_and_the_rest_is_counted() -> None:
    time = Clockwork()

    async def scenario(world: World) -> None:
        async with world.client() as client:
            for _ in range(100):
                client.send("GET", "/users/42?200")
            for _ in range(100):
                await client.reader.readuntil(b"hello\n")
            time.go_to(1.0)  # a new quota begins
            await client.ask("GET", "/users/42?200")
        told = [event for event in world.told(MessageTouched) if isinstance(event, MessageTouched)]
        assert {event.path for event in told} == {"/users/42"}, "as sent, and without its query"
        for fault in ("one", "two"):
            mine = [(event.at, event.suppressed) for event in told if event.fault == fault]
            assert mine == [(0.0, 0)] * 20 + [(1.0, 80)]
        assert world.samples("chaosproxy_fault_messages_touched_total") == {("one",): 101, ("two",): 101}

    both = {name: {"type": "http_headers", "add": {f"X-{name}": "yes"}} for name in ("one", "two")}
    play(scenario, time, faults=both)
