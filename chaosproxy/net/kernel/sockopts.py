"""Options of one TCP socket: filters, pacing, resets, and the kernel's statistics.

Classic BPF filters drop a socket's arriving packets before TCP processes them. The only system
calls are `setsockopt` and `getsockopt`. Every filter belongs to a socket and ends with it, however
the process ends.

The kernel's statistics (`TcpInfo`) are read on request: by the metrics for the latest connections of a proxy, and
by the list of connections for each. Where a system has none, they are None.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import functools
import socket
import struct
import sys
from typing import Protocol

from chaosproxy.net.kernel.bpf import Program, encode
from chaosproxy.tallies import TcpInfo

__all__ = [
    "Options", "abort_with_reset", "attach", "borrow_socket", "detach", "dropped", "limit_pacing", "pace",
    "read_tcp_info", "reset_on_exit", "reset_socket", "set_keepalive", "tcp_info", "tcp_info_of", "tcp_socket",
]  # fmt: skip

# Python's socket module lacks some of them. The numbers of asm-generic/socket.h hold on every architecture that Python
# supports except PA-RISC and SPARC.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_MAX_PACING_RATE = 47
_SO_MEMINFO = 55
_TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_KEEPCNT, _TCP_INFO = 4, 5, 6, 11
_PROBES = 127
"""The most probes that Linux allows (MAX_TCP_KEEPCNT): they are to find out, not to end a connection."""
_DROPS = struct.Struct("=9I")
"""The numbers that SO_MEMINFO returns; the ninth is SK_MEMINFO_DROPS (linux/sock_diag.h)."""
_NO_PACING = 2**64 - 1
_LINGER_RESET, _NO_LINGER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class Options(Protocol):
    """The methods that the socket objects of asyncio's and of uvloop's transports share."""

    @property
    def family(self) -> int: ...
    def fileno(self) -> int: ...
    def setsockopt(self, level: int, name: int, value: int | bytes, /) -> None: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


_UNIX = getattr(socket, "AF_UNIX", None)


def borrow_socket(transport: asyncio.BaseTransport) -> socket.socket | None:
    """Return a socket object for the TCP socket of a transport; None for a unix socket, or if it is closed.

    The caller gives it back with `detach()`. uvloop's own object creates a socket object for each call,
    so several calls through this one take half the time. Its family is always AF_INET, which makes no
    difference to the options used here.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == _UNIX or (descriptor := sock.fileno()) < 0:
        return None
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)


def tcp_socket(transport: asyncio.BaseTransport) -> Options | None:
    """Return the TCP socket of a transport, for one call; None for a unix socket, or if it is closed."""
    sock: Options | None = transport.get_extra_info("socket")
    return None if sock is None or sock.family == _UNIX or sock.fileno() < 0 else sock


def attach(sock: Options, program: Program) -> None:
    """Attach `program` for every packet that arrives from now on; it replaces an attached one atomically.

    :raises OSError: no privilege, no memory, or the socket is closed.
    """
    _code, header = _sock_fprog(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)


@functools.lru_cache(maxsize=256)
def _sock_fprog(program: Program) -> tuple[array.array[int], bytes]:
    """Return a program in memory, and the `struct sock_fprog` with its address; the kernel copies it in the call."""
    code = array.array("B", encode(program))
    return code, struct.pack("HP", len(program), code.buffer_info()[0])


def detach(sock: Options) -> None:
    """Detach the program, if one is attached."""
    with contextlib.suppress(OSError):  # none is attached, or the socket is closed
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def dropped(sock: Options) -> int:
    """Return the number of packets that this socket has dropped so far, by filters and for lack of memory.

    :raises OSError: the socket is closed, or the kernel has no such count (before Linux 4.12).
    """
    return int(_DROPS.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS.size))[8])


def set_keepalive(sock: socket.socket, on: bool) -> None:
    """Send a keepalive probe each second, the first now unless a packet of the peer just arrived; or stop that.

    A live peer acknowledges the probe; one that no longer knows the connection resets it
    (RFC 9293 §3.8.4). Linux ends a connection after `_PROBES` of them without a response. It counts
    those of earlier times too, until something arrives.

    :raises OSError: the socket is closed.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, on)
    if on:
        for option, value in ((_TCP_KEEPINTVL, 1), (_TCP_KEEPIDLE, 1), (_TCP_KEEPCNT, _PROBES)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def limit_pacing(sock: Options, rate: float | None) -> None:
    """Limit the socket to `rate` bytes sent per second; None removes the limit.

    :raises OSError: the kernel has no pacing, or the socket is closed.
    """
    value = _NO_PACING if rate is None else min(max(1, round(rate)), _NO_PACING - 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("Q", value))


def pace(transport: asyncio.BaseTransport, rate: float | None) -> None:
    """Limit the TCP socket of a transport as `limit_pacing` does, if it is open."""
    sock = tcp_socket(transport)
    if sock is not None:
        with contextlib.suppress(OSError):  # the socket is closing
            limit_pacing(sock, rate)


_BACKOFF, _UNACKED, _RECEIVED, _RTT, _RETRANSMITS = ("=B", 4), ("=I", 24), ("=I", 52), ("=I", 68), ("=I", 100)
"""Format and offset of tcpi_backoff, tcpi_unacked, tcpi_last_data_recv, tcpi_rtt and tcpi_total_retrans."""
_INFO_BYTES = 104
_TCP_CLOSE = 7
"""The value of tcpi_state once the connection is over (include/net/tcp_states.h)."""


def tcp_info(sock: Options) -> TcpInfo | None:
    """Return the kernel's statistics of a TCP socket; None if the kernel's struct is too short.

    :raises OSError: the socket is closed, or is not a TCP socket.
    """
    return read_tcp_info(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256))


def read_tcp_info(data: bytes) -> TcpInfo | None:
    """Read the statistics from the kernel's struct; None if it is too short."""
    if len(data) < _INFO_BYTES:
        return None
    backoff, unacked, received, rtt, retransmits = (
        struct.unpack_from(form, data, at)[0] for form, at in (_BACKOFF, _UNACKED, _RECEIVED, _RTT, _RETRANSMITS)
    )
    return TcpInfo(
        unacked=unacked, retransmits=retransmits, backoff=backoff, rtt=rtt / 1e6, received_ago=received / 1e3
    )


def tcp_info_of(transport: asyncio.BaseTransport | None) -> TcpInfo | None:
    """Return the kernel's statistics of a transport; None for a unix socket, a closed one, or another system."""
    sock = None if transport is None or sys.platform != "linux" else tcp_socket(transport)
    if sock is None:
        return None
    try:
        return tcp_info(sock)
    except OSError:  # it is closing
        return None


def was_reset(transport: asyncio.BaseTransport) -> bool:
    """Return whether the peer has reset a TCP connection, also if its end-of-stream was read before."""
    sock = tcp_socket(transport)
    if sock is None:
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _TCP_CLOSE
    except OSError:  # it is closing, or the system has no TCP_INFO
        return False


def abort_with_reset(transport: asyncio.Transport) -> None:
    """End a connection with RST; `abort()` alone would send an end-of-stream."""
    sock = tcp_socket(transport)
    if sock is not None:
        with contextlib.suppress(OSError):  # the peer may have closed it already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()


def reset_on_exit(sock: Options, on: bool) -> None:
    """Choose whether the kernel ends the connection with RST when the process dies; by default it sends a FIN.

    A socket that the kernel closes with a FIN would remain for minutes if a filter dropped the
    acknowledgements, and the peer would wait as long.

    :raises OSError: the socket is closed.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET if on else _NO_LINGER)


def reset_socket(sock: socket.socket) -> None:
    """Close an accepted socket with RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    sock.close()
