"""Every message fault on exchanges of every shape: the exact bytes that both sides receive, and the end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from chaosproxy.events import ConnectionClosed, ConnectionOpened, Event, MessageTouched
from chaosproxy.http.faults import MESSAGE_FAULT_TYPES
from chaosproxy.net.proxy import Proxy
from tests.net.harness import Stage, run
from tests.net.http_shapes import (
    DATE,
    DATE_PLUS_HOUR,
    INTERIM,
    OTHER,
    OTHER_ANSWER,
    SHAPES,
    End,
    Message,
    Server,
    Shape,
    ask,
    settled,
)  # fmt: skip

PATIENCE = 30.0
"""Seconds after which a connection counts as hanging."""


@dataclass(frozen=True)
class Outcome:
    """The expected outcome of an exchange."""

    asked: bytes | Message | None
    """The request that the server receives: a Message stands for the same with another body, None for no request."""
    answered: bytes | Message | None
    """The response that the client receives, in the same way."""
    end: str = "usable"
    """The state of the client's connection afterwards: `usable`, `silent`, `eof` or `reset`; several if any may be."""
    status: int = 0
    """The class of status under which the exchange is counted."""
    after: float = 0.0
    """The shortest time that the exchange takes, in seconds."""
    asked_again: int = 0
    """The number of copies that the server receives on other connections."""
    detail: str = ""
    """The detail of the event at the connection's end."""
    touched: int = 1
    at_once: bool = False
    """True if the connection may end before earlier requests have their responses."""


def usual(shape: Shape, **changes: object) -> Outcome:
    """Return the outcome without a fault, with some changes."""
    status = int(shape.answer.head[9:10])
    plain = Outcome(shape.request.raw, shape.answer.raw, "eof" if shape.closes else "usable", status)
    return replace(plain, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    name: str
    settings: dict[str, object]
    outcome: Callable[[Shape], Outcome]
    proxy: dict[str, object] = field(default_factory=dict)


def delayed(shape: Shape) -> Outcome:
    return usual(shape, after=0.05)


def delayed_body(shape: Shape) -> Outcome:
    return usual(shape, after=0.05 if shape.answer.body else 0.0)


ABORTED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Type: text/plain; charset=utf-8\r\n"


def aborted(shape: Shape) -> Outcome:
    body = b"" if shape.name == "head" else b"injected"
    closing = b"Connection: close\r\n" if shape.expects else b""
    answered = ABORTED + b"Content-Length: 8\r\n" + closing + b"\r\n" + body
    end, detail = ("eof", "closed by fault it") if shape.expects else ("usable", "")
    return Outcome(None, answered, end, 5, detail=detail)


def request_dropped(shape: Shape) -> Outcome:
    return Outcome(None, None, "silent", detail="client gave up, unanswered for fault it")


def response_dropped(shape: Shape) -> Outcome:
    return Outcome(shape.request.raw, None, "silent", detail="client gave up, unanswered for fault it")


def response_dropped_and_closed(shape: Shape) -> Outcome:
    return Outcome(shape.request.raw, None, "eof", detail="closed by fault it", after=0.05)


def duplicated(shape: Shape) -> Outcome:
    copies = 2 if shape.name != "large" else 0  # a large request is longer than `hold_limit`
    return usual(shape, asked_again=copies)


def truncated(then: str, size: int | None = None, share: float | None = None) -> Callable[[Shape], Outcome]:
    def outcome(shape: Shape) -> Outcome:
        length = len(shape.answer.body)
        left = size if size is not None else int(length * (share or 0))
        if left >= length:
            return usual(shape)
        verb = "closed" if then == "eof" else "reset"
        # A client that is reset may lose bytes that it has not read.
        asked = None if shape.early else shape.request.raw
        return Outcome(asked, shape.answer.cut(left), then, 0, detail=f"{verb} by fault it")

    return outcome


def request_truncated(then: str, size: int) -> Callable[[Shape], Outcome]:
    def outcome(shape: Shape) -> Outcome:
        if size >= len(shape.request.body):
            return usual(shape)
        verb = "closed" if then == "eof" else "reset"
        end = "eof reset" if shape.name == "large" else then  # closed while the client still sends
        return Outcome(shape.request.cut(size), None, end, 0, detail=f"{verb} by fault it", at_once=True)

    return outcome


def corrupted(shape: Shape) -> Outcome:
    return usual(shape, answered=shape.answer)


def request_corrupted(shape: Shape) -> Outcome:
    return usual(shape, asked=shape.request)


def edited(head: bytes) -> bytes:
    changed = head.replace(b"X-Old: 1\r\n", b"X-Old: two\r\n").replace(b"x-old: 1\r\n", b"x-old: two\r\n")
    return changed.replace(b"Server:  test \r\n", b"")[:-2] + b"X-New: n\r\n\r\n"


def headers_changed(shape: Shape) -> Outcome:
    return usual(shape, answered=edited(shape.answer.head) + shape.answer.raw[len(shape.answer.head) :])


def request_headers_changed(shape: Shape) -> Outcome:
    return usual(shape, asked=edited(shape.request.head) + shape.request.raw[len(shape.request.head) :])


def skewed(shape: Shape) -> Outcome:
    return usual(shape, answered=shape.answer.raw.replace(DATE, DATE_PLUS_HOUR))


def reset(size: int | None) -> Callable[[Shape], Outcome]:
    def outcome(shape: Shape) -> Outcome:
        if size is not None and size and size >= len(shape.answer.body):
            return usual(shape)
        answered = None if size is None else shape.answer.cut(size) if size else shape.answer.head
        asked = None if shape.early else shape.request.raw
        status = 0 if shape.answer.body else int(shape.answer.head[9:10])  # the response is complete before the reset
        return Outcome(asked, answered, "reset", 0 if size is None else status, detail="reset by fault it")

    return outcome


def slowed(shape: Shape) -> Outcome:
    return usual(shape, after=len(shape.answer.body) / 20e6 if shape.name == "large" else 0.0)


def request_slowed(shape: Shape) -> Outcome:
    return usual(shape, after=len(shape.request.body) / 20e6 if shape.name == "large" else 0.0)


EDITS = {"set": {"X-Old": "two"}, "add": {"X-New": "n"}, "remove": ["server"]}
CASES = (
    Case("delay", {"type": "http_delay", "delay": "50ms"}, delayed),
    Case("delay-response", {"type": "http_delay", "delay": "50ms", "on": "response"}, delayed),
    Case("delay-body", {"type": "http_delay", "delay": "50ms", "on": "body"}, delayed_body),
    Case("abort", {"type": "http_abort", "retry_after": "1500ms", "body": "injected"}, aborted),
    Case("drop-request", {"type": "http_drop_request"}, request_dropped),
    Case("drop-response", {"type": "http_drop_response"}, response_dropped),
    Case("drop-response-close", {"type": "http_drop_response", "close_after": "50ms"}, response_dropped_and_closed),
    Case("duplicate", {"type": "http_duplicate", "copies": 2}, duplicated, {"hold_limit": "1000B"}),
    Case("truncate-share", {"type": "http_truncate", "share": "50%"}, truncated("eof", share=0.5)),
    Case("truncate-all", {"type": "http_truncate", "share": "100%"}, truncated("eof", share=1.0)),
    Case("truncate-size", {"type": "http_truncate", "size": "9B"}, truncated("eof", size=9)),
    Case("truncate-equal", {"type": "http_truncate", "size": "17B"}, truncated("eof", size=17)),
    Case("truncate-reset", {"type": "http_truncate", "size": "9B", "then": "reset"}, truncated("reset", size=9)),
    Case(
        "truncate-request",
        {"type": "http_truncate", "size": "9B", "direction": "upstream"},
        request_truncated("eof", size=9),
    ),
    Case(
        "truncate-request-reset",
        {"type": "http_truncate", "size": "9B", "direction": "upstream", "then": "reset"},
        request_truncated("reset", size=9),
    ),
    Case("corrupt", {"type": "http_corrupt", "rate": "100%"}, corrupted),
    Case("corrupt-request", {"type": "http_corrupt", "rate": "100%", "on": "request"}, request_corrupted),
    Case("slow-body", {"type": "http_slow_body", "rate": "20MB/s"}, slowed),
    Case("slow-request-body", {"type": "http_slow_body", "rate": "20MB/s", "on": "request"}, request_slowed),
    Case("headers", {"type": "http_headers", **EDITS}, headers_changed),
    Case("request-headers", {"type": "http_headers", "on": "request", **EDITS}, request_headers_changed),
    Case("clock-skew", {"type": "http_clock_skew", "offset": "1h"}, skewed),
    Case("reset", {"type": "http_reset"}, reset(None)),
    Case("reset-head", {"type": "http_reset", "size": "0B"}, reset(0)),
    Case("reset-size", {"type": "http_reset", "size": "9B"}, reset(9)),
    Case("reset-equal", {"type": "http_reset", "size": "17B"}, reset(17)),
)  # fmt: skip


def test_every_type_is_examined() -> None:
    assert {case.settings["type"] for case in CASES} == set(MESSAGE_FAULT_TYPES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_both_sides_see(case: Case, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        port = listener.getsockname()[1]
        faults = {"it": {**case.settings, "match": {"path": "/hit"}}}
        settings = {"protocol": "http", "routes": ["/hit", "/other"], "faults": faults, **case.proxy}
        proxy = await stage.proxy_to(f"127.0.0.1:{port}", **settings)
        for number, shape in enumerate(SHAPES, start=1):
            client = End(await stage.connect(proxy))
            server = Server(await stage.accept(listener), shape)
            try:
                async with asyncio.timeout(PATIENCE):
                    await Meeting(stage, proxy, number, listener, client, server, shape).judge(case.outcome(shape))
            except TimeoutError:
                pytest.fail(f"{shape.name}: hangs; client {client.raw[:300]!r}, server {server.raw[:300]!r}")

    run(loop_name, scenario)


@dataclass
class Meeting:
    """One connection, from its first request to its end."""

    stage: Stage
    proxy: Proxy
    number: int
    listener: socket.socket
    client: End
    server: Server
    shape: Shape

    async def judge(self, outcome: Outcome) -> None:
        name = self.shape.name
        before = self.counted()
        await self.stage.event_that(lambda one: isinstance(one, ConnectionOpened) and one.connection == self.number)
        began = time.monotonic()
        hears = outcome.answered is not None or (self.shape.expects and outcome.asked is not None)
        await ask(self.client, self.shape, hears)
        answered = await self._answered(outcome)
        took = time.monotonic() - began
        assert took >= outcome.after, name
        self._compare(answered, outcome.answered, f"{name}: the client")
        for _ in range(outcome.asked_again):
            copy = Server(await self.stage.accept(self.listener), self.shape)
            await copy.has(len(self.shape.request.raw))
            assert copy.raw == self.shape.request.raw, name
            await copy.over()
            assert copy.end == "eof", name
            await copy.stop()
        await self._see_the_end(outcome)
        assert [one - other for one, other in zip(self.counted(), before, strict=True)] == [
            outcome.touched, *(int(outcome.status == status) for status in range(6)),
        ], name  # fmt: skip
        touched = [
            (one.fault, one.path, one.exchange)
            for one in self.stage.events
            if isinstance(one, MessageTouched) and one.connection == self.number
        ]
        assert touched == [("it", "/hit", 1 + self.shape.before)], name

    async def _answered(self, outcome: Outcome) -> bytes:
        """Wait for everything that the client is to receive, and return the response to the request for /hit."""
        client, shape = self.client, self.shape
        ahead = OTHER_ANSWER.raw * shape.before + (INTERIM if shape.expects and outcome.asked is not None else b"")
        expected = outcome.answered or b""
        size = len(expected.raw if isinstance(expected, Message) else expected)
        behind = OTHER_ANSWER.raw * shape.after if outcome.end == "usable" else b""
        if outcome.at_once and shape.before:
            assert await client.over() in outcome.end.split() and ahead.startswith(client.raw), shape.name
            return b""
        assert await client.has(len(ahead) + size + len(behind)), f"{shape.name}: {client.raw!r}"
        if outcome.end == "silent":
            await self._silence(outcome)
        elif outcome.end != "usable":
            assert await client.over() in outcome.end.split(), shape.name
        assert client.raw.startswith(ahead)
        assert client.raw.endswith(behind)
        return client.raw[len(ahead) : len(client.raw) - len(behind)]

    async def _silence(self, outcome: Outcome) -> None:
        """Check that the client receives nothing more, even after another request and after its end-of-stream."""
        client, server, shape = self.client, self.server, self.shape
        size, proxied = len(client.raw), self.proxy.connections[self.number]
        await client.send(OTHER.raw)
        if outcome.asked is not None:
            assert await server.until(lambda: server.raw.endswith(OTHER.raw * (shape.after + 1)) and server.is_idle)
        await settled(proxied, client, server)
        assert (len(client.raw), client.end) == (size, ""), shape.name
        client.sock.shutdown(socket.SHUT_WR)
        assert await client.over() == "eof", shape.name
        assert len(client.raw) == size, shape.name

    def _compare(self, found: bytes, expected: bytes | Message | None, whose: str) -> None:
        if not isinstance(expected, Message):
            assert found == (expected or b""), whose
            return
        assert found.startswith(expected.head), whose
        place = len(expected.head)
        for kind, data in expected.pieces:
            piece = found[place : place + len(data)]
            if kind == "frame":
                assert piece == data, whose
            else:
                assert len(piece) == len(data) and all(a != b for a, b in zip(piece, data, strict=True)), whose
            place += len(data)
        assert place == len(found), whose

    async def _see_the_end(self, outcome: Outcome) -> None:
        client, server, shape = self.client, self.server, self.shape
        behind = OTHER.raw * shape.after
        if outcome.end == "usable":
            size = len(client.raw)
            await client.send(OTHER.raw)
            await client.has(size + len(OTHER_ANSWER.raw))
            assert client.raw[size:] == OTHER_ANSWER.raw, shape.name
            assert await server.until(lambda: server.raw.endswith(behind + OTHER.raw))
            behind += OTHER.raw
        elif outcome.end == "silent" and outcome.asked is not None:
            behind += OTHER.raw  # `_silence` has sent it
            assert await server.until(lambda: server.raw.endswith(behind))
        await client.stop()
        await server.over()
        if outcome.asked is not None:
            ahead = OTHER.raw * shape.before
            assert server.raw.startswith(ahead)
            if outcome.end in ("usable", "silent"):
                assert server.raw.endswith(behind)
                self._compare(server.raw[len(ahead) : len(server.raw) - len(behind)], outcome.asked, shape.name)
            else:  # later requests may or may not arrive before the end
                asked = outcome.asked if isinstance(outcome.asked, bytes) else b""
                assert server.raw[len(ahead) :].startswith(asked), shape.name
        elif not shape.early:
            assert self.shape.request.head not in server.raw
        await server.stop()
        closed = await self.closed()
        if outcome.detail:
            cause = "client" if outcome.end == "silent" else "injected"
            assert (closed.cause, closed.detail) == (cause, outcome.detail), shape.name
        else:
            assert closed.cause in ("client", "server"), shape.name

    async def closed(self) -> ConnectionClosed:
        def found(event: Event) -> bool:
            return isinstance(event, ConnectionClosed) and event.connection == self.number

        event = await self.stage.event_that(found)
        assert isinstance(event, ConnectionClosed)
        return event

    def counted(self) -> list[int]:
        """Return the number of messages that the fault acted on, and of the exchanges for /hit by class of status."""
        statuses = [0] * 6
        for (_, route), tally in self.proxy.tally.routes.items():
            if route == "/hit":
                statuses = [one + other for one, other in zip(statuses, tally.statuses, strict=True)]
        return [self.proxy.fault_tallies()["it"].messages, *statuses]
