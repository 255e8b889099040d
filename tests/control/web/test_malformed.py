"""Requests that are not HTTP, or whose bodies are broken: a 400, one line in the log, and no byte of theirs in it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control.serving import Api, serving
from tests.net.harness import LOOPS

SECRET = "s3cr3t-t0k3n"
HEAD = f"Host: localhost\r\nAuthorization: Bearer {SECRET}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
PROXY = b'{"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}'
GZIPPED = gzip.compress(PROXY, mtime=0)
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def post(fields: bytes, body: bytes, path: bytes = b"/v1/proxies") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HEAD + JSON + fields + b"\r\n" + body


def coded(coding: bytes, body: bytes) -> bytes:
    return post(b"Content-Encoding: " + coding + b"\r\nContent-Length: %d\r\n" % len(body), body)


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


class Raw:
    """Sends bytes to one server on a loop of its own, and keeps what the loop and the log report."""

    def __init__(self, loop_name: str) -> None:
        self._runner = asyncio.Runner(loop_factory=LOOPS[loop_name])
        self._stack = AsyncExitStack()
        self.unhandled: list[object] = []
        self._runner.get_loop().set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.api: Api = self._runner.run(self._stack.enter_async_context(serving()))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def ask(self, *pieces: bytes) -> bytes:
        """Send the pieces, each in a turn of its own; return the response."""
        return self._runner.run(self._exchange(pieces, answered=True))

    def poke(self, *pieces: bytes, leave: bool = False) -> bytes:
        """Send the pieces, which may need no response, and leave; return what arrived of one."""
        return self._runner.run(self._exchange(pieces, answered=False, leave=leave))

    async def _exchange(self, pieces: tuple[bytes, ...], answered: bool, leave: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.api.port)
        received = b""
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await self._let_the_server_run()
                if answered:
                    received = head = await reader.readuntil(b"\r\n\r\n")
                    if (size := re.search(rb"Content-Length: (\d+)", head)) and not pieces[0].startswith(b"HEAD"):
                        received += await reader.readexactly(int(size[1]))
                elif leave:
                    writer.transport.abort()
                else:
                    with contextlib.suppress(OSError, RuntimeError):  # the server has closed
                        writer.write_eof()
                    received = await reader.read()
            writer.close()
            await self._let_the_server_run()
        return received

    async def _let_the_server_run(self) -> None:
        async with self.api.session.get(f"http://127.0.0.1:{self.api.port}/healthz") as response:
            assert response.status == 200


@pytest.fixture(scope="module", params=LOOPS)
def raw(request: pytest.FixtureRequest) -> Iterator[Raw]:
    here = Raw(request.param)
    yield here
    here.close()


@pytest.fixture
def log(raw: Raw, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, of which no line may have a traceback or the secret; nor may the loop report anything."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert_quiet(raw, caplog)


def assert_quiet(raw: Raw, log: pytest.LogCaptureFixture) -> None:
    assert raw.unhandled == []
    for record in log.records:
        assert record.levelno <= logging.WARNING, record.getMessage()
        assert record.exc_info is None
        assert SECRET not in record.getMessage() + str(record.__dict__.get("fields"))


def test_an_unknown_expectation_is_a_problem_that_names_the_known_one(raw: Raw) -> None:
    answer = raw.ask(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"Expect: x\r\n\r\n")
    assert answer.split()[1] == b"417"
    assert b"the value of Expect is not known; send 100-continue" in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization " + SECRET.encode() + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"X\x00Y: " + SECRET.encode() + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + SECRET.encode() * 2000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET.encode(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://[/healthz HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n" + HEAD + b"\r\n",
        post(b"Content-Length: -4\r\n", b""),
        post(CHUNKED + b"Content-Length: 4\r\n", b"0\r\n\r\n"),
        post(CHUNKED, b"ZZ\r\n" + SECRET.encode()),
    ],
)
def test_a_malformed_request_is_a_problem_without_its_bytes(
    raw: Raw, log: pytest.LogCaptureFixture, request_: bytes
) -> None:
    head, _, body = raw.ask(request_).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"application/problem+json" in head
    assert b'"code": "bad-request"' in body
    assert SECRET.encode() not in body


def test_the_log_has_one_line_for_many_malformed_requests(caplog: pytest.LogCaptureFixture) -> None:
    raw = Raw("asyncio")
    try:
        for _ in range(10):
            raw.ask(b"GET / HTTP/1.1\r\n" + HEAD + b"bad " + SECRET.encode() + b"\r\n\r\n")
        [record] = caplog.records
        assert record.getMessage().startswith("control port: a malformed request was refused: ")
        assert record.__dict__["fields"] == {"client": "127.0.0.1"}
    finally:
        raw.close()
    assert_quiet(raw, caplog)
    assert caplog.messages[1:] == ["control port: malformed request: suppressed 9 more in 10 s"]


@pytest.mark.parametrize("path", [b"/v1/proxies", b"/v1/heal", b"/none"])
def test_a_malformed_chunk_is_a_400_at_once(raw: Raw, log: pytest.LogCaptureFixture, path: bytes) -> None:
    """The handler waits for the body already, or has discarded it."""
    received = raw.ask(post(CHUNKED, b"3\r\n{  \r\n", path), b"ZZ\r\n" + SECRET.encode())
    assert received.split()[1] == (b"404" if path == b"/none" else b"400")


@pytest.mark.parametrize("path", [b"/v1/proxies", b"/v1/heal", b"/none"])
@pytest.mark.parametrize("leave", [True, False], ids=["reset", "end-of-stream"])
@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n", CHUNKED])
def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_defect(
    raw: Raw, log: pytest.LogCaptureFixture, path: bytes, leave: bool, framing: bytes
) -> None:
    raw.poke(post(framing, b"3\r\n{  ", path), b" ", leave=leave)
    assert [line for line in log.messages if "malformed" not in line and "Using selector" not in line] == []


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", GZIPPED), (b"x-gzip", GZIPPED), (b"GZIP", GZIPPED),
        (b"deflate", zlib.compress(PROXY)), (b"deflate", raw_deflate(PROXY)), (b"identity", PROXY),
    ],
)  # fmt: skip
def test_a_compressed_body_is_read(raw: Raw, log: pytest.LogCaptureFixture, coding: bytes, body: bytes) -> None:
    assert raw.ask(coded(coding, body)).split()[1] == b"201"
    assert raw.ask(b"DELETE /v1/proxies/db HTTP/1.1\r\n" + HEAD + b"\r\n").split()[1] == b"204"


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        (b"gzip", b"not gzip!", b"400"),
        (b"gzip", GZIPPED[:-4], b"400"),
        (b"gzip", GZIPPED + GZIPPED, b"400"),
        (b"gzip", zlib.compress(PROXY), b"400"),
        (b"deflate", b"not deflate!", b"400"),
        (b"deflate", GZIPPED, b"400"),
        (b"br", PROXY, b"415"),
        (b"gzip, gzip", gzip.compress(GZIPPED, mtime=0), b"415"),
        (b"gzip", gzip.compress(bytes(100_000_000), 9, mtime=0), b"413"),
        (b"deflate", zlib.compress(b" " * (2**20 + 1)), b"413"),
    ],
)
def test_a_body_that_cannot_be_decompressed_is_refused(
    raw: Raw, log: pytest.LogCaptureFixture, coding: bytes, body: bytes, status: bytes
) -> None:
    assert raw.ask(coded(coding, body)).split()[1] == status


@pytest.mark.parametrize(
    "accept",
    [
        b"application/openmetrics-text;version=x", b"application/openmetrics-text;version=1.x.0",
        b"text/plain;version=;escaping=", b"text/plain;version=1.0.x;q=\xff", b"application/openmetrics-text;version",
        b"application/openmetrics-text; version=99999999999999999999.0.0", b",;=", b"*/*;version=x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_any_accept_gets_metrics(raw: Raw, log: pytest.LogCaptureFixture, accept: bytes, method: bytes) -> None:
    fields = HEAD + b"Accept: " + accept + b"\r\n"
    head, _, body = raw.ask(method + b" /metrics HTTP/1.1\r\n" + fields + b"\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Type: text/plain; version=0.0.4" in head or b"openmetrics-text; version=1.0.0" in head
    assert (b"chaosproxy_build_info" in body) == (method == b"GET")


METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"FOO", b""])
TARGETS = st.sampled_from([
    b"/v1/proxies", b"/v1/heal", b"/metrics", b"/healthz", b"/v1/status?", b"/v1/connections?proxy=%00", b"/%1b%ff",
    b"http://localhost/healthz", b"http://evil.com/", b"http://[/", b"//", b"*", b"/v1/proxies/%2e%2e/x", b"/\xff", b"",
])  # fmt: skip
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/0.9", b"XTTP/1.1"])
FIELDS = st.sampled_from([
    b"Host: localhost", b"Host: [::1].evil.com", b"Content-Length: 2", b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Type: application/json",
    b"Content-Type: \xff;;=\"", b"Content-Type: application/json; charset=utf-7", b"Content-Encoding: gzip",
    b"Content-Encoding: \xff", b"Expect: x", b"Expect: 100-continue", b"Origin: http://[", b"Sec-Fetch-Site: \xff",
    b"Accept: application/openmetrics-text;version=x", b"Accept: \xff", b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Connection: close", b"Authorization: Basic \xff", b"Cookie: a=\x01", b"If-Modified-Since: x",
    b"Range: bytes=x", b"Forwarded: for=\xff;;", b": ", b"X: " + b"y" * 9000, b" folded", b"X\x00: y",
])  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\nZZ\r\n", b"0\r\nX", gzip.compress(b"{}", mtime=0), b"\xff"]
)
REQUEST = st.builds(
    lambda method, target, version, fields, body: (
        b"%b %b %b\r\n%b%b\r\n\r\n%b" % (method, target, version, HEAD, b"\r\n".join(fields), body)
    ),
    METHODS, TARGETS, VERSIONS, st.lists(FIELDS, max_size=4), BODIES,
)  # fmt: skip
REQUESTS = st.lists(REQUEST | st.binary(max_size=8), min_size=1, max_size=3).map(b"".join)


@pytest.mark.slow
@settings(max_examples=400)
@given(request_=REQUESTS, cut=st.integers(0, 250), leave=st.booleans())
def test_any_bytes_are_answered_or_refused_quietly(raw: Raw, request_: bytes, cut: int, leave: bool) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        received = raw.poke(request_[:cut], request_[cut:], leave=leave)
    finally:
        logging.getLogger().removeHandler(handler)
    assert received == b"" or received.startswith(b"HTTP/")
    assert not received.split(b"\r\n")[0].split(b" ")[1:2] or received.split(b" ")[1] < b"500"
    assert raw.unhandled == []
    for record in records:
        assert record.levelno <= logging.WARNING and record.exc_info is None, record.getMessage()
        assert SECRET not in record.getMessage()
