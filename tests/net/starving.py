"""A proxy with almost no descriptors, run in a process of its own, which prints the log.

    python -m tests.net.starving uvloop
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import sys
from collections.abc import Iterator
from unittest import mock

from chaosproxy.net.sockets import listener
from tests.net.harness import LOOPS, Stage, address_of, receive, send, until


async def main() -> None:
    stage = Stage()
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    proxy = await stage.proxy_to(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    first = await stage.connect(proxy)
    await send(first, b"x")
    await receive(first, 1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    spare = []
    with contextlib.suppress(OSError):
        while True:
            spare.append(os.open("/dev/null", os.O_RDONLY))
    os.close(spare.pop())  # one descriptor for the client that connects, and none for accepting it
    with failing_accepts() as failed:
        waiting = await stage.connect(proxy)
        await send(waiting, b"y")
        async with asyncio.timeout(30):
            await until(lambda: len(failed) >= 4)  # the log must show only the first
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    for descriptor in spare:
        os.close(descriptor)
    async with asyncio.timeout(30):
        assert await receive(waiting, 1) == b"y", "the waiting client was not served"
    assert address_of(proxy)
    server.close()
    await stage.close()


@contextlib.contextmanager
def failing_accepts() -> Iterator[list[OSError]]:
    """Collect the errors of all calls of accept that found no descriptor."""
    failed: list[OSError] = []
    accept = listener.accept

    def collecting(sock: socket.socket, family: socket.AddressFamily) -> tuple[socket.socket, object]:
        try:
            return accept(sock, family)
        except OSError as error:
            if error.errno == errno.EMFILE:
                failed.append(error)
            raise

    with mock.patch.object(listener, "accept", collecting):
        yield failed


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(main())
