"""No call about faults waits for a peer, not even for a hundred that read nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import cast

import pytest

from tests.control.serving import Api, serving
from tests.cpu import cpu_time

CONNECTIONS = 100
FLOOD = b"x" * (256 * 1024)
LIMIT_S = 0.1
"""CPU time of a call, which other processes on the machine do not lengthen."""
WAITED_S = 30.0
"""A call that waited for peers that never read would take for ever, not this long."""


@asynccontextmanager
async def flooding_server() -> AsyncIterator[int]:
    """The port of a server that sends much and reads nothing."""
    transports: list[asyncio.Transport] = []

    class Flooder(asyncio.Protocol):
        def connection_made(self, made: asyncio.BaseTransport) -> None:
            transport = cast(asyncio.Transport, made)  # uvloop's is no subclass
            transport.pause_reading()
            transport.write(FLOOD)
            transports.append(transport)

    server = await asyncio.get_running_loop().create_server(Flooder, "127.0.0.1", 0, backlog=CONNECTIONS)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for transport in transports:
            transport.abort()


async def timed(api: Api, method: str, path: str, body: object = None) -> float:
    with cpu_time() as used:
        async with asyncio.timeout(WAITED_S):
            answer = await api.ask(method, path, body)
    assert answer.status < 300, answer
    return used.seconds


async def until_all_hold(api: Api) -> None:
    proxy = api.supervisor.proxy("db")
    async with asyncio.timeout(60):
        while min(proxy.registry.held("downstream"), proxy.registry.held("upstream")) < CONNECTIONS * len(FLOOD):
            await asyncio.sleep(0.01)  # what is held is a count, and nobody tells when it grows


@pytest.mark.parametrize("faults", [["latency"], ["latency", "bandwidth", "slicer"]])
def test_a_hundred_peers_that_do_not_read_delay_no_change(faults: list[str]) -> None:
    parsing = {
        "latency": {"type": "latency", "direction": "both", "delay": "1h"},
        "bandwidth": {"type": "bandwidth", "direction": "both", "rate": "1kB/s"},
        "slicer": {"type": "slicer", "direction": "both", "size": "1kB"},
    }

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(serving())
            clients = stack.enter_context(ExitStack())
            upstream = f"127.0.0.1:{await stack.enter_async_context(flooding_server())}"
            wish = {
                "name": "db", "listen": "127.0.0.1:0", "upstream": upstream,
                "faults": [{"name": name, **parsing[name]} for name in faults],
            }  # fmt: skip
            await api.ask("POST", "/v1/proxies", wish)
            port = api.supervisor.proxy("db").listening_on[0].port
            for _ in range(CONNECTIONS):
                client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(client, FLOOD)
            await until_all_hold(api)

            here = "/v1/proxies/db/faults"
            took = {
                "add": await timed(api, "PUT", f"{here}/more", parsing["latency"]),
                "change": await timed(api, "PUT", f"{here}/latency", {**parsing["latency"], "delay": "2h"}),
                "remove": await timed(api, "DELETE", f"{here}/more"),
                "heal": await timed(api, "POST", "/v1/heal"),
            }
            assert max(took.values()) < LIMIT_S, took

    asyncio.run(scenario())
