"""Traffic through the proxies: connections whose every byte is checked, others that may break, and HTTP clients."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

from tests.soak.world import World

__all__ = ["Stop", "checked", "http_client", "unchecked"]

_STREAM = Random(1).randbytes(2**20 + 7)
"""The bytes that a checked connection sends, again and again from a place of its own."""
_WINDOW = 192 * 1024
"""Bytes that may be on their way."""
_END_S = 120.0

_ENDED = (asyncio.IncompleteReadError, asyncio.LimitOverrunError)

Stop = asyncio.Event


def _bytes_at(place: int, size: int) -> bytes:
    place %= len(_STREAM)
    return (_STREAM * 2)[place : place + size]


async def checked(world: World, proxy: str, number: int, stop: Stop) -> None:
    """Send a known stream until `stop`, and check that it comes back whole, in order and unchanged."""
    dice = Random(f"checked {proxy} {number}")
    offset = dice.randrange(len(_STREAM))
    reader, writer = await world.connect(proxy)
    name = f"{proxy}, connection {number}{_from(writer)}"
    sent = received = 0
    room = asyncio.Event()

    async def send() -> None:
        nonlocal sent
        while not stop.is_set():
            size = int(2 ** dice.uniform(0, 15))
            while sent - received > _WINDOW - size and not stop.is_set():
                room.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(room.wait(), 0.2)
            writer.write(_bytes_at(offset + sent, size))
            sent += size
            await writer.drain()
            await asyncio.sleep(dice.expovariate(1 / 0.3))
        if writer.can_write_eof():
            writer.write_eof()
            return
        while received < sent:  # TLS has no half-close
            room.clear()
            await room.wait()
        writer.close()

    sending = asyncio.create_task(send())
    try:
        while True:
            data = await asyncio.wait_for(reader.read(65536), _END_S)
            if data != _bytes_at(offset + received, len(data)):
                world.findings.damaged.append(f"{name}: other bytes at {received}")
                return
            received += len(data)
            world.findings.checked_bytes += len(data)
            room.set()
            if not data:
                break
        await sending
        if received != sent:
            world.findings.damaged.append(f"{name}: {received} of {sent} bytes came back")
    except (OSError, TimeoutError, RuntimeError) as error:
        world.findings.damaged.append(f"{name}: {error!r} after {received} of {sent} bytes")
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError, RuntimeError):
            await sending
        writer.close()


def _from(writer: asyncio.StreamWriter) -> str:
    """Return the address by which the log names this client; empty for a unix socket."""
    address = writer.get_extra_info("sockname")
    return f" from {address[0]}:{address[1]}" if isinstance(address, tuple) else ""


async def unchecked(world: World, proxy: str, number: int, stop: Stop) -> None:
    """Send and receive through faults that break connections; connect again whenever one has ended."""
    dice = Random(f"unchecked {proxy} {number}")
    while not stop.is_set():
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):  # uvloop raises it for a closed transport
            async with asyncio.timeout(dice.uniform(0.5, 5)):
                reader, writer = await world.connect(proxy)
                try:
                    while not stop.is_set():
                        writer.write(bytes(int(2 ** dice.uniform(0, 16))))
                        await writer.drain()
                        await reader.read(65536)
                        await asyncio.sleep(dice.expovariate(1 / 0.2))
                finally:
                    _leave(writer, dice)
        await asyncio.sleep(dice.uniform(0.01, 0.3))


def _leave(writer: asyncio.StreamWriter, dice: Random) -> None:
    if dice.random() < 0.5:
        writer.transport.abort()
    else:
        writer.close()


async def http_client(world: World, proxy: str, number: int, stop: Stop) -> None:
    """Request bodies of random sizes on connections that are kept alive until one fails."""
    dice = Random(f"http {proxy} {number}")
    while not stop.is_set():
        with contextlib.suppress(OSError, TimeoutError, RuntimeError, ValueError, *_ENDED):
            async with asyncio.timeout(dice.uniform(1, 5)):
                reader, writer = await world.connect(proxy)
                try:
                    while not stop.is_set():
                        path = f"{dice.choice(['/a', '/b', '/c'])}?{int(2 ** dice.uniform(0, 18))}"
                        writer.write(f"GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode())
                        head = await reader.readuntil(b"\r\n\r\n")
                        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                        await reader.readexactly(int(length or 0))
                        await asyncio.sleep(dice.expovariate(1 / 0.1))
                finally:
                    _leave(writer, dice)
        await asyncio.sleep(dice.uniform(0.01, 0.2))
