"""Dial an upstream: try the addresses of its name in turn, within a timeout."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from functools import partial

import aiohappyeyeballs

from chaosproxy.endings import Cause, Ending, How
from chaosproxy.errors import Code
from chaosproxy.model.address import Address, is_literal
from chaosproxy.net.kernel.buffers import prepare_socket
from chaosproxy.net.sockets.hops import MakeSocket, plain_socket
from chaosproxy.net.sockets.names import look_up
from chaosproxy.net.timer.deadline import Deadline
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["DialError", "dial", "sized"]

_ATTEMPT_DELAY = 0.25
"""Seconds without a response before the next address is tried too (RFC 8305 §5)."""


_BY_SERVER = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOENT}
"""Errors that the server's host has sent, or that show that nothing listens on a unix socket."""


class DialError(Exception):
    """The connection to the upstream failed."""

    def __init__(
        self, upstream: Address, reason: str, by: Cause = "network", how: How = "timeout", code: Code | None = None
    ) -> None:
        """`code` is given if chaosproxy itself has ended the dial; the reason is then a sentence of its own."""
        super().__init__(reason)
        self.upstream = str(upstream)
        self.reason = reason
        """The reason, in words."""
        self.code = code or ""
        error = reason if code else f"upstream {upstream} not reached: {reason}"
        self.ending = Ending(by, how, error=error, during="dial")
        """The ending of the connection that needed the upstream."""


async def dial(
    address: Address,
    within: float,
    scheduler: Scheduler,
    make_protocol: Callable[[], asyncio.Protocol],
    make_socket: MakeSocket | None = None,
) -> None:
    """Connect to `address`; the protocol that `make_protocol` returns gets the transport.

    `make_socket` makes the sockets to dial with; without it, the loop makes them.

    :raises DialError: refused, not resolved, unreachable, or no response within `within` seconds.
    """
    deadline = Deadline(scheduler, within)
    try:
        await _connect(address, make_protocol, make_socket)
    except asyncio.CancelledError as error:
        if deadline.alone_cancelled:
            raise DialError(address, f"no response within {within:g} s") from error
        raise
    except OSError as error:
        reason = _reason(error)
        if error.errno in _BY_SERVER:
            raise DialError(address, reason, "server", "reset") from error
        raise DialError(address, reason) from error
    finally:
        deadline.close()


async def _connect(
    address: Address, make_protocol: Callable[[], asyncio.Protocol], make_socket: MakeSocket | None
) -> None:
    loop = asyncio.get_running_loop()
    if address.port is None or is_literal(address.host):
        if make_socket is not None:
            await _connect_with(make_socket, address, make_protocol)
        elif address.port is None:  # a unix socket
            await loop.create_unix_connection(make_protocol, address.host)
        else:
            await loop.create_connection(make_protocol, address.host, address.port)
        return
    infos = await look_up(address.host, address.port)
    sock = await aiohappyeyeballs.start_connection(
        infos,
        happy_eyeballs_delay=_ATTEMPT_DELAY,
        interleave=1,
        loop=loop,
        socket_factory=None if make_socket is None else lambda info: make_socket(info[0]),
    )
    if make_socket is not None:
        sock = plain_socket(sock)
    try:
        transport, _ = await loop.create_connection(make_protocol, sock=sock)
    except BaseException:
        sock.close()
        raise
    _leave_to(transport, sock)


async def _connect_with(
    make_socket: MakeSocket, address: Address, make_protocol: Callable[[], asyncio.Protocol]
) -> None:
    """Connect a socket of `make_socket` to an IP address or a unix socket."""
    loop = asyncio.get_running_loop()
    unix = address.port is None
    sock = make_socket(socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        where = address.host if unix else (address.host, address.port)
        if not _is_connected_at_once(sock, where):
            try:
                await loop.sock_connect(sock, where)
            except OSError as error:
                if error.errno != errno.EISCONN:  # it has connected in between
                    raise
        sock = plain_socket(sock)
        if unix:
            transport, _ = await loop.create_unix_connection(make_protocol, sock=sock)
        else:
            transport, _ = await loop.create_connection(make_protocol, sock=sock)
    except BaseException:
        sock.close()
        raise
    _leave_to(transport, sock)


def _leave_to(transport: asyncio.BaseTransport, sock: socket.socket) -> None:
    """Leave the descriptor of a socket to its transport.

    uvloop attaches the socket to the transport after `connection_made`. If that has closed the transport, libuv has
    closed the descriptor, and the socket would close the same number again once it is garbage.
    """
    is_of_uvloop = not isinstance(transport, asyncio.BaseTransport)
    if is_of_uvloop and transport.is_closing():
        sock.detach()


def _is_connected_at_once(sock: socket.socket, where: str | tuple[str, int | None]) -> bool:
    """Begin to connect; return True if that is complete, as with a listener of this machine.

    Waiting for the loop would double the cost of the dial.
    """
    try:
        sock.connect(where)
    except BlockingIOError:
        try:
            sock.getpeername()
        except OSError:
            return False
    return True


def sized(make_socket: MakeSocket | None, queue: int | None) -> MakeSocket | None:
    """Return a maker of sockets whose buffers are sized to the queue of the faults that act on what arrives.

    `make_socket` makes the sockets; None for ordinary ones. Without a queue, it is returned as it is.
    """
    return make_socket if queue is None else partial(_sized, make_socket or _new_socket, queue)


def _sized(make_socket: MakeSocket, queue: int, family: int) -> socket.socket:
    sock = make_socket(family)
    prepare_socket(sock, queue)
    return sock


def _new_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _reason(error: OSError) -> str:
    """Return the system's message for a failed connect; asyncio's own message repeats the address."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)
