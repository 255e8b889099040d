"""Bad clients of the control port: floods, slow ones, ones that do not read, nonsense, costly requests."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

from tests.control.hostile_requests import REQUESTS
from tests.soak.traffic import Stop
from tests.soak.world import World

__all__ = ["abuse"]

_HEADS = (
    b"GET /healthz HTTP/1.1\r\nHost: [::1].evil.example\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /v1/proxies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n{",
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/openmetrics-text;version=x\r\n\r\n",
    b"POST /v1/heal HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50,
)


async def abuse(world: World, seed: int, number: int, stop: Stop) -> None:
    """Be one bad client after the other, until `stop`, from an address of its own."""
    dice = Random(f"abuse {seed} {number}")
    ways = (_slow, _unread, _nonsense, _costly, _costly, _costly, _crowd)
    while not stop.is_set():
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(dice.uniform(1, 15)):
                await dice.choice(ways)(world, dice, f"127.0.0.{number + 2}")
        await asyncio.sleep(dice.uniform(0.01, 0.5))


@contextlib.asynccontextmanager
async def _connected(world: World, address: str):  # type: ignore[no-untyped-def]  # tests are not type-checked
    reader, writer = await asyncio.open_connection("127.0.0.1", world.control, local_addr=(address, 0))
    world.findings.abused += 1
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _slow(world: World, dice: Random, address: str) -> None:
    """Send a request byte by byte."""
    async with _connected(world, address) as (_, writer):
        for byte in dice.choice(_HEADS):
            writer.write(bytes([byte]))
            await asyncio.sleep(dice.uniform(0.05, 0.5))


async def _unread(world: World, dice: Random, address: str) -> None:
    """Request large answers, and read none of them."""
    async with _connected(world, address) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # streams have no public way to stop reading
        writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 200)
        await asyncio.sleep(5)


async def _nonsense(world: World, dice: Random, address: str) -> None:
    """Send bytes that are no request, or half of one, and leave."""
    async with _connected(world, address) as (_, writer):
        head = dice.choice(_HEADS)
        writer.write(head if dice.random() < 0.5 else dice.randbytes(dice.randint(1, 4000)))
        await asyncio.sleep(dice.uniform(0, 1))


async def _costly(world: World, dice: Random, address: str) -> None:
    """Send a legal request that costs much, and read the response, or leave."""
    async with _connected(world, address) as (reader, writer):
        # The proxy that is measured stays untouched.
        writer.write(dice.choice(REQUESTS).on_the_wire().replace(b'"*"', b'"*-*"'))
        await writer.drain()
        if dice.random() < 0.2:
            await asyncio.sleep(dice.uniform(0, 0.1))
            return
        while await reader.read(65536):
            pass


async def _crowd(world: World, dice: Random, address: str) -> None:
    """Open many connections, more than the limit of one address at times, and say nothing."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(dice.randint(10, 300)):
            await stack.enter_async_context(_connected(world, address))
        await asyncio.sleep(dice.uniform(0.1, 3))
