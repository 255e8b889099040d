"""Requests and clients that leave make no cyclic garbage: it would wait for a full collection, which stops the loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter

import pytest
import uvloop

from chaosproxy.net.kernel.sockopts import abort_with_reset
from tests.control.serving import serving

TIMES = 20
BODY = b'{"type": "latency", "delay": "10ms"}'
FAULT = b"PUT /v1/proxies/db/faults/f HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
REQUESTS = {
    "a request": b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a body": FAULT + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    "a wrong body": FAULT + b"Content-Length: 3\r\n\r\n{{}",
    "not found": b"GET /v1/proxies/none HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "malformed": b"\x00\x01 garbage\r\n\r\n",
    "half a body": FAULT + b"Content-Length: 1000\r\n\r\n{",
    "half a head": b"GET /v1",
    "nothing": b"",
}


async def ask(port: int, request: bytes, resets: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if request and not resets:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):  # the response to half a request comes later than this
                await reader.read(100)
    if resets:
        abort_with_reset(writer.transport)
    writer.close()


@pytest.mark.parametrize("resets", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("kind", [*REQUESTS])
def test_a_client_leaves_no_cyclic_garbage(kind: str, resets: bool) -> None:
    async def scenario() -> None:
        async with serving() as api:
            wish = {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
            assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for _ in range(TIMES):
                    await ask(api.port, REQUESTS[kind], resets)
                assert (await api.ask("GET", "/healthz")).status == 200
                await asyncio.sleep(0)
                gc.collect()
                ours = Counter(type(one).__name__ for one in gc.garbage)
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
            assert ours["ControlConnection"] <= 1, ours  # the latest may still be open

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
