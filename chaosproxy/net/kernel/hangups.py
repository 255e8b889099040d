"""Detect the end of a peer whose socket is not read (epoll(7): EPOLLRDHUP).

A fault that pauses a server, or a queue that is full, leaves bytes in the kernel so that TCP slows
their sender. The event loop then does not poll the socket, and would report an end-of-stream or a
reset only when reading resumes. One epoll descriptor per process polls such sockets for their end
only. This needs Linux; on other systems the ends are reported late.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable

from chaosproxy.endings import How
from chaosproxy.net.kernel.sockopts import tcp_socket

__all__ = ["Hangups"]

_MOST = 64
"""Ends reported per wake-up, so that a thousand of them at once do not block the loop."""


class Hangups:
    """Watches sockets that are not read. Create it inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptors: dict[object, int] = {}
        """The descriptor of each key. A descriptor may be reused for another socket before `forget` is called."""
        self._watches: dict[int, tuple[object, Callable[[How], None]]] = {}
        """The key and the callback of each descriptor."""
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._report)

    def watch(self, key: object, transport: asyncio.BaseTransport, report: Callable[[How], None]) -> None:
        """Call `report` once with `fin` or `reset` when the peer ends, or soon if it already has."""
        sock = tcp_socket(transport)
        if self._epoll is None or sock is None:
            return
        descriptor = sock.fileno()
        # One-shot, since an end that is not read would wake the loop again and again. Errors are always reported.
        events = select.EPOLLRDHUP | select.EPOLLONESHOT
        try:
            self._epoll.register(descriptor, events)
        except FileExistsError:
            self._epoll.modify(descriptor, events)
        self._descriptors[key] = descriptor
        self._watches[descriptor] = (key, report)

    def ended(self, transport: asyncio.BaseTransport) -> How | None:
        """Return how the peer has ended; None if it has not, or if this cannot be found out."""
        sock = tcp_socket(transport)
        if self._epoll is None or sock is None:
            return None
        with contextlib.closing(select.epoll()) as probe:
            probe.register(sock.fileno(), select.EPOLLRDHUP)
            return next((_how(events) for _, events in probe.poll(0)), None)

    def forget(self, key: object) -> None:
        """Stop watching; do nothing if `key` is not watched."""
        descriptor = self._descriptors.pop(key, None)
        if descriptor is None or self._epoll is None or self._watches.get(descriptor, (None,))[0] is not key:
            return
        del self._watches[descriptor]
        with contextlib.suppress(OSError):  # the kernel has already removed a socket that was closed
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching every socket."""
        self._descriptors.clear()
        self._watches.clear()
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _report(self) -> None:
        assert self._epoll is not None
        for descriptor, events in self._epoll.poll(0, _MOST):
            if descriptor in self._watches:
                _, report = self._watches[descriptor]
                report(_how(events))


def _how(events: int) -> How:
    return "reset" if events & (select.EPOLLERR | select.EPOLLHUP) else "fin"
