"""Hold a change at the place where it waits while it binds its sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from chaosproxy.model import Address
from chaosproxy.net.sockets import listener
from chaosproxy.net.sockets.binding import bind_all


class Resolving:
    """Holds each change that binds `localhost`, until the test continues it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = asyncio.Event()
        self._continued = asyncio.Event()
        monkeypatch.setattr(listener, "bind_all", self._bind_all)

    async def _bind_all(self, address: Address, **how: bool) -> list[socket.socket]:
        if address.host == "localhost":
            self.begun.set()
            await self._continued.wait()
        return await bind_all(address, **how)

    def go_on(self) -> None:
        self._continued.set()


def free_address() -> tuple[str, int]:
    """Return an address of this machine that no socket is bound to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host, port = sock.getsockname()
        return host, port
