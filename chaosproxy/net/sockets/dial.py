"""Dial an upstream: try the addresses of its name in turn, within a timeout."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

import aiohappyeyeballs

from chaosproxy.endings import Cause, Ending, How
from chaosproxy.model.address import Address
from chaosproxy.net.sockets.names import is_literal, look_up
from chaosproxy.net.timer.deadline import Deadline
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["DialError", "dial"]

_ATTEMPT_DELAY = 0.25
"""Seconds without a response before the next address is tried too (RFC 8305 §5)."""


_BY_SERVER = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOENT}
"""Errors that the server's host has sent, or that show that nothing listens on a unix socket."""


class DialError(Exception):
    """The connection to the upstream failed."""

    def __init__(self, upstream: Address, reason: str, by: Cause = "network", how: How = "timeout") -> None:
        super().__init__(reason)
        self.upstream = str(upstream)
        self.reason = reason
        """The reason, in words."""
        self.ending = Ending(by, how, error=f"upstream {upstream} not reached: {reason}", during="dial")
        """The ending of the connection that needed the upstream."""


async def dial(
    address: Address, within: float, scheduler: Scheduler, make_protocol: Callable[[], asyncio.Protocol]
) -> None:
    """Connect to `address`; the protocol that `make_protocol` returns gets the transport.

    :raises DialError: refused, not resolved, unreachable, or no response within `within` seconds.
    """
    deadline = Deadline(scheduler, within)
    try:
        await _connect(address, make_protocol)
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


async def _connect(address: Address, make_protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    if address.port is None:  # a unix socket
        await loop.create_unix_connection(make_protocol, address.host)
        return
    if is_literal(address.host):
        await loop.create_connection(make_protocol, address.host, address.port)
        return
    infos = await look_up(address.host, address.port)
    sock = await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=_ATTEMPT_DELAY, interleave=1, loop=loop
    )
    try:
        await loop.create_connection(make_protocol, sock=sock)
    except BaseException:
        sock.close()
        raise


def _reason(error: OSError) -> str:
    """Return the system's message for a failed connect; asyncio's own message repeats the address."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)
