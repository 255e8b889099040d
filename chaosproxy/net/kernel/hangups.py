"""See that a peer has ended while nothing of its socket is read (epoll(7): EPOLLRDHUP).

A fault that pauses a server, or a queue that is full, leaves bytes in the kernel so that TCP slows
their sender. The event loop then no longer looks at the socket, and would report an end-of-stream
or a reset only when reading resumes. One epoll descriptor per process watches such sockets for
their ends alone. Linux; elsewhere those ends are reported late.
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
"""Ends reported per wake-up, so that a thousand of them do not hold the loop."""


class Hangups:
    """Watches sockets that are not read. To be made inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptors: dict[object, int] = {}
        """By who watches: a descriptor may be another socket's before its watcher knows that its own is closed."""
        self._watchers: dict[int, tuple[object, Callable[[How], None]]] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._report)

    def watch(self, who: object, transport: asyncio.BaseTransport, report: Callable[[How], None]) -> None:
        """Call `report` once with `fin` or `reset` when the peer ends, or at once if it has."""
        sock = tcp_socket(transport)
        if self._epoll is None or sock is None:
            return
        descriptor = sock.fileno()
        # Once, so that an end which is not read does not wake the loop again and again; errors are always reported.
        events = select.EPOLLRDHUP | select.EPOLLONESHOT
        try:
            self._epoll.register(descriptor, events)
        except FileExistsError:
            self._epoll.modify(descriptor, events)
        self._descriptors[who] = descriptor
        self._watchers[descriptor] = (who, report)

    def forget(self, who: object) -> None:
        """End a watch; nothing happens where there is none."""
        descriptor = self._descriptors.pop(who, None)
        if descriptor is None or self._epoll is None or self._watchers.get(descriptor, (None,))[0] is not who:
            return
        del self._watchers[descriptor]
        with contextlib.suppress(OSError):  # the kernel has forgotten a socket that was closed
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """End every watch."""
        self._descriptors.clear()
        self._watchers.clear()
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _report(self) -> None:
        assert self._epoll is not None
        for descriptor, events in self._epoll.poll(0, _MOST):
            if descriptor in self._watchers:
                _, report = self._watchers[descriptor]
                report("reset" if events & (select.EPOLLERR | select.EPOLLHUP) else "fin")
