"""A server with one worker and a queue: python3 server.py [PORT]

It answers each request after 20 ms of work, one after the other, so at most 50 per second. It does not notice that a
client has left: like most servers, it answers all the same. If 100 requests wait, it refuses others with 503.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

WORK_S = 0.02
LONGEST_QUEUE = 100
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n"


async def main(port: int = 8001) -> None:
    queue: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue(LONGEST_QUEUE)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                try:
                    queue.put_nowait(writer)
                except asyncio.QueueFull:
                    writer.write(BUSY)
        writer.close()

    async def work() -> None:
        while True:
            writer = await queue.get()
            await asyncio.sleep(WORK_S)
            with suppress(OSError):
                writer.write(OK)

    async with await asyncio.start_server(accept, "127.0.0.1", port):
        await work()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:2])))
