"""Serve the application on the control address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from chaosproxy.control.web.admission import ControlTally
from chaosproxy.control.web.connection import ControlPort
from chaosproxy.errors import CannotListen
from chaosproxy.model import Address, ControlLimits

__all__ = ["listening"]

_BACKLOG = 128
_SHUTDOWN_S = 1.0
"""Seconds that requests have to complete after the server has stopped."""


@asynccontextmanager
async def listening(
    app: web.Application, address: Address, limits: ControlLimits | None = None, tally: ControlTally | None = None
) -> AsyncIterator[Address]:
    """Serve `app` until the block ends; yield the address with its real port. The server counts in `tally`.

    :raises CannotListen: the address could not be bound.
    """
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    assert runner.server is not None
    port = ControlPort(runner.server, limits or ControlLimits(), tally or ControlTally())
    try:
        server = await _listen(port, address)
        try:
            yield address if address.is_unix else replace(address, port=server.sockets[0].getsockname()[1])
        finally:
            server.close()
    finally:
        await runner.cleanup()
        port.close()


async def _listen(port: ControlPort, address: Address) -> asyncio.Server:
    try:
        if address.port is None:
            return await port.loop.create_unix_server(port, address.host, backlog=_BACKLOG)
        return await port.loop.create_server(port, address.host, address.port, backlog=_BACKLOG)
    except OSError as error:
        raise CannotListen.because(f"{address} for the control API", error) from None
