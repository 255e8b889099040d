"""HTTP exchanges of many shapes, as raw bytes, and two scripted peers that send and record them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from chaosproxy.net.stream.connection import Connection
from tests.net.harness import send, turns, until

DATE = b"Tue, 15 Nov 1994 08:12:31 GMT"
DATE_PLUS_HOUR = b"Tue, 15 Nov 1994 09:12:31 GMT"


@dataclass(frozen=True)
class Message:
    """A request or response: its head, and the pieces of its body with their framing."""

    head: bytes
    pieces: tuple[tuple[str, bytes], ...] = ()
    """Pairs of a kind, "body" or "frame", and the bytes."""

    @property
    def raw(self) -> bytes:
        return self.head + b"".join(data for _, data in self.pieces)

    @property
    def body(self) -> bytes:
        return b"".join(data for kind, data in self.pieces if kind == "body")

    def cut(self, size: int) -> bytes:
        """Return the head, and the first `size` bytes of the body with their framing."""
        found = self.head
        for kind, data in self.pieces:
            found += data[:size] if kind == "body" else data
            size -= len(data) if kind == "body" else 0
            if size <= 0:
                break
        return found


def request(method: str, path: str, *fields: str, body: bytes = b"") -> Message:
    lines = [f"{method} {path} HTTP/1.1", "Host: x.test", "X-Old: 1", "Accept:*/*", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return Message(("\r\n".join(lines) + "\r\n\r\n").encode(), (("body", body),) if body else ())


def answer(status: str, *fields: str, body: bytes | None = b"") -> Message:
    """Return a response, with a Content-Length unless `body` is None."""
    lines = [f"HTTP/1.1 {status}", "Server:  test ", f"Date: {DATE.decode()}", "x-old: 1", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return Message(("\r\n".join(lines) + "\r\n\r\n").encode(), (("body", body),) if body else ())


def chunked(message: Message, *chunks: bytes, extension: bytes = b"", trailers: bytes = b"") -> Message:
    pieces: list[tuple[str, bytes]] = []
    for chunk in chunks:
        pieces += [("frame", b"%x%s\r\n" % (len(chunk), extension)), ("body", chunk), ("frame", b"\r\n")]
    head = message.head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    return Message(head, (*pieces, ("frame", b"0\r\n" + trailers + b"\r\n")))


OTHER = request("GET", "/other")
OTHER_ANSWER = answer("200 OK", body=b"another answer")
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
LARGE = bytes(range(256)) * 4096
SEVERAL_READS = LARGE[:300_000]
"""A little more than a loop reads at once (256 KiB), since http_corrupt takes about 1 µs per byte."""


@dataclass(frozen=True)
class Shape:
    """A request, with the path /hit if a fault is to act on it, and its response."""

    name: str
    request: Message
    answer: Message
    before: int = 0
    """The number of requests for /other in the same write, before it."""
    after: int = 0
    """The number of requests for /other in the same write, after it."""
    closes: bool = False
    """True if the server ends the response by closing the connection."""
    expects: bool = False
    """True if the client waits for 100 Continue before it sends the body."""
    early: bool = False
    """True if the server responds to the head alone; the client sends half of the body, and the rest after that."""


GET = request("GET", "/hit")
POST = request("POST", "/hit", body=b"0123456789abcdef")
OK = answer("200 OK", body=b"the answer's body")

SHAPES = (
    Shape("keep-alive", GET, OK),
    Shape("sized", POST, OK),
    Shape("pipelined", POST, OK, before=1, after=1),
    Shape("chunked-request", chunked(request("POST", "/hit"), b"01234567", b"89abcdef", extension=b";a=b"), OK),
    Shape(
        "chunked-response",
        GET,
        chunked(answer("200 OK", "Trailer: X-T", body=None), b"the an", b"swer's body", extension=b';n="v"',
                trailers=b"X-T: end\r\n"),
    ),
    Shape("close-delimited", GET, Message(answer("200 OK", body=None).head, (("body", b"the answer's body"),)),
          closes=True),
    Shape("head", request("HEAD", "/hit"), answer("200 OK", "Content-Length: 17", body=None)),
    Shape("204", GET, answer("204 No Content", body=None)),
    Shape("304", GET, answer("304 Not Modified", "Content-Length: 17", body=None)),
    Shape("expect", request("POST", "/hit", "Expect: 100-continue", body=b"0123456789abcdef"), OK, expects=True),
    Shape("early", POST, answer("413 Too Large", body=b"the answer's body"), early=True),
    Shape("large", request("POST", "/hit", body=SEVERAL_READS), answer("200 OK", body=SEVERAL_READS)),
)  # fmt: skip


def whole(raw: bytes, start: int) -> int | None:
    """Return the end of the request that begins at `start`, None if it is incomplete; without chaosproxy's parser."""
    end = raw.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    head, end = raw[start:end].lower(), end + 4
    if b"\r\ntransfer-encoding: chunked" in head:
        while True:
            line = raw.find(b"\r\n", end)
            if line < 0:
                return None
            size = int(raw[end:line].partition(b";")[0], 16)
            if not size:
                last = raw.find(b"\r\n\r\n", line)
                return last + 4 if last >= 0 else None
            end = line + 2 + size + 2
    _, found, length = head.partition(b"\r\ncontent-length: ")
    end += int(length.partition(b"\r\n")[0]) if found else 0
    return end if end <= len(raw) else None


class End:
    """One peer of a connection, which records all bytes it receives, and the end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.raw = b""
        self.end = ""
        """The kind of the end, `eof` or `reset`, after it has arrived."""
        self.sent = 0
        """The bytes that this peer has sent, as far as the kernel has accepted them."""
        self._was_reset = False
        """True if sending has met a reset: the kernel reports it once, and reading then ends as after a FIN."""
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while part := await loop.sock_recv(self.sock, 2**20):
                self.raw += part
                self._news.set()
            self.end = "reset" if self._was_reset else "eof"
        except OSError:
            self.end = "reset"
        self._news.set()

    async def until(self, so: Callable[[], bool]) -> bool:
        """Wait until a condition is true or the end has arrived; return whether the condition is true."""
        while not so() and not self.end:
            self._news.clear()
            await self._news.wait()
        return so()

    async def has(self, size: int) -> bool:
        return await self.until(lambda: len(self.raw) >= size)

    async def over(self) -> str:
        """Wait for the end, and return its kind."""
        await self.until(lambda: False)
        return self.end

    async def send(self, data: bytes) -> None:
        """Send data; ignore an error, which means that the other peer is gone."""
        try:
            await send(self.sock, data)
        except OSError as error:
            self._was_reset = isinstance(error, ConnectionResetError)  # after a FIN it would be a BrokenPipeError
            return
        self.sent += len(data)

    async def stop_reading(self) -> None:
        """Stop recording, so that other code can read from the socket."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def stop(self) -> None:
        await self.stop_reading()
        self.sock.close()


class Server(End):
    """Responds as the shape says: to /hit with its response, to all else with OTHER_ANSWER."""

    def __init__(self, sock: socket.socket, shape: Shape) -> None:
        super().__init__(sock)
        self._shape = shape
        self._place = self._answered = 0
        self._answering = asyncio.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        shape = self._shape
        while await self.until(lambda: b"\r\n\r\n" in self.raw[self._place :]):
            hit = self.raw[self._place :].split(b" ", 2)[1] == b"/hit"
            if hit and shape.expects:
                await self.send(INTERIM)
            if hit and shape.early:
                await self.send(shape.answer.raw)
            if not await self.until(lambda: whole(self.raw, self._place) is not None):
                break
            self._place = whole(self.raw, self._place) or 0
            if not hit:
                await self.send(OTHER_ANSWER.raw)
            elif not shape.early:
                await self.send(shape.answer.raw)
                if shape.closes:
                    self.sock.shutdown(socket.SHUT_WR)
            self._answered = self._place
            self._news.set()

    @property
    def is_idle(self) -> bool:
        """True if it has responded to everything it received."""
        return self._answered == len(self.raw)

    async def stop(self) -> None:
        self._answering.cancel()
        await asyncio.gather(self._answering, return_exceptions=True)
        await super().stop()


async def settled(connection: Connection, client: End, server: End) -> None:
    """Wait until the proxy has read all bytes that both peers have sent, and has forwarded what it does not hold."""
    await until(lambda: (connection.upstream.bytes, connection.downstream.bytes) == (client.sent, server.sent))
    await turns()


async def ask(client: End, shape: Shape, hears: bool = True) -> None:
    """Send the request as the shape says; wait for a response in between only if the client `hears` of one."""
    raw, head = shape.request.raw, len(shape.request.head)
    if shape.expects:
        await client.send(raw[:head])
        if hears:
            await client.has(1)
        if client.raw.startswith(INTERIM):
            await client.send(raw[head:])
    elif shape.early:
        half = head + len(shape.request.body) // 2
        await client.send(raw[:half])
        if hears:
            await client.has(len(shape.answer.head))
        await client.send(raw[half:])
    else:
        await client.send(OTHER.raw * shape.before + raw + OTHER.raw * shape.after)
