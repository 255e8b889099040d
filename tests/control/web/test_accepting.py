"""Many clients that connect at once: each is accepted soon, whatever else the loop does."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import cast

import pytest

from chaosproxy.control.web import accepting
from chaosproxy.control.web.accepting import Acceptor
from tests.net.harness import LOOPS

CROWD = 200

pytestmark = pytest.mark.parametrize("loop_name", LOOPS)


class Greeting(asyncio.Protocol):
    """Greets its client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)  # uvloop's transports have the methods, not the class
        made.write(b"hello")
        made.close()


def test_a_client_behind_a_crowd_waits_for_few_iterations(loop_name: str) -> None:
    async def scenario() -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        acceptor = Acceptor(listener, Greeting)
        clients = [socket.create_connection(listener.getsockname(), 20) for _ in range(CROWD)]  # the loop stands still
        clients[-1].setblocking(False)
        iterations = 0
        async with asyncio.timeout(30):
            last = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(clients[-1], 100))
            while not last.done():
                iterations += 1
                await asyncio.sleep(0)
        assert last.result() == b"hello"
        for client in clients:  # until the server has closed each
            client.setblocking(False)
            while await asyncio.get_running_loop().sock_recv(client, 100):
                pass
            client.close()
        await acceptor.close()
        return iterations

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        assert runner.run(scenario()) < CROWD / 2


class Exhausted:
    """A listening socket that has a client, but no descriptor for it at first."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self._sock, self._failures = sock, failures

    def accept(self) -> tuple[socket.socket, object]:
        if self._failures:
            self._failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


def test_without_descriptors_it_tries_again(
    loop_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "_RETRY", 0.01)

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        acceptor = Acceptor(Exhausted(listener, 3), Greeting)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b"hello"
        writer.close()
        await acceptor.close()
        assert listener.fileno() == -1

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(scenario())
    assert caplog.messages == ["the control port cannot accept clients: Too many open files; it tries again"]
