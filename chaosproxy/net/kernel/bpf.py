"""Programs for the kernel's socket filter that drop packets. Pure.

The kernel runs a classic BPF program (bpf(4); Linux: Documentation/networking/filter.rst) on every
packet that arrives for a TCP socket, before TCP processes it. The input is the TCP header and the
data after it. The result is the number of bytes to keep; 0 drops the packet. A program keeps no
state from one packet to the next, but it can draw a random number.

    ld len         A = length of the TCP header and its data
    ldb [12]       A = the data offset, in the high four bits
    ldb [13]       A = the flags
    ld rand        A = a random number below 2³² (from Linux 3.16 on)
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

from chaosproxy.faults.base import Drop

__all__ = ["KEEP_ALL", "Instruction", "Program", "encode", "losing"]


class Instruction(NamedTuple):
    """One `struct sock_filter`: operation, jump distances if true and if false, and operand."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]

# Combined codes of linux/bpf_common.h.
_LD_LEN = 0x80  # A = length of the packet
_LD_B_ABS = 0x30  # A = byte at k
_LD_W_ABS = 0x20  # A = word at k; from SKF_AD_OFF on, k names an extension
_RSH = 0x74  # A >>= k
_AND = 0x54  # A &= k
_TAX = 0x07  # X = A
_JEQ_X = 0x1D  # A == X
_JSET_K = 0x45  # A & k
_JGE_K = 0x35  # A >= k
_RET_K = 0x06

_RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM: the address from which `ld` loads a random number."""
_DATA_OFFSET, _FLAGS = 12, 13
"""Bytes of the TCP header (RFC 9293 §3.1)."""
_FIN_SYN_RST = 0x07
_WHOLE_PACKET = 0xFFFFFFFF

_DROP = Instruction(_RET_K, 0, 0, 0)
_KEEP = Instruction(_RET_K, 0, 0, _WHOLE_PACKET)

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
        # A packet with SYN, FIN or RST is no bare acknowledgement,
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
