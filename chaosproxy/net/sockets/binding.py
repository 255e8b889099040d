"""Bind listening sockets, hold a port without listening, bind it again, and name addresses.

A port is held by a bound socket that does not listen: the kernel refuses clients, and as long as the
socket does not allow SO_REUSEADDR, no other socket can be bound to the port. `start_listening` allows it
again: accepted sockets inherit it, and while one is open, the port can be held only if it has the option.

`[::]` also accepts IPv4 clients, as in most servers, unless `ipv6only` is given. Every other IPv6
address accepts IPv6 alone, so that a name such as `localhost` gets one socket per family.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from chaosproxy.errors import CannotListen
from chaosproxy.model.address import Address, join_address
from chaosproxy.net.sockets.leftover import remove_leftover
from chaosproxy.net.sockets.names import look_up
from chaosproxy.tasks import in_thread

__all__ = [
    "BACKLOG", "SocketFile", "bind_again", "bind_all", "bound", "bound_address", "client_of", "hold", "hold_port",
    "is_dual_stack", "is_refused_half_close", "peer_name", "start_listening",
]  # fmt: skip

BACKLOG = 4096
_NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
_UNIX = getattr(socket, "AF_UNIX", None)
_MAPPED = "::ffff:"
_O_PATH = getattr(os, "O_PATH", 0)
"""Linux: a descriptor that only refers to a file, also to one that cannot be opened."""


def is_refused_half_close(context: Mapping[str, object]) -> bool:
    """Return whether a context of the loop's exception handler is only an end-of-stream that was sent too late.

    asyncio performs a `write_eof()` when the last byte before it has left. If that byte made the peer reset
    the connection, asyncio lets the error escape. The end of the connection is reported separately.
    """
    error = context.get("exception")
    return "handle" in context and isinstance(error, OSError) and error.errno == errno.ENOTCONN


async def bind_all(address: Address, *, ipv6only: bool = False, listening: bool = True) -> list[socket.socket]:
    """Return sockets bound to an address: one, or one per address family if its name has several.

    They listen, or hold the address without listening. `ipv6only` leaves out IPv4.

    :raises CannotListen: with the system's reason; nothing stays bound.
    """
    if address.is_unix:
        return [await _bind_unix(address.host, listening)]
    try:
        infos = await look_up(address.host, address.port, socket.AI_PASSIVE)
    except OSError as error:
        message = f"cannot listen on {address}: {address.host} does not resolve ({error.strerror})"
        raise CannotListen(message, "unknown-host") from error
    found = ((family, where) for family, _, _, _, where in infos if family == socket.AF_INET6 or not ipv6only)
    targets = list(dict.fromkeys(found))
    if not targets:
        raise CannotListen(f"cannot listen on {address}: {address.host} has no IPv6 address", "unknown-host")
    for _ in range(8):  # the kernel chooses a port for the first family, which may be in use in the second
        try:
            return _bind_tcp(address, targets, ipv6only, listening)
        except CannotListen as error:
            cause = error.__cause__
            if address.port or len(targets) < 2 or not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
                raise
    raise CannotListen(f"cannot listen on {address}: no port is free in both address families", "address-in-use")


def _bind_tcp(
    address: Address, targets: Sequence[tuple[int, tuple[object, ...]]], ipv6only: bool, listening: bool
) -> list[socket.socket]:
    bound: list[socket.socket] = []
    refused: OSError | None = None
    port = address.port
    for family, where in targets:
        try:
            sock = _new_socket(family, is_dual_stack(str(where[0]), ipv6only))
        except OSError as error:
            refused = error
            continue
        try:
            sock.bind((where[0], port, *where[2:]))
            _begin(sock, listening)
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


def is_dual_stack(host: str, ipv6only: bool) -> bool:
    """Return whether a socket bound to this IP address accepts IPv4 clients although it is an IPv6 socket."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped is not None or ip.is_unspecified and not ipv6only)


def _new_socket(family: int, dual_stack: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    if family == _UNIX:
        return sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit the option. uvloop sets it on every socket, asyncio only on those that it connects.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
    return sock


def _begin(sock: socket.socket, listening: bool) -> None:
    if listening:
        start_listening(sock)
    else:
        hold(sock)


def start_listening(sock: socket.socket) -> None:
    """Listen on a bound socket.

    :raises OSError: with the system's reason; the socket holds its port as before.
    """
    if sock.family != _UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.listen(BACKLOG)
    except OSError:
        hold(sock)
        raise


def hold(sock: socket.socket) -> None:
    """Let no other socket be bound to the port of a bound socket that does not listen."""
    if sock.family != _UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


async def _bind_unix(path: str, listening: bool) -> socket.socket:
    sock, is_bound = _new_socket(socket.AF_UNIX), False
    try:
        await in_thread(partial(remove_leftover, path))
        sock.bind(path)
        is_bound = True
        _begin(sock, listening)
    except OSError as error:
        sock.close()
        if is_bound:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise CannotListen.because(Address(path), error) from error
    return sock


def hold_port(listening: socket.socket) -> socket.socket | None:
    """Close a listening socket and bind its port again without listening: clients are refused, and the port is held.

    Return None if the port cannot be bound, or for a unix socket, whose path needs a new file.
    """
    family, where = listening.family, listening.getsockname()
    dual_stack = family == socket.AF_INET6 and not listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    listening.close()
    if family == _UNIX:
        return None
    try:
        return _held(family, where, dual_stack)
    except OSError:
        return None


def bind_again(address: Address, ipv6only: bool) -> socket.socket:
    """Return a socket that holds the address of a former listening socket, and does not listen yet.

    :raises OSError: with the system's reason; nothing stays bound.
    """
    if address.is_unix:
        return _held(socket.AF_UNIX, address.host)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return _held(family, (address.host, address.port), is_dual_stack(address.host, ipv6only))


def _held(family: int, where: object, dual_stack: bool = False) -> socket.socket:
    sock = _new_socket(family, dual_stack)
    try:
        sock.bind(where)  # type: ignore[arg-type]  # an address of this family
        hold(sock)
    except OSError:
        sock.close()
        raise
    return sock


class SocketFile:
    """The file of a bound unix socket. It is deleted only while it is still the one that the socket has created.

    A descriptor (O_PATH) keeps the file's inode from being used for another file, also after the file was deleted
    and the socket closed. So the device and the inode identify the file, whatever is done to its times.
    """

    def __init__(self, path: str) -> None:
        """Create it directly after the socket is bound to `path`."""
        self._path = path
        self._descriptor: int | None = None
        self._created: tuple[int, ...] | None = None
        with contextlib.suppress(OSError):  # it is gone already, or no descriptor is free
            if _O_PATH:
                self._descriptor = os.open(path, _O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            self._created = self._identity(os.lstat(path) if self._descriptor is None else os.fstat(self._descriptor))

    @property
    def is_open(self) -> bool:
        """True while it has a descriptor."""
        return self._descriptor is not None

    @property
    def exists(self) -> bool:
        """False if the file is gone, or another one has taken its path."""
        try:
            return self._identity(os.lstat(self._path)) == self._created
        except OSError:
            return False

    def delete(self) -> None:
        """Delete the file, unless it is gone, another one has taken its path, or the system refuses to delete it."""
        if self.exists:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def close(self) -> None:
        """Forget the file; `exists` is false from then on."""
        self._created = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _identity(self, found: os.stat_result) -> tuple[int, ...]:
        """Return what identifies a file. Without a descriptor, another one may get its inode, but not its time."""
        if self._descriptor is None:
            return found.st_dev, found.st_ino, found.st_mtime_ns
        return found.st_dev, found.st_ino


@contextlib.asynccontextmanager
async def bound(address: Address, purpose: str) -> AsyncIterator[list[socket.socket]]:
    """Listen on an address until the block ends; then delete the file of a unix socket that was bound here.

    :raises CannotListen: with the purpose of the address, such as `for the control API`.
    """
    try:
        sockets = await bind_all(address)
    except CannotListen as error:
        if isinstance(error.__cause__, OSError):
            raise CannotListen.because(f"{address} {purpose}", error.__cause__) from error
        raise
    file = SocketFile(address.host) if address.is_unix else None
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()
        if file is not None:
            file.delete()
            file.close()


def bound_address(sock: socket.socket) -> Address:
    """Return the address that a socket is bound to."""
    name = sock.getsockname()
    if sock.family == _UNIX:
        return Address(name)
    return Address(name[0], name[1])


def client_of(address: object) -> object:
    """Return an accepted client's address; one of IPv4 on an IPv6 socket, `::ffff:192.0.2.1`, as that of IPv4."""
    if isinstance(address, tuple) and address[0].startswith(_MAPPED) and "." in address[0]:
        return address[0].removeprefix(_MAPPED), address[1]
    return address


def peer_name(address: object) -> str:
    """Return a peer's address for logs."""
    return join_address(address[0], address[1]) if isinstance(address, tuple) else "unix"
