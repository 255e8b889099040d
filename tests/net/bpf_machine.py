"""A machine for classic BPF programs, with TCP segments and IP packets as input. Pure; imports nothing of chaosproxy.

Written from S. McCanne and V. Jacobson, "The BSD Packet Filter" (USENIX Winter 1993, section 3), and
Linux: Documentation/networking/filter.rst. The machine has an accumulator A and an index register X, and
jumps go forward only. It implements loads, arithmetic without division, jumps and returns, without scratch
memory. A program with other instructions, or one that the kernel's checker refuses, raises BadProgram.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

__all__ = ["ACK", "FIN", "PSH", "RST", "SYN", "URG", "BadProgram", "checked", "ipv4", "ipv6", "run", "segment"]

MOST_INSTRUCTIONS = 4096
"""BPF_MAXINSNS."""
EXTENSIONS = 0xFFFFF000
"""SKF_AD_OFF: addresses from here on are no place in the packet, but name an extension."""
RAND = EXTENSIONS + 56
"""SKF_AD_RANDOM."""
PACKET_TYPE = EXTENSIONS + 4
"""SKF_AD_PKTTYPE."""
PROTOCOL = EXTENSIONS
"""SKF_AD_PROTOCOL."""
NAMED = {(0x20, RAND), (0x28, PROTOCOL), (0x30, PACKET_TYPE)}
"""The extensions that the machine implements, with the instructions that load them."""
ELSEWHERE = 0x80000000
"""Addresses from here up to EXTENSIONS are in the headers around the packet (SKF_LL_OFF, SKF_NET_OFF)."""
WORD = 0xFFFFFFFF

LOADS_AT_K = {0x20: 4, 0x28: 2, 0x30: 1}  # ld, ldh, ldb [k]
LOADS_AT_X = {0x40: 4, 0x48: 2, 0x50: 1}  # ld, ldh, ldb [x + k]
SHIFTS_BY_K = {0x64, 0x74}
CONDITIONS = {0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D}
JUMP, RETURN_K, RETURN_A = 0x05, 0x06, 0x16
OTHERS = {
    *(0x00, 0x01, 0x80, 0x81, 0xB1),  # ld #k, ldx #k, ld len, ldx len, ldx 4*([k]&0xf)
    *(0x04, 0x14, 0x24, 0x44, 0x54, 0xA4, 0x84),  # add sub mul or and xor #k, neg
    *(0x0C, 0x1C, 0x2C, 0x4C, 0x5C, 0xAC),  # the same with x as the operand
    *(0x07, 0x87),  # tax, txa
}
KNOWN = {*LOADS_AT_K, *LOADS_AT_X, *SHIFTS_BY_K, *CONDITIONS, *OTHERS, JUMP, RETURN_K, RETURN_A}

Instructions = list[tuple[int, int, int, int]]


class BadProgram(Exception):
    """The kernel would refuse the program, or this machine does not know an instruction."""


def checked(code: bytes) -> Instructions:
    """Decode and check the instructions (code, jt, jf, k) of an array of `struct sock_filter`.

    :raises BadProgram: with the number of the instruction.
    """
    if len(code) % 8:
        raise BadProgram(f"{len(code)} bytes are no whole number of instructions")
    program = list(struct.iter_unpack("=HBBI", code))
    if not 1 <= len(program) <= MOST_INSTRUCTIONS:
        raise BadProgram(f"{len(program)} instructions")
    for at, (op, jt, jf, k) in enumerate(program):
        behind = len(program) - at - 1
        if op not in KNOWN:
            raise BadProgram(f"{at}: unknown code {op:#x}")
        if op in CONDITIONS and max(jt, jf) >= behind or op == JUMP and k >= behind:
            raise BadProgram(f"{at}: jumps out of the program")
        if op in SHIFTS_BY_K and k >= 32:
            raise BadProgram(f"{at}: shifts by {k}")
        if op in LOADS_AT_K and k >= ELSEWHERE and (op, k) not in NAMED:
            raise BadProgram(f"{at}: loads from {k:#x}")
    if program[-1][0] not in (RETURN_K, RETURN_A):
        raise BadProgram("it does not end with a return")
    return program


def run(
    code: bytes, packet: bytes, rand: Iterable[int] = (), packet_type: int = 0, protocol: int | None = None
) -> int:
    """Run a program; return the number of bytes to keep, where 0 drops the packet. `ld rand` draws from `rand`.

    A packet on a packet socket has a type and a network protocol; one on a TCP socket has neither.

    :raises BadProgram: as for `checked`, or the program draws more numbers than `rand` has.
    """
    program, numbers = checked(code), iter(rand)
    a = x = at = 0
    while True:
        op, jt, jf, k = program[at]
        at += 1
        match op:
            case 0x20 if k == RAND:
                a = _drawn(numbers)
            case 0x30 if k == PACKET_TYPE:
                a = packet_type
            case 0x28 if k == PROTOCOL:
                if protocol is None:
                    raise BadProgram("asks for the protocol, which this machine was not given")
                a = protocol
            case 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50:
                place = k if op in LOADS_AT_K else (x + k) & WORD
                end = place + (LOADS_AT_K.get(op) or LOADS_AT_X[op])
                if end > len(packet):
                    return 0  # as in the kernel
                a = int.from_bytes(packet[place:end], "big")
            case 0xB1:
                if k >= len(packet):
                    return 0
                x = 4 * (packet[k] & 0x0F)
            case 0x00:
                a = k
            case 0x01:
                x = k
            case 0x80:
                a = len(packet)
            case 0x81:
                x = len(packet)
            case 0x07:
                x = a
            case 0x87:
                a = x
            case 0x05:
                at += k
            case 0x06:
                return k
            case 0x16:
                return a
            case _:
                operand = x if op & 0x08 else k  # BPF_SRC
                if op in CONDITIONS:
                    at += jt if _holds(op, a, operand) else jf
                else:
                    a = _computed(op, a, operand) & WORD


def _drawn(numbers: Iterator[int]) -> int:
    number = next(numbers, None)
    if number is None:
        raise BadProgram("draws more numbers than there are")
    if not 0 <= number <= WORD:
        raise ValueError(f"{number} is no number that the kernel draws")
    return number


def _holds(op: int, a: int, operand: int) -> bool:
    match op & 0xF0:
        case 0x10:
            return a == operand
        case 0x20:
            return a > operand
        case 0x30:
            return a >= operand
        case _:  # 0x40, jset
            return a & operand != 0


def _computed(op: int, a: int, operand: int) -> int:
    match op & 0xF0:
        case 0x00:
            return a + operand
        case 0x10:
            return a - operand
        case 0x20:
            return a * operand
        case 0x40:
            return a | operand
        case 0x50:
            return a & operand
        case 0x60:
            return a << operand
        case 0x70:
            return a >> operand
        case 0x80:
            return -a
        case _:  # 0xA0
            return a ^ operand


FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""The flags of RFC 9293 §3.1; 0x40 and 0x80 are ECE and CWR."""


def segment(
    payload: bytes = b"",
    flags: int = ACK,
    options: bytes = b"",
    reserved: int = 0,
    ports: tuple[int, int] = (40000, 5432),
    sequence: int = 0x01020304,
) -> bytes:
    """Return a TCP segment: its header, up to 40 bytes of options padded to whole words, and its data."""
    padded = options + bytes(-len(options) % 4)
    assert len(padded) <= 40 and 0 <= reserved <= 15
    words = (20 + len(padded)) // 4
    acknowledged, window, checksum, urgent = 0x05060708, 502, 0, 0
    fixed = (*ports, sequence, acknowledged, words << 4 | reserved, flags, window, checksum, urgent)
    return struct.pack("!HHIIBBHHH", *fixed) + padded + payload


def ipv4(
    payload: bytes, protocol: int = 6, options: bytes = b"", fragment: int = 0, source: str = "192.0.2.7",
    destination: str = "192.0.2.1",
) -> bytes:  # fmt: skip
    """An IPv4 packet (RFC 791 §3.1) with up to 40 bytes of options; `fragment` are its flags and fragment offset."""
    padded = options + bytes(-len(options) % 4)
    words = (20 + len(padded)) // 4
    fixed = (0x40 | words, 0, 4 * words + len(payload), 1, fragment, 64, protocol, 0)
    addresses = (socket.inet_pton(socket.AF_INET, one) for one in (source, destination))
    return struct.pack("!BBHHHBBH4s4s", *fixed, *addresses) + padded + payload


def ipv6(
    payload: bytes, next_header: int = 6, source: str = "2001:db8::7", destination: str = "2001:db8::1"
) -> bytes:
    """An IPv6 packet (RFC 8200 §3) without extension headers."""
    addresses = (socket.inet_pton(socket.AF_INET6, one) for one in (source, destination))
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), next_header, 64, *addresses) + payload
