"""Tools to measure real packet loss: the kernel's counts, single packets, and a link with a known round-trip time.

netem is not available everywhere, and loopback's round-trip time of about 30 µs is too short for the models of TCP.
So this module makes a link: a tun device whose far end is a process that holds each packet for a while, swaps its
two addresses and writes it back. A client that connects to FAR reaches NEAR, which sees a client at FAR. The swap
changes no checksum, and nothing is lost. Packets are as small as on Ethernet, since the kernel segments data for
this device itself.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["FAR", "NEAR", "Tcp", "far_link", "knock", "likely", "mathis", "pftk", "read_tcp"]

NEAR, FAR = "10.9.0.1", "10.9.0.2"

_TUN, _DEVICE = "/dev/net/tun", b"far"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS, _SIOCSIFTXQLEN = 0x8916, 0x891C, 0x8914, 0x8943
_UP_RUNNING = 0x41
_QUEUE = 10_000
"""Packets that the device holds while the process does not read them: more than are ever in flight."""


# ── the kernel's counts ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tcp:
    """The kernel's counts of one TCP socket (struct tcp_info of linux/tcp.h)."""

    mss: int
    """Bytes of data in a full segment."""
    rtt: float
    """Smoothed round-trip time, in seconds."""
    window: int
    """The congestion window, in segments."""
    retransmits: int
    """Segments retransmitted, including tail loss probes and SYNs."""
    acked: int
    """Bytes acknowledged by the peer."""
    sent: int
    """Segments of any kind, retransmissions included."""
    arrived: int
    """Segments that reached TCP, without those that a filter dropped."""


def read_tcp(sock: Any) -> Tcp:
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (mss,) = struct.unpack_from("=I", data, 16)
    rtt, _, _, window = struct.unpack_from("=4I", data, 68)
    (retransmits,) = struct.unpack_from("=I", data, 100)
    acked, _, sent, arrived = struct.unpack_from("=QQII", data, 120)
    return Tcp(mss, rtt / 1e6, window, retransmits, acked, sent, arrived)


_TCP_REPAIR = 19


def knock(sock: socket.socket) -> None:
    """Make a connected socket send one packet without data: a window probe, which TCP never retransmits.

    Leaving repair mode sends it, which requires CAP_NET_ADMIN. The peer counts it as arrived and discards it, since
    its sequence number is old. SK_MEMINFO_DROPS counts it in both cases, dropped by a filter or not.
    """
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 0)


# ── expected values ───────────────────────────────────────────────────────────────────────


def likely(hits: int, trials: int, chance: float) -> bool:
    """Check that the number of hits is within 5 standard deviations; it fails by accident once in 10⁵ to 10⁶ times."""
    return abs(hits - trials * chance) <= 5 * math.sqrt(trials * chance * (1 - chance)) + 1


def mathis(segment: int, rtt: float, loss: float) -> float:
    """Return the bytes per second of a TCP that halves its window at each loss and never times out.

    Mathis, Semke, Mahdavi, Ott: "The macroscopic behavior of the TCP congestion avoidance algorithm", 1997:
    rate = MSS/RTT · C/√p. C = √(3/2), since Linux counts the segments acknowledged, not the acknowledgements.
    """
    return segment / rtt * math.sqrt(1.5 / loss)


def pftk(segment: int, rtt: float, loss: float, timeout: float) -> float:
    """Return the same for a TCP that recovers by three duplicate acknowledgements or a timeout only.

    Padhye, Firoiu, Towsley, Kurose: "Modeling TCP throughput: a simple model and its empirical validation",
    1998, with b = 1 for the same reason.
    """
    halvings = rtt * math.sqrt(2 * loss / 3)
    timeouts = timeout * min(1.0, 3 * math.sqrt(3 * loss / 8)) * loss * (1 + 32 * loss**2)
    return segment / (halvings + timeouts)


# ── a link with a round-trip time ─────────────────────────────────────────────────────────


@contextmanager
def far_link(one_way: float) -> Iterator[None]:
    """Run a link from FAR to NEAR that takes `one_way` seconds; skip the test if there is no tun device."""
    # Imported here, since this file also runs as a program, which cannot import other tests.
    from tests.servers.processes import do_without

    try:
        os.close(os.open(_TUN, os.O_RDWR))
    except OSError as error:
        do_without(f"no link with a round trip: {_TUN}: {error.strerror}")
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, str(one_way)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:  # waits for the process, and closes both pipes
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield
        process.stdin.close()


def _main(one_way: float) -> None:
    """Run the far end of the link until standard input ends."""
    device = _device()
    sys.stdout.write("up\n")
    sys.stdout.flush()
    held: deque[tuple[float, bytes]] = deque()
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        ready, _, _ = select.select([device, sys.stdin], [], [], wait)
        if sys.stdin in ready:
            return
        if device in ready:
            due = time.monotonic() + one_way
            held.extend((due, packet) for packet in _read(device))
        now = time.monotonic()
        while held and held[0][0] <= now:
            _give_back(device, held.popleft()[1])


def _device() -> int:
    device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE, _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def configure(request: int, form: str, *values: object) -> None:
            fcntl.ioctl(sock, request, struct.pack(f"16s{form}", _DEVICE, *values).ljust(40, b"\0"))

        for request, address in ((_SIOCSIFADDR, NEAR), (_SIOCSIFNETMASK, "255.255.255.0")):
            configure(request, "HH4s", socket.AF_INET, 0, socket.inet_aton(address))
        configure(_SIOCSIFTXQLEN, "i", _QUEUE)
        configure(_SIOCSIFFLAGS, "H", _UP_RUNNING)
    return device


def _read(device: int, most: int = 64) -> Iterator[bytes]:
    for _ in range(most):
        try:
            packet = os.read(device, 2048)
        except BlockingIOError:
            return
        if packet[0] >> 4 == 4:  # IPv6 is skipped: the kernel sends some when a device is new
            yield packet


def _give_back(device: int, packet: bytes) -> None:
    """Swap source and destination: bytes 12 to 15 and 16 to 19 of an IPv4 header (RFC 791)."""
    try:
        os.write(device, packet[:12] + packet[16:20] + packet[12:16] + packet[20:])
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOBUFS, errno.EIO):
            raise


if __name__ == "__main__":
    _main(float(sys.argv[1]))
