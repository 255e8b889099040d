"""Reaching an upstream: a name's addresses in turn, within a time-out."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Callable

import aiohappyeyeballs

from chaosproxy.model.address import Address

__all__ = ["DialError", "dial"]

_ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried beside one that does not answer (RFC 8305 §5)."""


class DialError(Exception):
    """The upstream was not reached; the message is the reason in words."""


async def dial(address: Address, within: float, make_protocol: Callable[[], asyncio.Protocol]) -> None:
    """Connect to `address`; `make_protocol`'s protocol gets the transport.

    :raises DialError: refused, unresolvable, unreachable, or not within `within` seconds.
    """
    try:
        async with asyncio.timeout(within):
            await _connect(address, make_protocol)
    except TimeoutError as error:
        raise DialError(f"no answer within {within:g} s") from error
    except OSError as error:
        raise DialError(error.strerror or str(error)) from error


async def _connect(address: Address, make_protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    if address.port is None:  # a unix socket
        await loop.create_unix_connection(make_protocol, address.host)
        return
    if _is_literal(address.host):
        await loop.create_connection(make_protocol, address.host, address.port)
        return
    infos = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=_ATTEMPT_DELAY, interleave=1, loop=loop
    )
    try:
        await loop.create_connection(make_protocol, sock=sock)
    except BaseException:
        sock.close()
        raise


@functools.lru_cache(maxsize=1024)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
