"""Options of one TCP socket: filters, pacing, resets, and the kernel's own figures.

Classic BPF filters drop a socket's arriving packets before TCP sees them. The data plane
uses `setsockopt` and `getsockopt` alone. Every filter belongs to a socket and ends with it,
however the process ends.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import functools
import socket
import struct
from typing import Protocol

from chaosproxy.net.kernel.bpf import Program, encode
from chaosproxy.tallies import TcpInfo

__all__ = [
    "Options", "abort_with_reset", "ask_if_alive", "attach", "detach", "dropped", "lent_socket", "limit_pacing",
    "read_tcp_info", "reset_on_exit", "reset_socket", "tcp_info", "tcp_socket",
]  # fmt: skip

# Not all of them are in the socket module; asm-generic/socket.h, the same on every architecture Python runs
# on but PA-RISC and SPARC.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_MAX_PACING_RATE = 47
_SO_MEMINFO = 55
_TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_INFO = 4, 5, 11
_DROPS = struct.Struct("=9I")
"""SK_MEMINFO_DROPS is the ninth of the numbers that SO_MEMINFO gives (linux/sock_diag.h)."""
_NO_PACING = 2**64 - 1
_LINGER_RESET, _NO_LINGER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class Options(Protocol):
    """The socket as an event loop lends it: plain asyncio's, or uvloop's stand-in."""

    @property
    def family(self) -> int: ...
    def fileno(self) -> int: ...
    def setsockopt(self, level: int, name: int, value: int | bytes, /) -> None: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


_UNIX = getattr(socket, "AF_UNIX", None)


def lent_socket(transport: asyncio.BaseTransport) -> socket.socket | None:
    """The TCP socket under a transport, to be given back with `detach()`; None for a unix socket, or when it is gone.

    What uvloop lends makes a socket object for each call; where several are made this halves their time. Its
    family is always AF_INET, which no option asked for here minds.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == _UNIX or (descriptor := sock.fileno()) < 0:
        return None
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)


def tcp_socket(transport: asyncio.BaseTransport) -> Options | None:
    """The TCP socket under a transport, for one call; None for a unix socket, or when it is gone."""
    sock: Options | None = transport.get_extra_info("socket")
    return None if sock is None or sock.family == _UNIX or sock.fileno() < 0 else sock


def attach(sock: Options, program: Program) -> None:
    """Have `program` decide about every packet that arrives from now on, in one step with what decided before.

    :raises OSError: no privilege, no memory, or the socket is gone.
    """
    _code, header = _loaded(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)


@functools.lru_cache(maxsize=256)
def _loaded(program: Program) -> tuple[array.array[int], bytes]:
    """A program in memory, and the `struct sock_fprog` that says where; the kernel copies it during the call."""
    code = array.array("B", encode(program))
    return code, struct.pack("HP", len(program), code.buffer_info()[0])


def detach(sock: Options) -> None:
    """Let every packet through again; where nothing is attached, nothing happens."""
    with contextlib.suppress(OSError):  # none is attached, or the socket is gone
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def dropped(sock: Options) -> int:
    """Packets this socket has dropped in its life, by filters and for want of memory.

    :raises OSError: the socket is gone, or the kernel does not tell (before Linux 4.12).
    """
    return int(_DROPS.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS.size))[8])


def ask_if_alive(sock: socket.socket, on: bool) -> None:
    """Send a keepalive probe now, unless the peer was just heard, and one each second; or no more of them.

    A peer that is there acknowledges it; one that has forgotten the connection resets it
    (RFC 9293 §3.8.4). Silence ends nothing within the nine seconds that Linux waits.

    :raises OSError: the socket is gone.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, on)
    if on:
        for option in (_TCP_KEEPINTVL, _TCP_KEEPIDLE):
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)


def limit_pacing(sock: Options, rate: float | None) -> None:
    """Let it send at most `rate` bytes per second; None as fast as TCP can.

    :raises OSError: the kernel has no pacing, or the socket is gone.
    """
    value = _NO_PACING if rate is None else min(max(1, round(rate)), _NO_PACING - 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("Q", value))


_BACKOFF, _UNACKED, _RTT, _RETRANSMITS = ("=B", 4), ("=I", 24), ("=I", 68), ("=I", 100)
"""Format and offset of tcpi_backoff, tcpi_unacked, tcpi_rtt and tcpi_total_retrans."""
_INFO_BYTES = 104


def tcp_info(sock: Options) -> TcpInfo | None:
    """What the kernel tells of a TCP socket; None where it tells too little.

    :raises OSError: the socket is gone, or is not of TCP.
    """
    return read_tcp_info(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256))


def read_tcp_info(data: bytes) -> TcpInfo | None:
    """The numbers from the kernel's struct; None where it is too short."""
    if len(data) < _INFO_BYTES:
        return None
    backoff, unacked, rtt, retransmits = (
        struct.unpack_from(form, data, at)[0] for form, at in (_BACKOFF, _UNACKED, _RTT, _RETRANSMITS)
    )
    return TcpInfo(unacked=unacked, retransmits=retransmits, backoff=backoff, rtt=rtt / 1e6)


def abort_with_reset(transport: asyncio.Transport) -> None:
    """End a connection with RST; `abort()` alone would send a clean end-of-stream."""
    sock = tcp_socket(transport)
    if sock is not None:
        with contextlib.suppress(OSError):  # the peer may have been quicker
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()


def reset_on_exit(sock: Options, on: bool) -> None:
    """Whether the socket is to end with RST if the process dies.

    Where a filter loses packets, a socket that the kernel closes in good order would stay for
    minutes, waiting for acknowledgements that its own filter loses, and keep the peer waiting.

    :raises OSError: the socket is gone.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET if on else _NO_LINGER)


def reset_socket(sock: socket.socket) -> None:
    """Close an accepted socket with RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    sock.close()
