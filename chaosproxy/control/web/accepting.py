"""Accept the clients of the control server, several per wake-up.

uvloop's own server accepts one client per iteration of the loop, which takes 5 to 20 ms while much data is
forwarded: behind 200 silent clients, a probe of /healthz waited for one to three seconds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from chaosproxy.tasks import TaskOwner

__all__ = ["Acceptor"]

_BATCH = 16
"""Accepts per wake-up (about 2 ms with the work that follows), so that a flood of clients holds up no traffic."""
_BACKLOG = 1024
"""Clients that wait to be accepted. With a full backlog, one waits 0.2 to 3 s until its TCP tries again."""
_RETRY = 0.25
"""Seconds after which it accepts again when no descriptor was free."""

logger = logging.getLogger(__name__)


class Acceptor:
    """Accepts clients on one listening socket from now on, and attaches a protocol to each."""

    def __init__(self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._protocol = protocol
        self._tasks = TaskOwner("control")
        self._retry: asyncio.TimerHandle | None = None
        self._out_of_descriptors = False
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self._start()

    async def close(self) -> None:
        """Accept no more clients, and close the listening socket."""
        self._loop.remove_reader(self._socket)
        if self._retry is not None:
            self._retry.cancel()
        self._socket.close()
        await self._tasks.end()

    def _start(self) -> None:
        self._retry = None
        self._loop.add_reader(self._socket, self._accept_batch)

    def _accept_batch(self) -> None:
        for _ in range(_BATCH):
            try:
                client, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:  # the client left before it was accepted
                continue
            except OSError as error:
                self._back_off(error)
                return
            client.setblocking(False)
            self._tasks.start(self._attach(client), "attach")
        self._out_of_descriptors = False

    async def _attach(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, client)
        except (OSError, asyncio.CancelledError):  # the client has left, or the server stops
            client.close()

    def _back_off(self, error: OSError) -> None:
        if not self._out_of_descriptors:
            self._out_of_descriptors = True
            logger.error("the control port cannot accept clients: %s; it tries again", error.strerror)
        self._loop.remove_reader(self._socket)
        self._retry = self._loop.call_later(_RETRY, self._start)
