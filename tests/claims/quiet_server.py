"""A web server that answers in many harmless ways: python quiet_server.py PORT

It polls, streams and is slow; see `main` for the paths.
"""

from __future__ import annotations

import asyncio
import random
import sys

from aiohttp import web

SLOW_S = 0.6
POLL_S = 1.0
EVENT_S = 0.2


async def fast(request: web.Request) -> web.Response:
    return web.Response(text="fast")


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(SLOW_S)
    return web.Response(text="slow and right")


async def sometimes(request: web.Request) -> web.Response:
    await asyncio.sleep(random.uniform(0.05, 1.5))
    return web.Response(text="later or sooner")


async def poll(request: web.Request) -> web.Response:
    await asyncio.sleep(POLL_S)
    return web.Response(status=204)


async def never(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response(status=204)


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(int(request.query.get("most", "1000"))):
        await response.write(b"data: %d\n\n" % number)
        await asyncio.sleep(EVENT_S)
    return response


async def chat(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)

    async def push() -> None:
        while not socket.closed:
            await asyncio.sleep(EVENT_S)
            await socket.send_str("news")

    pushing = asyncio.create_task(push())
    async for message in socket:
        if message.type == web.WSMsgType.TEXT:
            await socket.send_str(f"you said {message.data}")
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)
    return socket


def main() -> None:
    application = web.Application()
    paths = {
        "/fast": fast, "/slow": slow, "/sometimes": sometimes, "/poll": poll, "/never": never, "/events": events,
        "/chat": chat,
    }  # fmt: skip
    application.add_routes([web.get(path, handler) for path, handler in paths.items()])
    # Idle connections are closed after a second, as many servers do, only sooner.
    web.run_app(
        application, host="127.0.0.1", port=int(sys.argv[1]), keepalive_timeout=1.0, shutdown_timeout=0.2, print=None
    )


if __name__ == "__main__":
    main()
