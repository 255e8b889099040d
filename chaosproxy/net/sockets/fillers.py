"""Keep the backlog of a listening socket full with a connection from this process, a filler."""

from __future__ import annotations

import logging
import socket

from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.sockets.binding import bound_address

__all__ = ["Fillers"]

logger = logging.getLogger(__name__)


class Fillers:
    """The fillers of one listener."""

    def __init__(self, descriptors: Descriptors) -> None:
        self._descriptors = descriptors
        self._open: list[socket.socket] = []
        self._addresses: set[object] = set()
        """The addresses of fillers that may still be in a backlog, and are not clients."""

    def fill(self, sock: socket.socket) -> None:
        """Fill an empty backlog: Linux then drops SYNs (tcp_conn_request), as if the host were unreachable.

        A backlog of 0 has room for one connection, which the filler takes. If a client is faster, it is
        connected and waits.
        """
        try:
            filler = socket.socket(sock.family, socket.SOCK_STREAM)
        except OSError as error:
            where = bound_address(sock)
            logger.error("cannot fill the backlog of %s, so one client can connect: %s", where, error.strerror)
            return
        filler.setblocking(False)
        filler.connect_ex(_connectable(sock.getsockname()))
        self._open.append(filler)
        self._descriptors.hold(1)
        self._addresses.add(filler.getsockname())

    def close(self) -> None:
        """Close all fillers; any still in a backlog are recognised when accepted."""
        for filler in self._open:
            try:
                filler.getpeername()
            except OSError:  # a client was faster, so the filler never connected
                self._addresses.discard(filler.getsockname())
            filler.close()
        self._descriptors.hold(-len(self._open))
        self._open.clear()

    def forget(self) -> None:
        """Recognise no closed filler any more, since the backlogs are gone."""
        self._addresses.clear()

    def recognise(self, address: object) -> bool:
        """Return whether an accepted connection is a filler. It is accepted once, so its address is forgotten."""
        if not self._addresses or address not in self._addresses:
            return False
        self._addresses.discard(address)
        return True

    def include(self, client: tuple[str, int]) -> bool:
        """Return whether this is the address of a filler."""
        return any(isinstance(one, tuple) and one[:2] == client for one in self._addresses)


def _connectable(name: tuple[object, ...]) -> tuple[object, ...]:
    """Return the address to connect to for a listening socket: loopback if it is bound to every interface."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return (loopback.get(str(name[0]), name[0]), *name[1:])
