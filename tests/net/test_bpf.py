"""Programs that drop packets: their bytes, their effect on a BPF machine in Python, and their effect in the kernel."""

from __future__ import annotations

import itertools
import math
import random
import socket
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.faults.base import Drop
from chaosproxy.net.kernel.bpf import KEEP_ALL, encode, losing
from chaosproxy.net.kernel.sockopts import attach, detach
from tests.net.bpf_machine import ACK, FIN, PSH, RST, SYN, URG, BadProgram, checked, run, segment

LEAST, MOST = 0, 2**32 - 1
"""The range of the numbers that `ld rand` draws."""
ALL, ALL_BUT_ACKS = Drop(), Drop(spare_acks=True)

RET_0, RET_ALL = "0600 00 00 00000000", "0600 00 00 ffffffff"
IS_MORE_THAN_AN_ACK = """
    3000 00 00 0d000000   ;       ldb [13]
    4500 06 00 07000000   ;       jset #0x7, lose     FIN, SYN or RST
    3000 00 00 0c000000   ;       ldb [12]
    7400 00 00 02000000   ;       rsh #2
    5400 00 00 3c000000   ;       and #0x3c           length of the header
    0700 00 00 00000000   ;       tax
    8000 00 00 00000000   ;       ld len
"""
GOLDEN = {
    (ALL,): f"""
    {RET_0}               ;       ret #0
    """,
    (Drop(0.05),): f"""
    2000 00 00 38f0ffff   ;       ld rand
    3500 01 00 cdcccc0c   ;       jge #214748365, keep   5 % of 2^32
    {RET_0}               ;       ret #0
    {RET_ALL}             ; keep: ret #-1
    """,
    (ALL_BUT_ACKS,): f"""{IS_MORE_THAN_AN_ACK}
    1d00 01 00 00000000   ;       jeq x, keep
    {RET_0}               ; lose: ret #0
    {RET_ALL}             ; keep: ret #-1
    """,
    (Drop(0.05, spare_acks=True),): f"""{IS_MORE_THAN_AN_ACK}
    1d00 03 00 00000000   ;       jeq x, keep
    2000 00 00 38f0ffff   ; lose: ld rand
    3500 01 00 cdcccc0c   ;       jge #214748365, keep
    {RET_0}               ;       ret #0
    {RET_ALL}             ; keep: ret #-1
    """,
    (Drop(0.05), ALL_BUT_ACKS): f"""{IS_MORE_THAN_AN_ACK}
    1d00 01 00 00000000   ;       jeq x, next         what is certain comes first
    {RET_0}               ; lose: ret #0
    2000 00 00 38f0ffff   ; next: ld rand
    3500 01 00 cdcccc0c   ;       jge #214748365, keep
    {RET_0}               ;       ret #0
    {RET_ALL}             ; keep: ret #-1
    """,
}
"""Programs as encoded on a little-endian machine: code, jt, jf, k; with the assembler language of filter.rst."""


def loses(drops: tuple[Drop, ...], packet: bytes, *numbers: int) -> bool:
    """Return whether the program drops the packet; a kept packet must be kept whole."""
    kept = run(encode(losing(drops)), packet, numbers)
    assert kept in (0, MOST)
    return kept == 0


shares = st.one_of(
    st.floats(0.0, 1.0, exclude_max=True),
    st.floats(-40.0, 0.0, exclude_max=True).map(lambda power: 2.0**power),
    st.floats(-52.0, 0.0, exclude_max=True).map(lambda power: 1.0 - 2.0**power),
)
numbers = st.one_of(st.integers(LEAST, MOST), st.sampled_from((LEAST, 1, 4, 5, MOST - 1, MOST)))
drops = st.builds(Drop, st.one_of(shares, st.just(1.0)), st.booleans())
segments = st.builds(
    segment, st.binary(max_size=80), st.integers(0, 255), st.binary(max_size=40), reserved=st.integers(0, 15)
)
acks = st.builds(
    segment,
    flags=st.sampled_from((0, PSH, URG, 0x40, 0x80, PSH | 0xC0)).map(lambda others: ACK | others),
    options=st.binary(max_size=40),
    reserved=st.integers(0, 15),
)
more_than_acks = st.one_of(
    st.builds(segment, st.binary(min_size=1, max_size=80), st.just(ACK), st.binary(max_size=40)),
    st.builds(
        segment,
        st.just(b""),
        st.sampled_from((FIN, SYN, RST, SYN | ACK, FIN | ACK, RST | ACK)),
        st.binary(max_size=40),
        reserved=st.integers(0, 15),
    ),
)
well = settings(deadline=None)


# ── encoding ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.byteorder != "little", reason="written for little-endian machines")
@pytest.mark.parametrize("rules", GOLDEN, ids=repr)
def test_the_bytes_are_those_of_the_assembler(rules: tuple[Drop, ...]) -> None:
    code = "".join(line.partition(";")[0] for line in GOLDEN[rules].splitlines())
    assert encode(losing(rules)) == bytes.fromhex(code)


def test_to_keep_all_is_one_instruction() -> None:
    assert checked(encode(KEEP_ALL)) == [(0x06, 0, 0, MOST)]
    assert losing(()) == KEEP_ALL


@well
@given(st.lists(drops, max_size=50).map(tuple))
def test_the_kernels_checker_has_nothing_to_say(rules: tuple[Drop, ...]) -> None:
    assert len(checked(encode(losing(rules)))) <= 11 * len(rules) + 1


# ── on the BPF machine ────────────────────────────────────────────────────────────────────


@well
@given(segments)
def test_what_loses_all_loses_everything(packet: bytes) -> None:
    assert loses((ALL,), packet)
    assert loses((Drop(0.5), ALL, ALL_BUT_ACKS), packet), "and throws no dice for it, whatever else there is"


@well
@given(acks)
def test_a_bare_acknowledgement_is_spared(packet: bytes) -> None:
    assert not loses((ALL_BUT_ACKS,), packet)
    assert not loses((Drop(0.5, spare_acks=True),), packet), "without dice"


@well
@given(more_than_acks)
def test_what_is_more_than_an_acknowledgement_is_not_spared(packet: bytes) -> None:
    assert loses((ALL_BUT_ACKS,), packet)
    assert loses((Drop(0.5, spare_acks=True),), packet, LEAST)
    assert not loses((Drop(0.5, spare_acks=True),), packet, MOST)


@well
@given(segments, st.integers(0, 255))
def test_every_segment_is_one_or_the_other(packet: bytes, flags: int) -> None:
    packet = packet[:13] + bytes((flags,)) + packet[14:]
    header = (packet[12] >> 4) * 4
    assert loses((ALL_BUT_ACKS,), packet) == (len(packet) > header or flags & (FIN | SYN | RST) != 0)


@pytest.mark.parametrize(
    ("share", "below"),
    [
        (0.0, 0),
        (1e-10, 0),  # less than half of the smallest share that a program can express
        (2**-32, 1),
        (1e-9, 4),
        (0.05, 214748365),
        (0.5, 2**31),
        (1 - 1e-9, 2**32 - 4),
        (1 - 2**-32, MOST),
        (math.nextafter(1.0, 0.0), MOST),  # a share below 1 lets at least 1 in 2^32 through
    ],
)
@pytest.mark.parametrize("spare_acks", [False, True])
def test_so_many_of_the_numbers_lose(share: float, below: int, spare_acks: bool) -> None:
    rules, data = (Drop(share, spare_acks),), segment(b"data")
    for number in (LEAST, below - 1, below, below + 1, MOST):
        if LEAST <= number <= MOST:
            assert loses(rules, data, number) == (number < below), number


@well
@given(shares, numbers)
def test_the_share_of_numbers_that_lose_is_the_share_asked_for(share: float, number: int) -> None:
    exactly = Fraction(share) * 2**32
    lost = loses((Drop(share),), segment(), number)
    if number + 1 <= exactly:
        assert lost
    if number >= exactly:  # between the two the share is rounded
        assert not lost


@well
@given(st.lists(shares, min_size=1, max_size=6), numbers)
def test_on_equal_numbers_the_greatest_share_decides(several: list[float], number: int) -> None:
    rules = tuple(map(Drop, several))
    alone = [loses((rule,), segment(), number) for rule in rules]
    assert loses(rules, segment(), *itertools.repeat(number, len(rules))) == any(alone)


middling = st.floats(0.001, 0.999)


@well
@given(st.lists(middling, min_size=1, max_size=6), st.lists(middling, max_size=6), st.booleans())
def test_each_rule_has_dice_of_its_own_and_any_of_them_loses(
    always: list[float], sparing: list[float], bare: bool
) -> None:
    rules = (*map(Drop, always), *(Drop(share, spare_acks=True) for share in sparing))
    packet = segment(b"" if bare else b"data")
    dice = len(always) if bare else len(rules)
    assert not loses(rules, packet, *[MOST] * dice)
    with pytest.raises(BadProgram, match="draws more numbers"):
        loses(rules, packet, *[MOST] * (dice - 1))
    for one in range(dice):
        assert loses(rules, packet, *(LEAST if n == one else MOST for n in range(dice)))


@pytest.mark.parametrize(
    ("rules", "packet", "share"),
    [
        ((Drop(0.05),), segment(b"data"), 0.05),
        ((Drop(0.9),), segment(), 0.9),
        ((Drop(0.3), Drop(0.5)), segment(b"data"), 0.65),
        ((Drop(0.2), Drop(0.2)), segment(b"data"), 0.36),
        ((Drop(0.3), Drop(0.5, spare_acks=True)), segment(b"data"), 0.65),
        ((Drop(0.3), Drop(0.5, spare_acks=True)), segment(), 0.3),
    ],
    ids=repr,
)
def test_in_the_long_run_the_share_is_lost(rules: tuple[Drop, ...], packet: bytes, share: float) -> None:
    trials, dice = 10_000, random.Random(7)
    code = encode(losing(rules))
    numbers = iter(lambda: dice.getrandbits(32), None)
    lost = sum(run(code, packet, numbers) == 0 for _ in range(trials))
    assert abs(lost - trials * share) < 4.5 * math.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "0 instructions"),
        (RET_0 * 4097, "4097 instructions"),
        ("0200 00 00 00000000" + RET_0, "unknown code 0x2"),
        ("8000 00 00 00000000", "end with a return"),
        ("4500 01 00 07000000" + RET_0, "out of the program"),
        ("4500 00 01 07000000" + RET_0, "out of the program"),
        ("0500 00 00 01000000" + RET_0, "out of the program"),
        ("7400 00 00 20000000" + RET_0, "shifts by 32"),
        ("2000 00 00 34f0ffff" + RET_0, "loads from 0xfffff034"),
        ("3000 00 00 38f0ffff" + RET_0, "loads from 0xfffff038"),
    ],
)
def test_the_machine_is_strict(code: str, words: str) -> None:
    with pytest.raises(BadProgram, match=words):
        run(bytes.fromhex(code), segment(), [LEAST])


@pytest.mark.parametrize("length", range(14))
def test_a_packet_that_ends_before_what_is_asked_for_is_lost(length: int) -> None:
    assert loses((ALL_BUT_ACKS,), segment()[:length])


# ── in the kernel ─────────────────────────────────────────────────────────────────────────


def a_mixture(dice: random.Random, number: int) -> tuple[Drop, ...]:
    return tuple(Drop(dice.choice((dice.random(), 1e-9, 1.0)), dice.random() < 0.5) for _ in range(number))


@pytest.mark.namespace
def test_the_kernel_accepts_every_program() -> None:
    dice = random.Random(7)
    with socket.socket() as sock:
        for rules in (*GOLDEN, (), *(a_mixture(dice, number) for number in range(51))):
            attach(sock, losing(rules))
        attach(sock, losing(tuple(Drop(1 - number / 100, spare_acks=True) for number in range(50))))
        detach(sock)


@pytest.mark.namespace
def test_the_kernel_runs_it_as_the_machine_does() -> None:
    """Use datagrams: the filter gets exactly these bytes, and nothing is retransmitted."""
    dice = random.Random(7)
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)

        def passes(packet: bytes) -> bool:
            sender.send(packet)
            try:
                return receiver.recv(1000) == packet
            except BlockingIOError:
                return False

        fates = set()
        for rules in ((), (ALL,), (ALL_BUT_ACKS,), (Drop(0.0), ALL_BUT_ACKS), (Drop(0.0, spare_acks=True), Drop(0.0))):
            attach(receiver, losing(rules))
            for _ in range(300):
                payload, options = dice.randbytes(dice.choice((0, 0, 1, 9))), dice.randbytes(dice.randrange(41))
                packet = segment(payload, dice.choice((ACK, dice.randrange(256))), options, dice.randrange(16))
                packet = packet[: dice.choice((len(packet), len(packet), 12, 13, 14))]
                passed = passes(packet)
                assert passed != loses(rules, packet, LEAST, LEAST), packet.hex()
                fates.add((rules, passed))
        assert len(fates) == 8, "two programs have one answer, the others both"
        rules = (Drop(0.3), Drop(0.5, spare_acks=True))
        attach(receiver, losing(rules))
        for packet, share in ((segment(b"data"), 0.65), (segment(), 0.3)):
            lost = sum(not passes(packet) for _ in range(10_000))
            assert abs(lost - 10_000 * share) < 5 * math.sqrt(10_000 * share * (1 - share))
