"""Recognise clients that a proxy of this process has dialled: hops of one path.

A proxy whose upstream is its own address, directly or round other proxies, would dial itself until no descriptor is
free. Configurations in which this is certain are refused (`model.loops`). The others are found here: behind a name,
or an address that only this machine knows as its own.

    dial     a socket that may reach a listener of this process notes its local address
    accept   a client with a noted address comes from the connection that noted it (`sender`)

`net.stream.path` follows these links, and ends the connections whose path returns to a proxy.

Invariants:
- An address is noted before its client can be accepted: `connect` chooses it, and returns before the loop polls.
- A note ends when its client is accepted, or KEPT seconds after its connection is over: the client of a dial that was
  cancelled may be in a backlog still. A later client that gets the same port is not taken for it.
- Other dials cost one look-up of the port, and other clients the test whether anything is noted.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, TypeVar

from chaosproxy.model.address import Address, is_literal
from chaosproxy.net.timer.scheduler import Clock

__all__ = ["KEPT", "LOCAL_FOR", "Hops", "MakeSocket", "plain_socket"]

KEPT = 2.0
"""Seconds for which the notes of a connection that is over are kept."""
LOCAL_FOR = 10.0
"""Seconds for which it is believed whether this machine has an address."""

C = TypeVar("C")
"""The class of connections."""

MakeSocket = Callable[[int], socket.socket]
"""Makes a socket of a family, to dial with; `plain_socket` replaces it once it is connected."""

_UNIX = getattr(socket, "AF_UNIX", None)
_ANY = ("0.0.0.0", "::")
_MAPPED = "::ffff:"


class Hops(Generic[C]):
    """The addresses on which the proxies of this process listen, and the dials that may reach one."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._listening: dict[int | None, Counter[str]] = {}
        """The hosts on which proxies listen, by port; the paths of unix sockets under None."""
        self._local: dict[str, tuple[bool, float]] = {}
        """Whether this machine has an address, and until when that is believed."""
        self.noted: dict[object, tuple[C, object]] = {}
        """The connection that dials and the holder of the note, by the local address of the socket."""
        self.names: dict[object, list[object]] = {}
        """The addresses that each holder has noted."""
        self._over: deque[tuple[float, object, object]] = deque()
        """The notes of holders that are over, with the times at which they end."""

    def listen(self, addresses: Iterable[Address]) -> None:
        """Note that a proxy listens on these addresses."""
        for address in addresses:
            self._listening.setdefault(address.port, Counter())[address.host] += 1

    def unlisten(self, addresses: Iterable[Address]) -> None:
        """Note that a proxy no longer listens on these addresses."""
        for address in addresses:
            hosts = self._listening[address.port]
            hosts[address.host] -= 1
            if not +hosts:
                del self._listening[address.port]
        if not self._listening:  # no client can arrive any more
            self.noted.clear()
            self._over.clear()

    def may_reach(self, address: Address) -> bool:
        """Return whether a dial to `address` may reach one of these addresses."""
        hosts = self._listening.get(address.port)
        if hosts is None:
            return False
        if not is_literal(address.host) or address.host in _ANY:  # a name may be any host, and a path a link
            return True
        if hosts[address.host.removeprefix(_MAPPED)] > 0:
            return True
        return any(hosts[host] > 0 for host in _ANY) and self._is_local(address.host)

    def _is_local(self, host: str) -> bool:
        """Return whether this machine has an IP address, as of LOCAL_FOR seconds ago."""
        known = self._local.get(host)
        if known is None or known[1] <= self._clock():
            known = self._local[host] = _can_bind(host), self._clock() + LOCAL_FOR
        return known[0]

    def sockets_of(self, connection: C, holder: object = None) -> MakeSocket:
        """Return a function that makes the sockets with which `connection` dials.

        `holder` is what to `forget` later, if it is not the connection itself.
        """
        return partial(_NotingSocket.of, partial(self._note, connection, connection if holder is None else holder))

    def sender(self, client: object) -> C | None:
        """Return the connection that has dialled this client's socket; None if none of this process has."""
        self._drop_old()
        return self.noted.pop(_key(client), (None, None))[0]

    def forget(self, holder: object) -> None:
        """Let the notes of a connection end soon, since its sockets are gone; or those of another holder."""
        self._drop_old()
        for name in self.names.pop(holder, ()):
            if name in self.noted and self.noted[name][1] is holder:
                self._over.append((self._clock() + KEPT, name, holder))

    def _drop_old(self) -> None:
        while self._over and self._over[0][0] <= self._clock():
            _, name, holder = self._over.popleft()
            if name in self.noted and self.noted[name][1] is holder:
                del self.noted[name]

    def _note(self, connection: C, holder: object, name: object) -> None:
        key = _key(name)
        self.noted[key] = connection, holder
        self.names.setdefault(holder, []).append(key)


class _NotingSocket(socket.socket):
    """A socket that reports its local address as soon as `connect` has chosen it."""

    note: Callable[[object], None]

    @classmethod
    def of(cls, note: Callable[[object], None], family: int) -> _NotingSocket:
        sock = cls(family, socket.SOCK_STREAM)
        sock.note = note
        try:
            sock.setblocking(False)
            if family == _UNIX and sys.platform == "linux":
                sock.bind("")  # the kernel chooses an abstract name, unix(7); without it, the socket would have none
        except OSError:
            sock.close()
            raise
        return sock

    def connect(self, address: socket._Address) -> None:
        try:
            super().connect(address)
        finally:  # also while the connection is in progress
            with contextlib.suppress(OSError):
                if name := self.getsockname():
                    self.note(name)


def plain_socket(sock: socket.socket) -> socket.socket:
    """Return a socket without notes in place of one of `Hops`.

    asyncio's transports are cyclic garbage. With a note they would keep the connection alive.
    """
    return socket.socket(sock.family, sock.type, sock.proto, sock.detach())


def _can_bind(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


def _key(name: object) -> object:
    """Return a socket's address in the form in which both its ends know it."""
    return (name[0].removeprefix(_MAPPED), name[1]) if isinstance(name, tuple) else name
