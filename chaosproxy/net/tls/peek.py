"""A client's or server's socket before anybody speaks with it: what comes is kept, and can be waited for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

__all__ = ["Peek", "PeerLeft"]

_KEPT = 64 * 1024
"""Bytes after which the peer is slowed by TCP itself."""


class PeerLeft(Exception):
    """The peer ended its stream, or its connection; the message says which."""


class Peek(asyncio.Protocol):
    """The protocol of such a socket; whoever takes over swaps it with `set_protocol`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        """None before it is there, and after it is gone."""
        self.data = b""
        """What has come so far."""
        self.ended = False
        """The peer has ended its stream."""
        self.lost = False
        self._error: Exception | None = None
        self.news = asyncio.Event()
        """Something came, or something else may have changed."""

    async def accept(self, client: socket.socket) -> asyncio.Transport:
        """Attach an accepted socket.

        :raises OSError: the client is gone already.
        """
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: self, client)
        return transport

    async def until(self, true: Callable[[], bool], within: float | None = None) -> bool:
        """Wait until `true()`, or `within` seconds have passed; answers which.

        :raises PeerLeft: the peer is gone before.
        """
        try:
            async with asyncio.timeout(within):
                while not true():
                    if self.lost:
                        raise PeerLeft("left" if self._error is None else "reset the connection")
                    if self.ended:
                        raise PeerLeft("closed the connection")
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return False
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's have its methods, not its class

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= _KEPT and self.transport is not None:
            self.transport.pause_reading()
        self.news.set()

    def eof_received(self) -> bool:
        self.ended = True
        self.news.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self._error, self.transport = True, exc, None
        self.news.set()
