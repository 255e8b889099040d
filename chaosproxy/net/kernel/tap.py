"""A tap: a packet socket that shows SYN, FIN and RST to listening ports, including those that TCP never receives.

A filter on a socket drops packets before TCP processes them, and the kernel itself responds to a SYN
to a closed port. No TCP socket shows such clients. A packet socket (packet(7)) gets a copy of each
packet before either happens. It needs CAP_NET_RAW.

The socket is bound to all protocols and ignores outgoing packets. Bound to IP only, it would make
every packet of the machine more expensive: since Linux 6.16 the kernel then clones each of them for
TCP. The time of a packet is the time at which it is read, within a turn of the loop: the kernel would
take its time stamps (SO_TIMESTAMPNS) for every packet of the machine.

    parse   parse a packet's bytes as a Packet; pure
    Tap     the socket, polled by the loop and read in batches
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple

from chaosproxy.net.kernel.bpf import SNAP, watching
from chaosproxy.net.kernel.sockopts import attach

__all__ = ["BATCH", "Packet", "PacketKind", "Tap", "parse", "try_tap"]

PacketKind = Literal["syn", "fin", "rst"]

BATCH = 64
"""Packets read in one turn of the loop, some 4 µs each."""
_BUFFER = 128 * 1024
"""Bytes; Linux doubles the value, so that 316 SYNs fit. All of them can be read in one turn of the loop."""
_MOST_QUEUED = 512
"""The most packets that `catch_up` reads: the buffer holds fewer, but others may arrive meanwhile."""

_AF_PACKET = getattr(socket, "AF_PACKET", 17)
_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_STATISTICS = struct.Struct("=II")
"""struct tpacket_stats: packets received and dropped since the last call."""

_TCP = 6
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_TCP_START = struct.Struct("!HHIIBB")
"""Ports, sequence number, acknowledgement number, data offset, flags (RFC 9293 §3.1)."""


class Packet(NamedTuple):
    """One SYN, FIN or RST that arrived."""

    kind: PacketKind
    source: tuple[str, int]
    """Address and port of the sender; an IPv6 address is without its zone."""
    destination: tuple[str, int]
    sequence: int
    """The sequence number; a retransmitted SYN has the same one."""
    at: float
    """The time at which it was read, on the data plane's clock."""


def parse(data: bytes, at: float) -> Packet | None:
    """Parse a packet from its IP header on; return None if it is not a SYN, FIN or RST of TCP.

    A SYN with an acknowledgement is None too: it is the response to an attempt, and begins none.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20 and data[9] == _TCP and not (data[6] << 8 | data[7]) & 0x1FFF:
        family, start, addresses = socket.AF_INET, (data[0] & 0x0F) * 4, data[12:20]
        if start < 20:
            return None
    elif version == 6 and len(data) >= 40 and data[6] == _TCP:
        family, start, addresses = socket.AF_INET6, 40, data[8:40]
    else:
        return None
    if len(data) < start + _TCP_START.size:
        return None
    from_port, to_port, sequence, _, _, flags = _TCP_START.unpack_from(data, start)
    kind: PacketKind
    if flags & _RST:
        kind = "rst"
    elif flags & _SYN:
        if flags & _ACK:
            return None
        kind = "syn"
    elif flags & _FIN:
        kind = "fin"
    else:
        return None
    half = len(addresses) // 2
    source, destination = (socket.inet_ntop(family, one) for one in (addresses[:half], addresses[half:]))
    return Packet(kind, (source, from_port), (destination, to_port), sequence, at)


class Tap:
    """Shows the packets to some ports; open until `close`."""

    def __init__(
        self, clock: Callable[[], float], show: Callable[[Packet], None], failed: Callable[[OSError], None]
    ) -> None:
        """`show` is called with each packet; `failed` when the socket fails, after which the tap must be closed.

        :raises OSError: no privilege, no descriptor, or a kernel without packet sockets.
        """
        self._clock, self._show, self._failed = clock, show, failed
        self._loop = asyncio.get_running_loop()
        self.ports: frozenset[int] = frozenset()
        """The ports whose packets are shown; if they are many, packets to ports between them are shown too."""
        self._missed = 0
        self._is_open = True
        self._socket = _open(_ETH_P_ALL)
        self._loop.add_reader(self._socket, self._read)

    def watch(self, ports: frozenset[int]) -> None:
        """Replace the ports whose packets are shown.

        :raises OSError: no memory for the program.
        """
        if ports != self.ports:
            attach(self._socket, watching(ports))
            self.ports = ports

    def catch_up(self) -> None:
        """Show every packet that has arrived so far."""
        self._read(_MOST_QUEUED)

    @property
    def missed(self) -> int:
        """The number of packets that the kernel has dropped because too many were waiting to be read."""
        if self._is_open:
            with contextlib.suppress(OSError):
                statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
                self._missed += _STATISTICS.unpack(statistics)[1]
        return self._missed

    def close(self) -> None:
        """Stop showing packets, and close the socket."""
        self._is_open = False
        self._loop.remove_reader(self._socket)
        # close() takes 8 to 16 ms, since Linux waits until no processor uses the packet socket (synchronize_net).
        threading.Thread(target=self._socket.close, name="chaosproxy-tap-close", daemon=True).start()

    def _read(self, most: int = BATCH) -> None:
        now = self._clock()
        for _ in range(most):
            try:
                data = self._socket.recv(SNAP)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                return
            packet = parse(data, now)
            if packet is not None:
                self._show(packet)
                if not self._is_open:
                    return


def try_tap() -> None:
    """Open a packet socket and close it, which takes about 10 ms.

    :raises OSError: no privilege, or a kernel without packet sockets.
    """
    _open(protocol=0).close()


def _open(protocol: int) -> socket.socket:
    """Return a packet socket for a protocol; 0 is none. `parse` rejects packets that arrive before its filter."""
    sock = socket.socket(_AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol))
    try:
        attach(sock, watching(()))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        with contextlib.suppress(OSError):  # before Linux 4.20 the program drops outgoing packets
            sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    except BaseException:
        sock.close()
        raise
    return sock
