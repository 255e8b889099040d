"""Accepting: listening sockets, drained in batches, that back off when descriptors run out."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

from chaosproxy.model.address import Address
from chaosproxy.net.sockets import BACKLOG, bind_all, bound_address, hold_port

__all__ = ["Listener"]

Accepted = Callable[[socket.socket, object], None]
"""Takes over an accepted socket and its client's address, as the socket module gives it."""

_BATCH = 64
"""Accepts per wake-up, so that a flood of clients does not starve open connections."""
_RETRY = 0.25
"""Seconds to leave clients in the backlog when no descriptor is free."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

logger = logging.getLogger(__name__)


class Listener:
    """The bound sockets of one proxy: accepting, or refusing with the port kept."""

    def __init__(self, sockets: list[socket.socket], accepted: Accepted) -> None:
        self._loop = asyncio.get_running_loop()
        self._accepted = accepted
        self._sockets = sockets
        self._refusing = False
        self._starved = False
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self.addresses: list[Address] = [bound_address(sock) for sock in sockets]
        for sock in sockets:
            self._watch(sock)

    @classmethod
    async def bind(cls, address: Address, accepted: Accepted) -> Listener:
        """Listen on `address`.

        :raises CannotListen: with the system's reason.
        """
        return cls(await bind_all(address), accepted)

    def refuse(self) -> None:
        """Close the listening sockets, so that connecting fails with ECONNREFUSED; the ports stay ours."""
        if self._refusing:
            return
        self._refusing = True
        self._unwatch_all()
        held = [hold_port(sock) for sock in self._sockets]
        self._sockets = [sock for sock in held if sock is not None]

    def accept(self) -> None:
        """Take clients again on the same ports.

        :raises OSError: somebody else has taken a port that could not be held.
        """
        if not self._refusing:
            return
        held = {bound_address(sock): sock for sock in self._sockets}
        self._sockets = []
        for address in self.addresses:
            sock = held[address] if address in held else _bind_again(address)
            sock.listen(BACKLOG)
            self._sockets.append(sock)
            self._watch(sock)
        self._refusing = False

    def close(self) -> None:
        """Take no more clients and give the ports back."""
        self._unwatch_all()
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        for address in self.addresses:
            if address.is_unix and os.path.exists(address.host):
                os.unlink(address.host)

    def _watch(self, sock: socket.socket) -> None:
        self._retries.pop(sock, None)
        self._loop.add_reader(sock, self._drain, sock)

    def _unwatch_all(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        for handle in self._retries.values():
            handle.cancel()
        self._retries.clear()

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                client, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:  # gone before we took it
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._back_off(sock, error)
                return
            client.setblocking(False)
            self._accepted(client, address)
        if self._starved:
            self._starved = False
            logger.warning("accepting again on %s", bound_address(sock))

    def _back_off(self, sock: socket.socket, error: OSError) -> None:
        if not self._starved:
            self._starved = True
            logger.error(
                "cannot accept on %s: %s; clients wait in the backlog until descriptors are free",
                bound_address(sock),
                error.strerror,
            )
        self._loop.remove_reader(sock)
        self._retries[sock] = self._loop.call_later(_RETRY, self._watch, sock)


def _bind_again(address: Address) -> socket.socket:
    if address.is_unix:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(address.host):
            os.unlink(address.host)
        sock.bind(address.host)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
    sock.setblocking(False)
    return sock
