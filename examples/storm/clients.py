"""Users of the server in server.py: python3 clients.py [--back-off] [SECONDS] [PORT]

Twenty new users per second ask once each. One that has no response after half a second tries again, at once or with
`--back-off` after a growing random pause, five times at most.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import suppress

USERS_PER_S = 20
TIMEOUT_S = 0.5
ATTEMPTS = 5
PAUSES_S = (1.0, 4.0, 16.0, 32.0)
"""With `--back-off`: the longest pause after each attempt."""


async def attempt(port: int, user: int) -> bool:
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /user/{user} HTTP/1.1\r\nHost: storm\r\n\r\n".encode())
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def user(number: int, port: int, backs_off: bool, seen: Counter[str]) -> None:
    for tried in range(ATTEMPTS):
        seen["attempts"] += 1
        if await attempt(port, number):
            seen["served"] += 1
            return
        if backs_off and tried < len(PAUSES_S):
            await asyncio.sleep(random.uniform(0, PAUSES_S[tried]))
    seen["disappointed"] += 1


async def main(backs_off: bool, seconds: float = 60.0, port: int = 18001) -> None:
    seen: Counter[str] = Counter()
    began = time.monotonic()
    async with asyncio.TaskGroup() as users:
        for number in range(round(seconds * USERS_PER_S)):
            await asyncio.sleep(max(0.0, began + number / USERS_PER_S - time.monotonic()))
            users.create_task(user(number, port, backs_off, seen))
            if number % (5 * USERS_PER_S) == 5 * USERS_PER_S - 1:
                counts = ", ".join(f"{seen[word]} {word}" for word in ("attempts", "served", "disappointed"))
                print(f"{time.monotonic() - began:5.1f} s  {counts}", flush=True)
                seen.clear()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--back-off"]
    asyncio.run(main(len(words) < len(sys.argv) - 1, *map(float, words[:1]), *map(int, words[1:2])))
