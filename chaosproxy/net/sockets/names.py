"""Look up host names without blocking the loop, or the lookup of another name.

A name server that does not respond holds a thread for half a minute or longer. The loops look up names in
pools: uvloop two at a time, asyncio a few more. So the name of one proxy's upstream could keep all others
from being looked up, and the process from ending. Here each name has a thread of its own, while it is being
looked up, and all callers of that time share the result.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TypeAlias

from chaosproxy.model.address import is_literal
from chaosproxy.tasks import in_thread

__all__ = ["AddressInfo", "look_up"]

AddressInfo: TypeAlias = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]

_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, str, int | None, int]
_pending: dict[_Key, asyncio.Future[list[AddressInfo]]] = {}
"""The lookups that have not ended."""


async def look_up(host: str, port: int | None, flags: int = 0) -> list[AddressInfo]:
    """Return the addresses of a host for TCP.

    :raises OSError: with the resolver's reason.
    """
    loop = asyncio.get_running_loop()
    if is_literal(host):
        return list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
    key = (loop, host, port, flags)
    lookup = _pending.get(key)
    if lookup is None:
        lookup = _pending[key] = in_thread(partial(_resolve, host, port, flags))
        lookup.add_done_callback(partial(_end, key))
    return await asyncio.shield(lookup)


def _resolve(host: str, port: int | None, flags: int) -> list[AddressInfo]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))  # noqa: TID251  # in a thread


def _end(key: _Key, lookup: asyncio.Future[list[AddressInfo]]) -> None:
    del _pending[key]
    if not lookup.cancelled():
        lookup.exception()  # taken note of, also if every caller was cancelled
