"""Wait for the connections of proxies that end, and abort those that do not end in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from chaosproxy.events import Bus
from chaosproxy.net.proxy import Proxy

__all__ = ["end_all"]

_CLOSE_TIMEOUT = 1.0
"""Seconds that connections have to end before they are aborted."""


async def end_all(proxies: Sequence[Proxy], bus: Bus) -> None:
    """Return when every connection of these proxies, which are closed already, has ended or is aborted."""
    one_closed = asyncio.Event()
    unsubscribe = bus.subscribe(lambda event: one_closed.set())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            while any(proxy.connections for proxy in proxies):
                one_closed.clear()
                await one_closed.wait()
    unsubscribe()
    for proxy in proxies:
        for connection in list(proxy.connections.values()):
            connection.abort()
