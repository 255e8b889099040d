"""Bind listening sockets, hold a port without listening, bind it again, and name addresses."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence

from chaosproxy.errors import CannotListen
from chaosproxy.model.address import Address, join_address
from chaosproxy.net.sockets.names import look_up

__all__ = [
    "BACKLOG", "SocketFile", "bind_again", "bind_all", "bound_address", "hold_port", "is_refused_half_close",
    "peer_name",
]  # fmt: skip

BACKLOG = 4096
_NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}


def is_refused_half_close(context: Mapping[str, object]) -> bool:
    """Return whether a context of the loop's exception handler is only an end-of-stream that was sent too late.

    asyncio performs a `write_eof()` when the last byte before it has left. If that byte made the peer reset
    the connection, asyncio lets the error escape. The end of the connection is reported separately.
    """
    error = context.get("exception")
    return "handle" in context and isinstance(error, OSError) and error.errno == errno.ENOTCONN


async def bind_all(address: Address) -> list[socket.socket]:
    """Return listening sockets for an address: one, or one per address family if its name has several.

    :raises CannotListen: with the system's reason; nothing stays bound.
    """
    if address.is_unix:
        return [_bind_unix(address.host)]
    try:
        infos = await look_up(address.host, address.port, socket.AI_PASSIVE)
    except OSError as error:
        message = f"cannot listen on {address}: {address.host} does not resolve ({error.strerror})"
        raise CannotListen(message, "unknown-host") from error
    targets = list(dict.fromkeys((family, where) for family, _, _, _, where in infos))
    for _ in range(8):  # the kernel chooses a port for the first family, which may be in use in the second
        try:
            return _bind_tcp(address, targets)
        except CannotListen as error:
            cause = error.__cause__
            if address.port or len(targets) < 2 or not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
                raise
    raise CannotListen(f"cannot listen on {address}: no port is free in both address families", "address-in-use")


def _bind_tcp(address: Address, targets: Sequence[tuple[int, tuple[object, ...]]]) -> list[socket.socket]:
    bound: list[socket.socket] = []
    refused: OSError | None = None
    port = address.port
    for family, where in targets:
        try:
            sock = _new_socket(family)
        except OSError as error:
            refused = error
            continue
        try:
            sock.bind((where[0], port, *where[2:]))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            if error.errno in _NO_SUCH_FAMILY and len(targets) > 1:
                refused = error
                continue
            for other in bound:
                other.close()
            raise CannotListen.because(address, error) from error
        bound.append(sock)
        port = sock.getsockname()[1]
    if not bound:
        assert refused is not None
        raise CannotListen.because(address, refused) from refused
    return bound


def _new_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    if family == getattr(socket, "AF_UNIX", None):
        return sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit the option. uvloop sets it on every socket, asyncio only on those that it connects.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _bind_unix(path: str) -> socket.socket:
    sock = _new_socket(socket.AF_UNIX)
    try:
        _remove_dead_socket(path)
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen.because(Address(path), error) from error
    return sock


def _remove_dead_socket(path: str) -> None:
    """Delete a socket file that refuses connections: it is left over from a crash."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    full = contextlib.suppress(BlockingIOError)  # the backlog is full, so its owner lives
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, full:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def hold_port(listening: socket.socket) -> socket.socket | None:
    """Close a listening socket and bind its port again without listening: clients are refused, and the port is kept.

    Return None if the port cannot be bound, or for a unix socket, which needs no holding.
    """
    family, where = listening.family, listening.getsockname()
    listening.close()
    if family == getattr(socket, "AF_UNIX", None):
        return None
    try:
        return _bound(family, where)
    except OSError:
        return None


def bind_again(address: Address) -> socket.socket:
    """Return a socket that is bound to an address of a former listening socket, and does not listen yet.

    :raises OSError: with the system's reason; nothing stays bound.
    """
    if address.is_unix:
        return _bound(socket.AF_UNIX, address.host)
    return _bound(socket.AF_INET6 if ":" in address.host else socket.AF_INET, (address.host, address.port))


def _bound(family: int, where: object) -> socket.socket:
    sock = _new_socket(family)
    try:
        sock.bind(where)  # type: ignore[arg-type]  # an address of this family
    except OSError:
        sock.close()
        raise
    return sock


class SocketFile:
    """The file of a bound unix socket. It is deleted only while it is still the one that the socket has created."""

    def __init__(self, path: str) -> None:
        """Create it directly after the socket is bound to `path`."""
        self._path = path
        self._created = _file_at(path)

    def delete(self) -> None:
        """Delete the file, unless it is gone, another one has taken its path, or the system refuses to delete it."""
        if self._created is not None and _file_at(self._path) == self._created:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def _file_at(path: str) -> tuple[int, int, int] | None:
    """Return what identifies a file: a later one may have its inode number, but not its time of creation too."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns  # nothing writes to a socket's file later


def bound_address(sock: socket.socket) -> Address:
    """Return the address that a socket is bound to."""
    name = sock.getsockname()
    if sock.family == getattr(socket, "AF_UNIX", None):
        return Address(name)
    return Address(name[0], name[1])


def peer_name(address: object) -> str:
    """Return a peer's address for logs."""
    return join_address(address[0], address[1]) if isinstance(address, tuple) else "unix"
