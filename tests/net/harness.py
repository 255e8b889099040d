"""A running supervisor with real sockets on both sides, and checks that nothing is left at the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvloop

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.events import Event
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.binding import is_refused_half_close
from chaosproxy.net.stream.connection import Connection
from chaosproxy.seed import Seed
from tests.net.building import proxy

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def run(loop_name: str, scenario: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scenario on that loop; fail if a connection, task, descriptor or error is left afterwards."""

    async def played() -> None:
        unhandled: list[str] = []
        collect_unhandled(unhandled)
        descriptors = open_descriptors()
        stage = Stage()
        try:
            async with asyncio.timeout(60):
                await scenario(stage)
        finally:
            await stage.close()
        assert unhandled == [], unhandled[:3]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for _ in range(1000):  # loops close descriptors one or two iterations later
            if open_descriptors() <= descriptors:
                break
            await asyncio.sleep(0.01)
        assert open_descriptors() <= descriptors, "descriptors leaked"

    errors = Errors()
    logging.getLogger().addHandler(errors)
    gc.freeze()  # skip objects of earlier tests: a worker of the whole suite has half a million
    try:
        with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
            runner.run(played())
        gc.collect()
        alive = [one for one in gc.get_objects() if isinstance(one, Connection)]
    finally:
        gc.unfreeze()
        logging.getLogger().removeHandler(errors)
    assert errors.lines == []
    assert not alive, "connections are still alive"


def collect_unhandled(into: list[str]) -> None:
    """Collect the exceptions of the running loop that no code has caught."""
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: None if is_refused_half_close(context) else into.append(repr(context))
    )


def open_descriptors() -> int:
    """Count open sockets, timers and pipes, without the spare descriptor that libuv keeps on /dev/null."""
    count = 0
    for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}") != "/dev/null"
    return count


class Stage:
    """The supervisor, events and sockets of one scenario."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(Seed(7))
        self.events: list[Event] = []
        self.supervisor.bus.subscribe(self._on_event)
        self._changed = asyncio.Event()
        self._sockets: list[socket.socket] = []

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def event(self, kind: str) -> Event:
        """Wait for the first event of that kind, which may have happened already."""
        return await self.event_that(lambda event: event.kind == kind)

    async def event_that(self, fits: Callable[[Event], bool]) -> Event:
        """Wait for the first event that fits, which may have happened already."""
        while True:
            for event in self.events:
                if fits(event):
                    return event
            self._changed.clear()
            await self._changed.wait()

    async def until_event_makes(self, true: Callable[[], bool]) -> None:
        """Wait until a condition is true, which an event makes true."""
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def proxy_to(self, upstream: str, **settings: object) -> Proxy:
        return await self.supervisor.add_proxy(proxy("proxy", upstream=upstream, **settings), "test")

    def listener(self, buffer: int | None = None) -> socket.socket:
        """Return a server's listening socket; the scenario accepts its clients with `accept`."""
        sock = self.keep(socket.socket())
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.bind(("127.0.0.1", 0))
        sock.listen(1000)
        return sock

    async def accept(self, listener: socket.socket) -> socket.socket:
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        return self.keep(sock)

    async def connect(self, to: Proxy, buffer: int | None = None) -> socket.socket:
        family = socket.AF_INET6 if ":" in address_of(to)[0] else socket.AF_INET
        sock = self.keep(socket.socket(family))
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(sock, address_of(to))
        return sock

    async def pair(self, **settings: object) -> tuple[Proxy, socket.socket, socket.socket]:
        """Return a proxy, a client's socket, and the server's end of that client's connection."""
        listener = self.listener()
        running = await self.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", **settings)
        client = await self.connect(running)
        server = await self.accept(listener)
        await self.event("connection_opened")
        return running, client, server

    def keep(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    def open_sockets(self) -> int:
        """Count the open sockets of the scenario itself."""
        return sum(sock.fileno() != -1 for sock in self._sockets)

    async def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        await self.supervisor.close()


def address_of(running: Proxy) -> tuple[str, int]:
    address = running.listening_on[0]
    assert address.port is not None
    return address.host, address.port


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive(sock: socket.socket, size: int) -> bytes:
    """Receive exactly `size` bytes, or fewer if the stream ends first."""
    parts, missing = [], size
    while missing:
        part = await asyncio.get_running_loop().sock_recv(sock, min(missing, 2**18))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


async def until(true: Callable[[], bool], interval: float = 0.001) -> None:
    """Wait for a condition that no event announces; `run` ends a wait that takes too long."""
    while not true():
        await asyncio.sleep(interval)


async def taken(running: Proxy, upstream: int = 0, downstream: int = 0) -> None:
    """Wait until a proxy with one connection has read that many bytes, and its faults have acted on them.

    Bytes that no fault holds are written in the turn of the loop in which they are read, and loopback delivers them
    at once. So `is_empty` of the receiver's socket then proves that they are held or dropped.
    """
    [connection] = running.connections.values()
    await until(lambda: connection.upstream.bytes >= upstream and connection.downstream.bytes >= downstream)


async def turns(count: int = 5) -> None:
    """Give the loop that many turns, in which it reads everything that has arrived."""
    for _ in range(count):
        await asyncio.sleep(0)


def is_empty(sock: socket.socket) -> bool:
    """Return whether no unread data and no end has arrived. Call it only after an event that would come later."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def can_send(sock: socket.socket) -> bool:
    """Return whether the kernel accepts more data now."""
    waiting = select.poll()
    waiting.register(sock, select.POLLOUT)
    return bool(waiting.poll(0))


def close_with_reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@asynccontextmanager
async def timed() -> AsyncIterator[Callable[[], float]]:
    """Measure the seconds since the block began."""
    started = time.monotonic()  # uvloop's clock has a resolution of 1 ms
    yield lambda: time.monotonic() - started
