"""Serve the application on the control address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from chaosproxy.errors import CannotListen
from chaosproxy.model import Address

__all__ = ["listening"]

_SHUTDOWN_S = 1.0
"""Seconds that requests have to complete after the server has stopped."""


@asynccontextmanager
async def listening(app: web.Application, address: Address) -> AsyncIterator[Address]:
    """Serve `app` until the block ends; yield the address with its real port.

    :raises CannotListen: the address could not be bound.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = (
            web.UnixSite(runner, address.host)
            if address.port is None
            else web.TCPSite(runner, address.host, address.port)
        )
        try:
            await site.start()
        except OSError as error:
            raise CannotListen.because(f"{address} for the control API", error) from None
        yield address if address.is_unix else replace(address, port=runner.addresses[0][1])
    finally:
        await runner.cleanup()
