"""A tap: packet sockets that show SYN, FIN and RST to listening ports, also those that TCP never receives.

A filter on a socket drops packets before TCP sees them, and a closed port answers for
itself: no socket of TCP tells of such a client. A packet socket (packet(7)) is shown a copy
before both. It needs CAP_NET_RAW.

There is one socket for IPv4 and one for IPv6, each bound to its protocol and not to all of
them (ETH_P_ALL). So the kernel shows a packet where its IP layer receives it: once, whatever
bridges, bonds and VLANs it came through, and never on its way out. PACKET_IGNORE_OUTGOING
is for sockets that are bound to all protocols.

    parse   a packet's bytes as a Packet; pure
    Tap     the sockets, watched by the loop and read in batches
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from chaosproxy.net.kernel.bpf import SNAP, Program, watching
from chaosproxy.net.kernel.sockopts import attach

__all__ = ["BATCH", "Packet", "PacketKind", "Tap", "parse", "try_tap"]

PacketKind = Literal["syn", "fin", "rst"]

BATCH = 64
"""Packets read in one turn of the loop, some 5 µs each."""
_BUFFER = 128 * 1024
"""Bytes; Linux doubles it, and 316 SYNs fit. All of them can be read in one turn of the loop."""
_MOST_QUEUED = 512
"""Packets that `catch_up` reads at most: more do not fit in the buffer, but more could arrive meanwhile."""

_AF_PACKET = getattr(socket, "AF_PACKET", 17)
_PROTOCOLS: dict[Literal[4, 6], int] = {4: 0x0800, 6: 0x86DD}
"""ETH_P_IP and ETH_P_IPV6 (linux/if_ether.h)."""
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_STATISTICS = struct.Struct("=II")
"""struct tpacket_stats: packets shown and dropped since it was last asked for."""
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

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
    """When it arrived, on the data plane's clock."""


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
        """`failed` is called when a socket breaks; close the tap then.

        :raises OSError: no privilege, no descriptor, or a kernel without packet sockets.
        """
        self._show, self._failed = show, failed
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self.ports: frozenset[int] = frozenset()
        """The ports whose packets are shown; where they are many, packets to ports between them are shown, too."""
        self._missed = 0
        self._sockets: dict[Literal[4, 6], socket.socket] = {}
        try:
            for ip, protocol in _PROTOCOLS.items():
                self._sockets[ip] = _open(protocol, watching((), ip))
        except BaseException:
            _close(self._sockets.values())
            raise
        for sock in self._sockets.values():
            self._loop.add_reader(sock, self._readable, sock)

    def watch(self, ports: frozenset[int]) -> None:
        """Show packets to these ports from now on, and no others; it takes some 0.1 ms.

        :raises OSError: no memory for the program.
        """
        if ports != self.ports:
            for ip, sock in self._sockets.items():
                attach(sock, watching(ports, ip))
            self.ports = ports

    def catch_up(self) -> None:
        """Show every packet that has arrived by now."""
        for sock in [*self._sockets.values()]:
            if self._sockets:
                self._read(sock, _MOST_QUEUED)

    @property
    def missed(self) -> int:
        """Packets that the kernel could not keep because too many were waiting."""
        for sock in self._sockets.values():
            with contextlib.suppress(OSError):
                self._missed += _STATISTICS.unpack(
                    sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
                )[1]
        return self._missed

    def close(self) -> None:
        """Show nothing more."""
        sockets = [*self._sockets.values()]
        self._sockets.clear()
        for sock in sockets:
            self._loop.remove_reader(sock)
        # Linux waits until no processor can still use a packet socket (synchronize_net): 8 to 16 ms each.
        threading.Thread(target=_close, args=(sockets,), name="chaosproxy-tap-close", daemon=True).start()

    def _readable(self, sock: socket.socket) -> None:
        self._read(sock, BATCH)

    def _read(self, sock: socket.socket, most: int) -> None:
        now = self._clock()
        ahead = now - time.time()
        for _ in range(most):
            try:
                data, ancillary, _, _ = sock.recvmsg(SNAP, _ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if self._sockets:  # a packet that was shown may have closed the tap
                    self._failed(error)
                return
            at = now
            if ancillary:
                seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
                at = min(now, seconds + nanoseconds / 1e9 + ahead)
            packet = parse(data, at)
            if packet is not None:
                self._show(packet)


def try_tap() -> None:
    """Open such a socket and close it, which takes some 10 ms.

    :raises OSError: no privilege, or a kernel without packet sockets.
    """
    _open(0, watching((), 4)).close()


def _open(protocol: int, program: Program) -> socket.socket:
    """A packet socket for a protocol; 0 is none. Packets that arrive before the filter is there are for `parse`."""
    sock = socket.socket(_AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol))
    try:
        attach(sock, program)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
