"""The tap: the packets that its programs keep, the parser, and the packets that it shows of real connections."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.net.kernel.bpf import MOST_PORTS, SNAP, encode, watching
from chaosproxy.net.kernel.sockopts import attach
from chaosproxy.net.kernel.tap import BATCH, Packet, Tap, parse
from tests.net.bpf_machine import ACK, FIN, PSH, RST, SYN, checked, ipv4, ipv6, run, segment
from tests.net.harness import LOOPS, close_with_reset

HOST, OTHER_HOST, OUTGOING = 0, 3, 4
"""The packet types of linux/if_packet.h: to this machine, to another (a promiscuous interface), from this one."""
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
MORE_FRAGMENTS, DONT_FRAGMENT = 0x2000, 0x4000
HOP_BY_HOP, UDP = 0, 17

few_ports = st.frozensets(st.integers(1, 65535), max_size=MOST_PORTS)
flags = st.integers(0, 255)
well = settings(deadline=None)


def shows(ports: frozenset[int], packet: bytes, packet_type: int = HOST, protocol: int | None = None) -> bool:
    """Return whether the program keeps the packet; it must keep SNAP bytes of it."""
    if protocol is None:
        protocol = IPV4 if packet[0] >> 4 == 4 else IPV6
    kept = run(encode(watching(ports)), packet, packet_type=packet_type, protocol=protocol)
    assert kept in (0, SNAP)
    return kept > 0


def tcp(to: int, bits: int, payload: bytes = b"") -> bytes:
    return segment(payload, bits, ports=(40000, to))


# ── programs ──────────────────────────────────────────────────────────────────────────────


@well
@given(few_ports, st.integers(1, 65535), flags, st.binary(max_size=40), st.binary(max_size=20))
def test_it_shows_what_begins_or_ends_a_connection_to_one_of_its_ports(
    ports: frozenset[int], to: int, bits: int, options: bytes, payload: bytes
) -> None:
    wanted = bits & (SYN | FIN | RST) != 0
    for port in (to, *sorted(ports)[:3]):
        for packet in (ipv4(tcp(port, bits, payload), options=options), ipv6(tcp(port, bits, payload))):
            assert shows(ports, packet) == (wanted and port in ports)


@pytest.mark.parametrize("packet", [ipv4(tcp(5432, SYN)), ipv6(tcp(5432, SYN))], ids=["IPv4", "IPv6"])
def test_it_shows_what_is_sent_to_this_machine_alone(packet: bytes) -> None:
    assert shows(frozenset({5432}), packet, HOST)
    assert not shows(frozenset({5432}), packet, OUTGOING)
    assert not shows(frozenset({5432}), packet, OTHER_HOST)


def test_what_is_not_tcp_or_has_no_tcp_header_is_not_shown() -> None:
    ports = frozenset({5432})
    syn = tcp(5432, SYN)
    assert shows(ports, ipv4(syn, fragment=DONT_FRAGMENT))
    assert shows(ports, ipv4(syn, fragment=MORE_FRAGMENTS)), "the first fragment has the header"
    assert not shows(ports, ipv4(syn, fragment=1)), "the others look as if they had one"
    assert not shows(ports, ipv4(syn, protocol=UDP))
    assert not shows(ports, ipv6(syn, next_header=UDP))
    assert not shows(ports, ipv6(syn, next_header=HOP_BY_HOP))
    assert not shows(ports, ipv4(syn), protocol=ARP)
    assert not shows(ports, ipv4(syn), protocol=IPV6)
    assert not shows(ports, ipv6(syn), protocol=IPV4)


@well
@given(st.sampled_from([ipv4(tcp(5432, SYN), options=b"four" * 10), ipv6(tcp(5432, SYN))]), st.data())
def test_of_a_packet_that_is_cut_short_it_reads_nothing(packet: bytes, data: st.DataObject) -> None:
    ends = len(packet) - 20 + 14  # the end of the flags
    cut = packet[: data.draw(st.integers(1, len(packet)))]
    assert shows(frozenset({5432}), cut) == (len(cut) >= ends)
    assert parse(cut, 0.0) is None or len(cut) >= ends


@pytest.mark.parametrize("count", [0, 1, MOST_PORTS])
def test_the_kernels_checker_has_nothing_to_say(count: int) -> None:
    assert len(checked(encode(watching(range(20000, 20000 + count))))) == 2 * count + 24


@pytest.mark.parametrize("ip", [ipv4, ipv6])
def test_of_too_many_ports_it_knows_the_lowest_and_highest(ip: Callable[[bytes], bytes]) -> None:
    ports = frozenset(range(20000, 20000 + 2 * (MOST_PORTS + 1), 2))
    assert len(checked(encode(watching(ports)))) == 28
    for port in (20000, 20001, max(ports)):
        assert shows(ports, ip(tcp(port, SYN)))
        assert not shows(ports, ip(tcp(port, PSH | ACK, b"data")))
    for port in (19999, max(ports) + 1):
        assert not shows(ports, ip(tcp(port, SYN)))


# ── the parser ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bits", "kind"),
    [
        (SYN, "syn"), (SYN | 0xC0, "syn"), (FIN | ACK, "fin"), (FIN | PSH | ACK, "fin"), (RST, "rst"),
        (RST | ACK, "rst"), (RST | FIN | ACK, "rst"), (SYN | ACK, None), (ACK, None), (PSH | ACK, None), (0, None),
    ],
)  # fmt: skip
def test_flags_become_a_kind(bits: int, kind: str | None) -> None:
    for packet in (ipv4(tcp(5432, bits, b"data")), ipv6(tcp(5432, bits, b"data"))):
        found = parse(packet, 1.5)
        assert (None if found is None else found.kind) == kind


@well
@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_addresses_ports_and_the_sequence_number_are_read(
    source: int, to: int, sequence: int, options: bytes
) -> None:
    syn = segment(flags=SYN, ports=(source, to), sequence=sequence)
    assert parse(ipv4(syn, options=options), 1.5) == Packet(
        "syn", ("192.0.2.7", source), ("192.0.2.1", to), sequence, 1.5
    )
    assert parse(ipv6(syn), 1.5) == Packet("syn", ("2001:db8::7", source), ("2001:db8::1", to), sequence, 1.5)
    longest = ipv4(syn, options=b"four" * 10)
    assert parse(longest[:SNAP], 1.5) == parse(longest, 1.5), "what is kept of the packet is enough"


@well
@given(st.binary(max_size=120))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    parse(data, 0.0)


@well
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=60))
def test_what_the_parser_reads_the_program_shows(bits: int, protocol: int, fragment: int, options: bytes) -> None:
    """Packets that arrive before the filter, or at ports between the watched ones, are parsed correctly too."""
    for packet in (
        ipv4(tcp(5432, bits), protocol, options[:40], fragment),
        ipv6(tcp(5432, bits), protocol),
    ):
        if parse(packet, 0.0) is not None:
            assert shows(frozenset({5432}), packet)


def test_a_header_that_claims_to_be_shorter_than_ip_has_it_is_none() -> None:
    packet = ipv4(tcp(5432, SYN))
    assert parse(bytes((0x44,)) + packet[1:], 0.0) is None
    assert parse(bytes((0x55,)) + packet[1:], 0.0) is None, "no version of IP"


# ── the kernel ────────────────────────────────────────────────────────────────────────────


class Seen:
    """Collects the packets that a tap shows."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.failures: list[OSError] = []
        self.tap = Tap(time.monotonic, self._show, self.failures.append)
        self._news = asyncio.Event()

    def _show(self, packet: Packet) -> None:
        self.packets.append(packet)
        self._news.set()

    @property
    def kinds(self) -> list[str]:
        return [one.kind for one in self.packets]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.packets) < count:
                self._news.clear()
                await self._news.wait()


def tapped(loop_name: str, scenario: Callable[[Seen], Awaitable[None]]) -> None:
    async def main() -> None:
        seen = Seen()
        try:
            await scenario(seen)
        finally:
            seen.tap.close()
        assert seen.failures == []

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(main())


@contextmanager
def bound(host: str = "127.0.0.1", listens: bool = True) -> Iterator[tuple[socket.socket, int]]:
    """Bind a server's socket, and return it with its port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        if listens:
            sock.listen(100)
        yield sock, sock.getsockname()[1]


def connect(sock: socket.socket) -> socket.socket:
    client = socket.socket(sock.family)
    client.connect(sock.getsockname())
    return client


def refused(server: socket.socket) -> None:
    """Connect to a port on which nothing listens."""
    with socket.socket(server.family) as client:
        assert client.connect_ex(server.getsockname()) == errno.ECONNREFUSED


@pytest.mark.namespace
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_on_loopback_each_packet_is_shown_once(loop_name: str, host: str) -> None:
    """A packet socket for all packets gets each of them twice: on its way out and on its way in."""

    async def scenario(seen: Seen) -> None:
        with bound(host) as (server, port), everything() as capture:
            seen.tap.watch(frozenset({port}))
            for end in ("fin", "rst"):
                client = connect(server)
                accepted, _ = server.accept()
                client.sendall(b"data")
                assert accepted.recv(4) == b"data"
                source = client.getsockname()[:2]
                if end == "fin":
                    client.close()
                    accepted.close()  # its FIN goes to the client, and is not shown
                else:
                    close_with_reset(client)
                    with pytest.raises(ConnectionResetError):
                        accepted.recv(1)
                    accepted.close()
                await seen.until(2)
                seen.tap.catch_up()
                shown = [(one.kind, one.source, one.destination) for one in seen.packets]
                assert shown == [(kind, source, (host, port)) for kind in ("syn", end)]
                syn = seen.packets[0]
                assert captured(capture, syn) == [HOST, OUTGOING]
                seen.packets.clear()

    tapped(loop_name, scenario)


@contextmanager
def everything() -> Iterator[socket.socket]:
    """Open a packet socket for all protocols and both directions."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003)) as sock:
        sock.setblocking(False)
        yield sock


def captured(capture: socket.socket, wanted: Packet) -> list[int]:
    """Return the types under which a packet was captured, sorted by number."""
    types = []
    while True:
        try:
            data, address = capture.recvfrom(2000)
        except BlockingIOError:
            return sorted(types)
        found = parse(data, wanted.at)
        if found == wanted:
            types.append(address[2])


@pytest.mark.namespace
def test_it_shows_what_a_closed_port_refuses_and_what_a_filter_drops() -> None:
    async def scenario(seen: Seen) -> None:
        with bound(listens=False) as (closed, closed_port), bound() as (dark, dark_port):
            seen.tap.watch(frozenset({closed_port, dark_port}))
            refused(closed)
            attach(dark, ((0x06, 0, 0, 0),))
            with socket.socket() as client:
                client.setblocking(False)
                assert client.connect_ex(dark.getsockname()) == errno.EINPROGRESS
                await seen.until(3)  # the SYN is retransmitted after a second
            assert seen.kinds == ["syn"] * 3
            first, second, again = seen.packets
            assert (first.destination[1], second.destination[1]) == (closed_port, dark_port)
            assert (again.source, again.sequence) == (second.source, second.sequence)
            assert again.at - second.at >= 0.9

    tapped("uvloop", scenario)


@pytest.mark.namespace
def test_packets_are_read_in_batches_and_what_did_not_fit_is_counted(loop_name: str) -> None:
    async def scenario(seen: Seen) -> None:
        with bound(listens=False) as (closed, port):
            seen.tap.watch(frozenset({port}))
            sent = 1000
            for _ in range(sent):
                refused(closed)
            turns = []
            while not turns or turns[-1] < len(seen.packets):
                turns.append(len(seen.packets))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            most = max(after - before for before, after in zip(turns, turns[1:], strict=False))
            assert most <= 2 * BATCH, "two turns, one socket"
            seen.tap.catch_up()
            assert 200 <= len(seen.packets) <= 600, "the buffer is bounded"
            assert seen.tap.missed == sent - len(seen.packets) > 0
            assert seen.tap.missed == sent - len(seen.packets), "asking does not forget"

    tapped(loop_name, scenario)


@pytest.mark.namespace
def test_the_ports_can_change_and_no_others_are_shown() -> None:
    async def scenario(seen: Seen) -> None:
        with bound() as (one, first), bound() as (other, second):
            for expected in ([first], [first, second], [], [second]):
                seen.tap.watch(frozenset(expected))
                for server in (one, other):
                    connect(server).close()
                    server.accept()[0].close()
                seen.tap.catch_up()
                assert [packet.destination[1] for packet in seen.packets if packet.kind == "syn"] == expected
                seen.packets.clear()

    tapped("uvloop", scenario)


@pytest.mark.namespace
def test_closing_does_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes 8 to 16 ms to close a packet socket, for which a thread waits."""
    closing: list[threading.Thread] = []
    close = socket.socket.close

    def noting(sock: socket.socket) -> None:
        if sock.family == socket.AF_PACKET:
            closing.append(threading.current_thread())
        close(sock)

    monkeypatch.setattr(socket.socket, "close", noting)

    async def scenario(seen: Seen) -> None:
        descriptors = len(os.listdir("/proc/self/fd"))
        extra = Seen()
        extra.tap.close()
        for thread in threading.enumerate():
            if thread.name == "chaosproxy-tap-close":
                thread.join(10)
        assert len(closing) == 1
        assert closing[0] is not threading.current_thread()
        assert len(os.listdir("/proc/self/fd")) == descriptors

    tapped("uvloop", scenario)
