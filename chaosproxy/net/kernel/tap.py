"""A tap: a packet socket that shows SYN, FIN and RST to listening ports, also those that TCP never receives.

A filter on a socket drops packets before TCP sees them, and a closed port answers for
itself: no socket of TCP tells of such a client. A packet socket (packet(7)) is shown a copy
before both. It needs CAP_NET_RAW.

The socket is bound to all protocols and ignores what leaves. Bound to IP alone it would
cost every packet of the machine more: since Linux 6.16 the kernel then clones each of them
for TCP. The time of a packet is when it is read, within a turn of the loop: time stamps of
the kernel (SO_TIMESTAMPNS) would be taken of every packet of the machine.

    parse   a packet's bytes as a Packet; pure
    Tap     the socket, watched by the loop and read in batches
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
"""Bytes; Linux doubles it, and 316 SYNs fit. All of them can be read in one turn of the loop."""
_MOST_QUEUED = 512
"""Packets that `catch_up` reads at most: more do not fit in the buffer, but more could arrive meanwhile."""

_AF_PACKET = getattr(socket, "AF_PACKET", 17)
_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_STATISTICS = struct.Struct("=II")
"""struct tpacket_stats: packets shown and dropped since it was last asked for."""

_TCP = 6
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_TCP_START = struct.Struct("!HHIIBB")
"""Ports, sequence number, acknowledgement number, data offset, flags (RFC 9293 §3.1)."""


class Packet(NamedTuple):
    """One SYN, FIN or RST that arrived."""

    kind: PacketKind
    source: tuple[str, int]
    """Address and port of the sender, the address without the zone that IPv6 may add."""
    destination: tuple[str, int]
    sequence: int
    """Its sequence number: a SYN that is sent again has the same one."""
    at: float
    """When it was read, on the data plane's clock."""


def parse(data: bytes, at: float) -> Packet | None:
    """The packet whose IP header and what follows are `data`; None where it is not a SYN, FIN or RST of TCP.

    A SYN with an acknowledgement is None too: it answers an attempt and does not begin one.
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
    """Shows packets to the ports it watches; open from its making until `close`."""

    def __init__(
        self, clock: Callable[[], float], show: Callable[[Packet], None], failed: Callable[[OSError], None]
    ) -> None:
        """`failed` is called when the socket breaks; close the tap then.

        :raises OSError: no privilege, no descriptor, or a kernel without packet sockets.
        """
        self._clock, self._show, self._failed = clock, show, failed
        self._loop = asyncio.get_running_loop()
        self.ports: frozenset[int] = frozenset()
        """The ports whose packets are shown; where they are many, packets to ports between them are shown, too."""
        self._missed = 0
        self._is_open = True
        self._socket = _open(_ETH_P_ALL)
        self._loop.add_reader(self._socket, self._read)

    def watch(self, ports: frozenset[int]) -> None:
        """Show packets to these ports from now on, and no others.

        :raises OSError: no memory for the program.
        """
        if ports != self.ports:
            attach(self._socket, watching(ports))
            self.ports = ports

    def catch_up(self) -> None:
        """Show every packet that has arrived by now."""
        self._read(_MOST_QUEUED)

    @property
    def missed(self) -> int:
        """Packets that the kernel could not keep because too many were waiting."""
        if self._is_open:
            with contextlib.suppress(OSError):
                answer = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
                self._missed += _STATISTICS.unpack(answer)[1]
        return self._missed

    def close(self) -> None:
        """Show nothing more."""
        self._is_open = False
        self._loop.remove_reader(self._socket)
        # Linux waits until no processor can still use a packet socket (synchronize_net), for 8 to 16 ms.
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
    """Open such a socket and close it, which takes some 10 ms.

    :raises OSError: no privilege, or a kernel without packet sockets.
    """
    _open(protocol=0).close()


def _open(protocol: int) -> socket.socket:
    """A packet socket for a protocol; 0 is none. Packets that arrive before the filter is there are for `parse`."""
    sock = socket.socket(_AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol))
    try:
        attach(sock, watching(()))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        with contextlib.suppress(OSError):  # before Linux 4.20 the program drops what leaves
            sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    except BaseException:
        sock.close()
        raise
    return sock
