"""Programs for the kernel's socket filter: they drop packets, or select the packets that a tap sees. Pure.

The kernel runs a classic BPF program (bpf(4); Linux: Documentation/networking/filter.rst) on every
packet that arrives for a socket, before the socket gets it. The result is the number of bytes to keep;
0 drops the packet. A program keeps no state from one packet to the next, but it can draw a random
number.

On a TCP socket its input is the TCP header and the data after it, and a dropped packet is lost:

    ld len         A = length of the TCP header and its data
    ldb [12]       A = the data offset, in the high four bits
    ldb [13]       A = the flags
    ld rand        A = a random number below 2³² (from Linux 3.16 on)

On a packet socket (SOCK_DGRAM) its input is the IP header and the data after it. The packet is a
copy: TCP receives the original in any case.

    ldh proto         A = the network protocol
    ldx 4*([0]&0xf)   X = length of the IPv4 header
    ldh [x+2]         A = the destination port
    ldb type          A = the addressee on the link layer (PACKET_HOST: this machine)
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Collection
from typing import NamedTuple

from chaosproxy.faults.base import Drop

__all__ = ["KEEP_ALL", "MOST_PORTS", "SNAP", "Instruction", "Program", "encode", "losing", "watching"]


class Instruction(NamedTuple):
    """One `struct sock_filter`: operation, jump distances if true and if false, and operand."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]

# Combined codes of linux/bpf_common.h.
_LD_LEN = 0x80  # A = length of the packet
_LD_B_ABS = 0x30  # A = byte at k; from _EXTENSIONS on, k names an extension
_LD_H_ABS = 0x28  # A = half-word at k; likewise
_LD_W_ABS = 0x20  # A = word at k; likewise
_LD_B_IND = 0x50  # A = byte at x + k
_LD_H_IND = 0x48  # A = half-word at x + k
_LDX_MSH = 0xB1  # X = 4 * (byte at k & 0xf)
_LDX_IMM = 0x01  # X = k
_RSH = 0x74  # A >>= k
_AND = 0x54  # A &= k
_TAX = 0x07  # X = A
_JEQ_X = 0x1D  # A == X
_JEQ_K = 0x15  # A == k
_JSET_K = 0x45  # A & k
_JGT_K = 0x25  # A > k
_JGE_K = 0x35  # A >= k
_JA = 0x05
_RET_K = 0x06

_EXTENSIONS = 0xFFFFF000
"""SKF_AD_OFF."""
_RANDOM = _EXTENSIONS + 56
"""SKF_AD_RANDOM: the address from which `ld` loads a random number."""
_PROTOCOL, _ETH_P_IP, _ETH_P_IPV6 = _EXTENSIONS, 0x0800, 0x86DD
"""SKF_AD_PROTOCOL: the address from which `ldh` loads the network protocol (linux/if_ether.h)."""
_PACKET_TYPE, _PACKET_HOST = _EXTENSIONS + 4, 0
"""SKF_AD_PKTTYPE: the address from which `ldb` loads the packet's type (linux/if_packet.h)."""
_DATA_OFFSET, _FLAGS = 12, 13
"""Bytes of the TCP header (RFC 9293 §3.1)."""
_FIN_SYN_RST = 0x07
_PORT = 2
_IPV4_PROTOCOL, _IPV4_FRAGMENT, _FRAGMENT_OFFSET = 9, 6, 0x1FFF
"""RFC 791 §3.1; only the first fragment of a packet has its TCP header."""
_IPV6_NEXT_HEADER, _IPV6_HEADER = 6, 40
"""RFC 8200 §3."""
_TCP = 6
_WHOLE_PACKET = 0xFFFFFFFF

SNAP = 80
"""Bytes that a tap keeps of a packet: the longest IPv4 header, or that of IPv6, and the fixed part of TCP's header."""
MOST_PORTS = 64
"""Ports that a program compares one by one: each takes 1 µs to make, and older kernels limit a program's size."""

_DROP = Instruction(_RET_K, 0, 0, 0)
_KEEP = Instruction(_RET_K, 0, 0, _WHOLE_PACKET)

_SHOW = Instruction(_RET_K, 0, 0, SNAP)

KEEP_ALL: Program = (_KEEP,)


@functools.lru_cache(maxsize=256)
def losing(drops: tuple[Drop, ...]) -> Program:
    """Return the program that drops a packet if any of `drops` does; each share draws its own random number."""
    program: list[Instruction] = []
    for drop in sorted(drops, key=lambda one: -one.share):  # a share of 1 first: it draws no number
        program += _rule(drop)
        if drop.share >= 1 and not drop.spare_acks:
            return tuple(program)  # it drops every packet, so rules after it never run
    return (*program, _KEEP)


def watching(ports: Collection[int]) -> Program:
    """Return the program for a packet socket that keeps only SYN, FIN and RST to `ports`.

    With more ports than MOST_PORTS it keeps packets to every port from the lowest to the highest, and the
    reader ignores the others. A packet with IPv6 extension headers before its TCP header is dropped.
    """
    program = [*_TCP_HEADER]
    program += [
        Instruction(_LD_B_IND, 0, 0, _FLAGS),
        *_unless(Instruction(_JSET_K, 1, 0, _FIN_SYN_RST)),
        Instruction(_LD_B_ABS, 0, 0, _PACKET_TYPE),
        *_unless(Instruction(_JEQ_K, 1, 0, _PACKET_HOST)),
        Instruction(_LD_H_IND, 0, 0, _PORT),
    ]
    if len(ports) > MOST_PORTS:
        program += [
            *_unless(Instruction(_JGE_K, 1, 0, min(ports))),
            *_unless(Instruction(_JGT_K, 0, 1, max(ports))),
            _SHOW,
        ]
        return tuple(program)
    for port in sorted(ports):
        program += [Instruction(_JEQ_K, 0, 1, port), _SHOW]
    return (*program, _DROP)


def encode(program: Program) -> bytes:
    """Encode a program for the kernel, as an array of `struct sock_filter`."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _rule(drop: Drop) -> list[Instruction]:
    """Return instructions that drop the packet, or continue after the last of them."""
    lose = [_DROP]
    if drop.share < 1:
        # The number drawn is one of 2³², and `threshold` of them are below the threshold.
        threshold = min(round(drop.share * 2**32), 2**32 - 1)
        lose = [Instruction(_LD_W_ABS, 0, 0, _RANDOM), Instruction(_JGE_K, 1, 0, threshold), _DROP]
    if not drop.spare_acks:
        return lose
    return [
        # A packet with SYN, FIN or RST is not a bare acknowledgement,
        Instruction(_LD_B_ABS, 0, 0, _FLAGS),
        Instruction(_JSET_K, 6, 0, _FIN_SYN_RST),
        # nor is a packet that is longer than its header: the data offset counts words of four bytes.
        Instruction(_LD_B_ABS, 0, 0, _DATA_OFFSET),
        Instruction(_RSH, 0, 0, 2),
        Instruction(_AND, 0, 0, 0x3C),
        Instruction(_TAX, 0, 0, 0),
        Instruction(_LD_LEN, 0, 0, 0),
        Instruction(_JEQ_X, len(lose), 0, 0),
        *lose,
    ]


def _unless(condition: Instruction) -> tuple[Instruction, Instruction]:
    """Return instructions that drop the packet unless `condition` jumps over the drop.

    A jump reaches only 255 instructions, so one common drop at the end would be too far away.
    """
    return condition, _DROP


_TCP_HEADER = (
    Instruction(_LD_H_ABS, 0, 0, _PROTOCOL),
    Instruction(_JEQ_K, 0, 8, _ETH_P_IP),  # to IPv6
    Instruction(_LD_B_ABS, 0, 0, _IPV4_PROTOCOL),
    *_unless(Instruction(_JEQ_K, 1, 0, _TCP)),
    Instruction(_LD_H_ABS, 0, 0, _IPV4_FRAGMENT),
    *_unless(Instruction(_JSET_K, 0, 1, _FRAGMENT_OFFSET)),
    Instruction(_LDX_MSH, 0, 0, 0),
    Instruction(_JA, 0, 0, 6),  # past IPv6
    *_unless(Instruction(_JEQ_K, 1, 0, _ETH_P_IPV6)),
    Instruction(_LD_B_ABS, 0, 0, _IPV6_NEXT_HEADER),
    *_unless(Instruction(_JEQ_K, 1, 0, _TCP)),
    Instruction(_LDX_IMM, 0, 0, _IPV6_HEADER),
)
"""Instructions that drop a packet without a TCP header, and set X to the offset of that header."""
