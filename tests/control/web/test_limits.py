"""Clients of the control server that are slow, silent, deaf or many, on real sockets and both loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from chaosproxy.control.web import ControlTally, Route, listening, make_app
from chaosproxy.control.web.body import read_object
from chaosproxy.model import Address, ControlLimits
from chaosproxy.net.sockets.binding import bound, bound_address
from tests.control.serving import LOOPBACK
from tests.net.harness import LOOPS

GET = b"GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /here HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
LARGE = 10_000_000

pytestmark = pytest.mark.parametrize("loop_name", LOOPS)


@dataclass
class Server:
    """A control server with a few routes."""

    tally: ControlTally
    address: Address
    streaming: asyncio.Event
    """Set by the route /stream once its response has begun."""
    go_on: asyncio.Event
    """Lets the route /stream end."""
    sending: list[asyncio.Transport]
    """The transport of each request for /full."""

    async def connect(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.address.is_unix:
            return await asyncio.open_unix_connection(self.address.host)
        return await asyncio.open_connection(self.address.host, self.address.port, local_addr=(source, 0))

    async def get(self) -> bytes:
        """Return the status line of a request on a connection of its own; empty if it was refused."""
        reader, writer = await self.connect()
        try:
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return (await reader.read()).partition(b"\r\n")[0]
        except ConnectionError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def serving(limits: ControlLimits, address: Address = LOOPBACK.listen) -> AsyncIterator[Server]:
    streaming, go_on = asyncio.Event(), asyncio.Event()
    sending: list[asyncio.Transport] = []

    async def here(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            await read_object(request)
        return web.Response(text="here")

    async def large(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(LARGE))

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        streaming.set()
        await go_on.wait()
        await response.write(b"two")
        return response

    async def full(request: web.Request) -> web.StreamResponse:
        """Send until the kernel takes no more, so that the end of the response waits in the transport."""
        response = web.StreamResponse()
        await response.prepare(request)
        assert request.transport is not None
        sending.append(request.transport)
        while not request.transport.get_write_buffer_size():
            await response.write(b"x" * 4096)
        return response

    routes = [
        Route(method="GET", path="/full", handler=full),
        Route(method="GET", path="/here", handler=here), Route(method="POST", path="/here", handler=here),
        Route(method="GET", path="/large", handler=large), Route(method="GET", path="/stream", handler=stream),
    ]  # fmt: skip
    tally = ControlTally()
    app = make_app(routes, control=LOOPBACK, index="/")
    async with bound(address, "for the control API") as sockets, listening(app, sockets, limits, tally):
        yield Server(tally, bound_address(sockets[0]), streaming, go_on, sending)
    assert tally.connections == 0, "every connection is closed at the end"


def play(loop_name: str, scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        unhandled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with asyncio.timeout(60):
            await scenario()
        assert unhandled == []

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(bounded())


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Return everything that arrives until the server closes or resets."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            received += data
    return received


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a byte at a time, for ever."""
    with contextlib.suppress(ConnectionError):
        while True:
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
@pytest.mark.parametrize("dripped", [b"", b"a"], ids=["silent", "dripping"])
def test_a_slow_head_ends(loop_name: str, before: bytes, dripped: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(head_timeout=0.5)) as server:
            reader, writer = await server.connect()
            if before:
                writer.write(before)
                await reader.readuntil(b"\r\n\r\nhere")
            writer.write(b"GET /here HTTP/1.1\r\nX-Slow: ")
            dripping = asyncio.ensure_future(drip(writer, dripped)) if dripped else None
            assert await until_closed(reader) == b""
            if dripping is not None:
                dripping.cancel()
            writer.close()
            assert server.tally.limited == {"head_timeout": 1}
            assert await server.get() == b"HTTP/1.1 200 OK"

    play(loop_name, scenario)
    [line] = caplog.messages
    assert line == (
        "control port: a connection was closed: the head of its request took longer than 500ms"
        " (control.limits.head_timeout)"
    )


@pytest.mark.parametrize("path", [b"/here", b"/none"])
def test_a_slow_body_ends(loop_name: str, path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With the unknown path, the response is sent at once, and the body is discarded."""

    async def scenario() -> None:
        async with serving(ControlLimits(body_timeout=0.2)) as server:
            reader, writer = await server.connect()
            writer.write(POST.replace(b"/here", path))
            dripping = asyncio.ensure_future(drip(writer, b"a"))
            await until_closed(reader)
            dripping.cancel()
            writer.close()
            assert server.tally.limited == {"body_timeout": 1}

    play(loop_name, scenario)
    assert [record.levelno for record in caplog.records] == [logging.WARNING], caplog.text
    assert "the body of its request took longer than 200ms" in caplog.text


def test_a_client_that_does_not_read_ends(loop_name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(send_timeout=0.2)) as server:
            reader, writer = await server.connect()
            writer.transport.pause_reading()
            writer.write(GET.replace(b"/here", b"/large"))
            while not server.tally.limited:
                await asyncio.sleep(0.01)
            writer.transport.resume_reading()
            assert len(await until_closed(reader)) < LARGE
            writer.close()
            assert server.tally.limited == {"send_timeout": 1}

    play(loop_name, scenario)
    assert [record.levelno for record in caplog.records] == [logging.WARNING], caplog.text
    assert "in 200ms it read less than 16 KiB of its response" in caplog.text


@pytest.mark.slow
def test_a_client_that_reads_slowly_receives_everything(loop_name: str) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(send_timeout=1.0, idle_timeout=0.1)) as server:
            reader, writer = await server.connect()
            writer.write(GET.replace(b"/here", b"/large"))
            received = 0
            while received < LARGE:
                received += len(await reader.read(50_000))
                await asyncio.sleep(0.01)
            writer.close()
            assert "send_timeout" not in server.tally.limited

    play(loop_name, scenario)


def test_an_idle_connection_ends_and_is_not_logged(loop_name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(idle_timeout=0.5)) as server:
            reader, writer = await server.connect()
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"\r\n\r\nhere")
            assert await until_closed(reader) == b""
            writer.close()
            assert server.tally.limited == {"idle_timeout": 1}

    play(loop_name, scenario)
    assert caplog.messages == []


@pytest.mark.slow
def test_a_response_under_way_is_neither_idle_nor_closed_for_another(loop_name: str) -> None:
    async def scenario() -> None:
        limits = ControlLimits(connections=1, head_timeout=0.5, body_timeout=0.5, send_timeout=0.5, idle_timeout=0.5)
        async with serving(limits) as server:
            reader, writer = await server.connect()
            writer.write(GET.replace(b"/here", b"/stream"))
            await server.streaming.wait()
            assert await server.get() == b"", "refused: the only connection is not idle"
            await asyncio.sleep(1.0)  # longer than all limits
            server.go_on.set()
            await reader.readuntil(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
            writer.close()
            assert server.tally.limited["connections"] == 1

    play(loop_name, scenario)


def test_a_response_whose_end_waits_for_the_client_is_not_idle(loop_name: str) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(connections=1, send_timeout=30.0)) as server:
            reader, writer = await server.connect()
            writer.transport.pause_reading()
            writer.write(GET.replace(b"/here", b"/full"))
            while not server.sending or not server.sending[0].get_write_buffer_size():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert await server.get() == b"", "refused: the only connection is not idle"
            writer.transport.resume_reading()
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):
                assert (data := await reader.read(2**20))
                received += data
            writer.close()

    play(loop_name, scenario)


def test_the_longest_idle_connection_is_closed_for_a_new_one(loop_name: str) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(connections=3)) as server:
            clients = []
            for _ in range(3):
                clients.append(client := await server.connect())
                client[1].write(GET)
                await client[0].readuntil(b"\r\n\r\nhere")
            clients[0][1].write(GET)
            await clients[0][0].readuntil(b"\r\n\r\nhere")
            assert await server.get() == b"HTTP/1.1 200 OK"
            assert await until_closed(clients[1][0]) == b""
            for index in (0, 2):
                clients[index][1].write(GET)
                await clients[index][0].readuntil(b"\r\n\r\nhere")
            for _, writer in clients:
                writer.close()
            assert server.tally.limited == {"connections": 1}

    play(loop_name, scenario)


def test_one_address_cannot_take_all_connections(loop_name: str) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(connections=8, connections_per_address=2)) as server:
            other = await server.connect("127.0.0.2")
            silent = [await server.connect("127.0.0.3") for _ in range(4)]
            for reader, _ in silent[:2]:
                assert await until_closed(reader) == b""
            assert (server.tally.limited, server.tally.connections) == ({"connections_per_address": 2}, 3)
            other[1].write(GET)
            await other[0].readuntil(b"\r\n\r\nhere")
            for _, writer in (other, *silent):
                writer.close()

    play(loop_name, scenario)


def test_a_unix_socket_has_no_addresses_to_count(loop_name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = ControlLimits(connections=3, connections_per_address=1)
        async with serving(limits, Address(str(tmp_path / "control.sock"))) as server:
            clients = [await server.connect() for _ in range(3)]
            assert await server.get() == b"HTTP/1.1 200 OK"
            assert server.tally.limited == {"connections": 1}
            for _, writer in clients:
                writer.close()

    play(loop_name, scenario)


@pytest.mark.slow
def test_a_flood_takes_no_more_descriptors_than_allowed(loop_name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(ControlLimits(connections=20)) as server:
            before = len(os.listdir("/proc/self/fd"))
            clients = []
            for number in range(400):
                clients.append(await server.connect())
                clients[-1][1].write(GET[: number % len(GET)])
                if number % 50 == 0:
                    assert await server.get() == b"HTTP/1.1 200 OK"
            while server.tally.limited.total() < 380:
                await asyncio.sleep(0.01)
            assert server.tally.connections <= 20
            assert len(os.listdir("/proc/self/fd")) - before - len(clients) <= 25
            for _, writer in clients:
                writer.close()

    play(loop_name, scenario)
    assert len(caplog.records) <= 4, "one line, and later the number of others"
