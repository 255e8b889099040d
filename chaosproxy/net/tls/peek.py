"""The protocol of a socket before its handshake: incoming bytes are kept, and a task can wait for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from chaosproxy.endings import How

__all__ = ["Peek", "PeerLeft"]

_LIMIT = 64 * 1024
"""Bytes after which reading pauses, so that TCP slows the peer."""


class PeerLeft(Exception):
    """The peer ended its stream, or its connection; the message says which."""


class Peek(asyncio.Protocol):
    """Keeps the bytes of one socket until another protocol replaces it with `set_protocol`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        """None before the socket is connected, and after it is gone."""
        self.data = b""
        """The bytes received so far."""
        self.ended = False
        """True after the peer's end-of-stream."""
        self.lost = False
        """True after the socket is gone."""
        self._error: Exception | None = None
        self.changed = asyncio.Event()
        """Set when something arrives, or when a condition that a task waits for may have changed otherwise."""

    @property
    def how_left(self) -> How:
        """How the peer ended: with an end-of-stream, or else with a reset."""
        return "fin" if self.ended else "reset"

    async def accept(self, client: socket.socket) -> asyncio.Transport:
        """Attach an accepted socket.

        :raises OSError: the client is gone already.
        """
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: self, client)
        return transport

    async def wait_for(self, condition: Callable[[], bool], within: float | None = None) -> bool:
        """Wait until `condition()` is true; return False if it is not after `within` seconds.

        :raises PeerLeft: the peer left before.
        """
        try:
            async with asyncio.timeout(within):
                while not condition():
                    self.raise_if_left()
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    def raise_if_left(self) -> None:
        """
        :raises PeerLeft: the peer has left.
        """
        if self.lost:
            raise PeerLeft("left" if self._error is None else "reset the connection")
        if self.ended:
            raise PeerLeft("closed the connection")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports have the methods, not the class

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= _LIMIT and self.transport is not None:
            self.transport.pause_reading()
        self.changed.set()

    def eof_received(self) -> bool:
        self.ended = True
        self.changed.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self._error, self.transport = True, exc, None
        self.changed.set()
