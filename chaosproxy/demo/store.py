"""A key-value store with a line protocol; it runs behind the proxies of the demo.

    GET key        VALUE text | MISSING
    SET key text   OK | READONLY (on a replica)
    FOLLOW         SET key text … (every earlier and every later write)

A replica follows its primary over a separate connection, and supports only GET and FOLLOW.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaosproxy.tasks import TaskOwner

__all__ = ["Store", "primary", "replica"]

_MAX_LINE = 4096


class Store:
    """One server with its data."""

    def __init__(self, read_only: bool) -> None:
        self.data: dict[str, str] = {}
        self.port = 0
        self._read_only = read_only
        self._followers: set[asyncio.StreamWriter] = set()
        self._clients: dict[asyncio.StreamWriter, asyncio.Task[object]] = {}

    def set(self, key: str, text: str) -> None:
        """Store `text` under `key` and send it to every follower."""
        self.data[key] = text
        for follower in self._followers:
            follower.write(f"SET {key} {text}\n".encode())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Store]:
        """Listen on a free loopback port until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_MAX_LINE)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._clients:
                writer.transport.abort()
            # Wait until each has seen its end-of-stream; the event loop would log the cancellation of a remaining task.
            await asyncio.gather(*self._clients.values())
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio.start_server runs this in a task"
        self._clients[writer] = task
        try:
            # A line that is too long (ValueError) and a lost client both end the connection.
            with contextlib.suppress(ConnectionError, ValueError):
                while line := await reader.readline():
                    self._respond(line.decode(errors="replace").strip(), writer)
                    await writer.drain()
        finally:
            del self._clients[writer]
            self._followers.discard(writer)
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):  # retrieve the error, which asyncio may log otherwise
                await writer.wait_closed()

    def _respond(self, line: str, writer: asyncio.StreamWriter) -> None:
        match line.split(" ", 2):
            case ["GET", key] if key in self.data:
                writer.write(f"VALUE {self.data[key]}\n".encode())
            case ["GET", _]:
                writer.write(b"MISSING\n")
            case ["SET", _, _] if self._read_only:
                writer.write(b"READONLY\n")
            case ["SET", key, text]:
                self.set(key, text)
                writer.write(b"OK\n")
            case ["FOLLOW"]:
                self._followers.add(writer)
                for key, text in self.data.items():
                    writer.write(f"SET {key} {text}\n".encode())
            case _:
                writer.write(b"ERROR give GET key, SET key text or FOLLOW\n")


@asynccontextmanager
async def primary() -> AsyncIterator[Store]:
    """Run a store that accepts writes."""
    async with Store(read_only=False).serving() as store:
        yield store


@asynccontextmanager
async def replica(of: Store) -> AsyncIterator[Store]:
    """Run a store that follows `of`, after copying its data."""
    owner = TaskOwner("replica")
    async with Store(read_only=True).serving() as store:
        reader, writer = await asyncio.open_connection("127.0.0.1", of.port)
        writer.write(b"FOLLOW\n")
        for _ in range(len(of.data)):
            _apply(store, await reader.readline())
        owner.start(_follow(store, reader), "follow")
        try:
            yield store
        finally:
            await owner.end()
            writer.transport.abort()


async def _follow(store: Store, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):  # the primary has gone: keep the data
        while line := await reader.readline():
            _apply(store, line)


def _apply(store: Store, line: bytes) -> None:
    match line.decode().strip().split(" ", 2):
        case ["SET", key, text]:
            store.set(key, text)
