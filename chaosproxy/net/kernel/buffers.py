"""Sizes of the kernel's buffers on one connection, while a fault holds its data in a small queue.

Bytes that a fault cannot hold wait in the kernel: unread in the receive buffer of the socket that they come
from, and unsent in the socket that they go to. Linux lets either grow to megabytes, so a queue of some KiB
would bound nothing. While a fault acts, both are sized to the queue:

    receive buffer    SO_RCVBUF, which also ends its autotuning and limits the data of one read
    window            TCP_WINDOW_CLAMP
    unsent data       TCP_NOTSENT_LOWAT
    segments          TCP_MAXSEG, on sockets that are not connected yet: on loopback a segment has 64 KiB

Invariants:
- The window of an empty buffer has two segments of the sender. With less, Linux may not announce that the
  window has opened, and the sender would send only when its persist timer fires, each 200 ms.
- The receive buffer has room for all data that is unread and for the window that was advertised before.
  Otherwise the kernel would drop data that the sender may send, and the sender would wait for its
  retransmission timeout, which doubles each time. So the buffer of a connection that has carried much data
  shrinks when the advertised window has been used up (`settle_receive_buffer`).
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct

from chaosproxy.net.kernel.sockopts import Options

__all__ = [
    "UNSIZED_FROM", "free_receive_buffer", "limit_receive_buffer", "limit_unsent", "prepare_socket",
    "segment_of", "settle_receive_buffer", "share_of",
]  # fmt: skip

UNSIZED_FROM = 16 * 2**20
"""A queue of this size, the default, or a larger one leaves the buffers to the kernel."""

_SO_BUF_LOCK = 72
"""Linux 5.15; asm-generic/socket.h, as the other numbers in `sockopts`."""
_SO_MEMINFO = 55
_TCP_MAXSEG, _TCP_WINDOW_CLAMP, _TCP_INFO, _TCP_NOTSENT_LOWAT = 2, 10, 11, 25
_NO_CLAMP = 2**30
_SMALL_SEGMENT, _SEGMENT = 536, 1460
"""The data of a segment without options: the least that every host accepts (RFC 9293 §3.7.1), and on Ethernet."""
_LARGE_SEGMENT = 16 * 1024
_SEGMENT_SIZES = struct.Struct("=16xII")
"""The beginning of struct tcp_info, up to tcpi_snd_mss and tcpi_rcv_mss."""
_WINDOW = struct.Struct("=232xI")
"""The beginning of struct tcp_info, up to tcpi_rcv_wnd (Linux 6.2)."""
_MEMORY = struct.Struct("=II")
"""The beginning of the numbers of SO_MEMINFO: the memory of the unread data, and the size of the receive buffer."""


def segment_of(queue: int) -> int:
    """Return the size of segments of new connections; senders also size their send buffers to it."""
    return min(max(queue // 8, _SMALL_SEGMENT), _SEGMENT)


def share_of(queue: int, segment: int) -> int:
    """Return the size of each of the two buffers; Linux doubles it for the receive buffer, for its own overhead.

    The doubled size has six small segments, or two large ones and a bit, which need less memory around their data.
    """
    return max(queue // 4, segment + min(2 * segment, _LARGE_SEGMENT))


def prepare_socket(sock: socket.socket, queue: int | None) -> None:
    """Size a socket that listens or is not connected yet; None restores the system's sizes.

    Its connections begin with a small receive buffer and small segments. Autotuning stays on, so that the
    window scale allows a large window later, on those on which no fault acts.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # not Linux, or no TCP
        segment = 0 if queue is None else segment_of(queue)
        size = _default() if queue is None else min(share_of(queue, segment), _largest())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        _set_locks(sock, 0)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_MAXSEG, segment)


def limit_receive_buffer(sock: Options, queue: int) -> tuple[int, int]:
    """Stop the window of a connection from growing beyond a share of `queue`; return that share and the size before.

    :raises OSError: the socket is closed.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _SEGMENT_SIZES.size)
    segment = max(_SEGMENT_SIZES.unpack(info))
    share = min(share_of(queue, segment), _largest())
    before = _number(sock, socket.SO_RCVBUF) // 2
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_WINDOW_CLAMP, 2 * segment)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, before)  # ends autotuning
    return share, before


def settle_receive_buffer(sock: Options, share: int) -> bool:
    """Shrink the receive buffer towards `share`; return whether it has that size.

    :raises OSError: the socket is closed.
    """
    unread, size = _MEMORY.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))
    info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _WINDOW.size)
    window = _WINDOW.unpack(info)[0] if len(info) == _WINDOW.size else size  # not known
    # Without a window nothing can arrive, however much is unread; with one, the data needs some memory around it.
    needed = max(share, (unread + window + window // 8) // 2) if window else share
    if 2 * needed < size:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, needed)
    if needed > share:
        return False
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_WINDOW_CLAMP, 2 * share)
    return True


def free_receive_buffer(sock: Options, size: int) -> None:
    """Restore a receive buffer, to the system's default at least, and its autotuning (Linux 5.15).

    :raises OSError: the socket is closed, or the kernel cannot turn autotuning on again.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(size, _default()))
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_WINDOW_CLAMP, _NO_CLAMP)
    _set_locks(sock, 0)


def limit_unsent(sock: Options, size: int | None) -> None:
    """Accept data for the peer only up to `size` bytes that cannot be sent yet; None restores the system's limit.

    :raises OSError: the socket is closed.
    """
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, size or 0)


def _set_locks(sock: Options, locks: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, locks)


def _number(sock: Options, name: int) -> int:
    return int(struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, name, 4))[0])


@functools.cache
def _default() -> int:
    """Return the size of a new receive buffer, as SO_RCVBUF sets it (half of net.ipv4.tcp_rmem)."""
    with socket.socket() as sock:
        return _number(sock, socket.SO_RCVBUF) // 2


@functools.cache
def _largest() -> int:
    """Return the largest size that SO_RCVBUF sets (net.core.rmem_max)."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**30)
        return _number(sock, socket.SO_RCVBUF) // 2
