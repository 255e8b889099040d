"""Serve the application on sockets that the caller has bound to the control address."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from chaosproxy.control.web.accepting import Acceptor
from chaosproxy.control.web.admission import ControlTally
from chaosproxy.control.web.connection import ControlPort
from chaosproxy.model import ControlLimits

__all__ = ["listening"]

_SHUTDOWN_S = 1.0
"""Seconds that requests have to complete after the server has stopped."""


@asynccontextmanager
async def listening(
    app: web.Application,
    sockets: Iterable[socket.socket],
    limits: ControlLimits | None = None,
    tally: ControlTally | None = None,
) -> AsyncIterator[None]:
    """Serve `app` on bound sockets until the block ends, and close them. The server counts in `tally`.

    The caller binds them: aiohttp would delete any socket at the path of a unix socket, even one in use.
    """
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    assert runner.server is not None
    port = ControlPort(runner.server, limits or ControlLimits(), tally or ControlTally())
    try:
        async with AsyncExitStack() as acceptors:
            for sock in sockets:
                acceptors.push_async_callback(Acceptor(sock, port).close)
            yield
    finally:
        await runner.cleanup()
        port.close()
