"""The options of one TCP socket: the values that the kernel gets and returns."""

from __future__ import annotations

import errno
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chaosproxy.faults.base import Drop
from chaosproxy.net.kernel.bpf import losing
from chaosproxy.net.kernel.capabilities import Capability, probe
from chaosproxy.net.kernel.sockopts import (
    attach,
    borrow_socket,
    detach,
    dropped,
    limit_pacing,
    read_tcp_info,
    set_keepalive,
    tcp_info,
    tcp_socket,
)
from chaosproxy.tallies import TcpInfo
from tests.servers.namespace import without_privileges
from tests.servers.processes import wait_until

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="uses the Linux kernel")

TCP_INFO, SO_MAX_PACING_RATE = 11, 47
FIELDS = (
    "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv "
    "last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans"
).split()
"""Fields of four bytes each. Eight bytes come before them; the fifth of those is tcpi_backoff (linux/tcp.h)."""


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a TCP connection; each `send` makes a segment of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server, _ = listener.accept()
        with server:
            for sock in (client, server):
                sock.settimeout(60)
            yield client, server


def info(sock: socket.socket) -> TcpInfo:
    found = tcp_info(sock)
    assert found is not None
    return found


# ── statistics ────────────────────────────────────────────────────────────────────────────


def a_struct(backoff: int, **given: int) -> bytes:
    """Return a tcp_info with a different value in every field."""
    numbers = [given.get(name, 1_000_000 + place) for place, name in enumerate(FIELDS)]
    return struct.pack("=8B24I", 200, 201, 202, 203, backoff, 205, 206, 207, *numbers)


def test_each_number_is_read_from_its_place() -> None:
    data = a_struct(3, unacked=17, total_retrans=4_000_000_000, rtt=25_300, last_data_recv=1_500)
    expected = TcpInfo(unacked=17, retransmits=4_000_000_000, backoff=3, rtt=0.0253, received_ago=1.5)
    assert read_tcp_info(data) == expected
    assert read_tcp_info(data + bytes(152)) == expected, "newer kernels return more"


def test_a_struct_that_is_too_short_tells_nothing() -> None:
    whole = a_struct(3)
    assert read_tcp_info(whole) is not None
    assert {read_tcp_info(whole[:length]) for length in range(len(whole))} == {None}


@linux
def test_a_connection_on_loopback_tells_plausible_numbers() -> None:
    with pair() as (client, server):
        client.sendall(b"x" * 1000)
        assert server.recv(2000) == b"x" * 1000
        server.sendall(b"y")
        assert client.recv(1) == b"y"
        for sock in (client, server):
            assert 0 < info(sock).rtt < 1
            assert (info(sock).retransmits, info(sock).backoff) == (0, 0)
        assert info(client).unacked == 0


@linux
def test_who_is_not_tcp_or_closed_says_so() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(OSError):
        tcp_info(datagrams)
    closed = socket.socket()
    closed.close()
    for read in (tcp_info, dropped):
        with pytest.raises(OSError) as caught:
            read(closed)
        assert caught.value.errno == errno.EBADF


# ── drops ─────────────────────────────────────────────────────────────────────────────────


def data_segments_sent(sock: socket.socket) -> int:
    """Return tcpi_data_segs_out, which includes retransmissions."""
    return int(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 256), 156)[0])


def at_rest(read: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Read several counters of the kernel at one moment: repeat until two reads in a row are equal."""
    while (found := read()) != read():
        pass
    return found


def segments_sent(sock: socket.socket) -> int:
    """Return tcpi_segs_out, which includes bare acknowledgements."""
    return int(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 256), 136)[0])


@pytest.mark.namespace
def test_what_a_filter_drops_is_counted_exactly() -> None:
    with pair() as (client, server):
        client.sendall(b"a")
        assert server.recv(1) == b"a"
        assert dropped(server) == 0
        sent_before = segments_sent(client)
        attach(server, losing((Drop(),)))
        for _ in range(5):
            client.sendall(b"b")
        wait_until(lambda: info(client).retransmits >= 2, 60.0, "it was retransmitted twice")
        assert info(client).backoff >= 1 and info(client).unacked >= 1
        lost, sent, again = at_rest(lambda: (dropped(server), segments_sent(client), info(client).retransmits))
        assert lost == sent - sent_before == 5 + again
        detach(server)
        got = b""
        while len(got) < 5:  # the next retransmission arrives
            got += server.recv(10)
        assert got == b"bbbbb"
        assert (dropped(server), dropped(client)) == (lost, 0)


@pytest.mark.namespace
def test_spared_acknowledgements_are_not_dropped() -> None:
    with pair() as (client, server):
        attach(server, losing((Drop(spare_acks=True),)))
        for _ in range(50):
            server.sendall(b"x" * 20_000)
            got = 0
            while got < 20_000:
                got += len(client.recv(20_000))
        assert segments_sent(client) > 10, "it acknowledged"
        assert dropped(server) == 0
        client.sendall(b"data")
        lost, sent = at_rest(lambda: (dropped(server), data_segments_sent(client)))
        assert lost == sent >= 1


@pytest.mark.namespace
def test_a_program_replaces_what_was_attached_before() -> None:
    with pair() as (client, server):
        attach(server, losing((Drop(),)))
        attach(server, losing(()))
        client.sendall(b"a")
        assert server.recv(1) == b"a"
        detach(server)
        assert dropped(server) == 0


@linux
def test_to_detach_where_nothing_is_attached_does_nothing() -> None:
    with socket.socket() as sock:
        detach(sock)
    detach(sock)  # the socket is closed


# ── pacing and keepalive ──────────────────────────────────────────────────────────────────


@linux
@pytest.mark.parametrize(
    ("rate", "kept"), [(1e6, 1_000_000), (1234.5, 1234), (0.3, 1), (1e30, 2**64 - 2), (None, 2**64 - 1)]
)
def test_a_rate_is_kept_in_whole_bytes_per_second(rate: float | None, kept: int) -> None:
    with socket.socket() as sock:
        limit_pacing(sock, 5e6)
        limit_pacing(sock, rate)
        assert struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8)) == (kept,)


@linux
def test_a_peer_is_asked_each_second_until_it_is_not() -> None:
    with pair() as (client, _):
        before = segments_sent(client)
        set_keepalive(client, True)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 127, "the most, since it must not end it"
        began = time.monotonic()
        wait_until(lambda: segments_sent(client) == before + 1, 60.0, "a probe is sent")
        assert time.monotonic() - began > 0.9
        set_keepalive(client, False)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


# ── the socket under a transport ──────────────────────────────────────────────────────────


class Lender:
    """The part of a transport that gives access to its socket."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock

    def get_extra_info(self, name: str) -> socket.socket | None:
        assert name == "socket"
        return self._socket


def test_a_tcp_socket_is_lent_and_stays_open_when_given_back() -> None:
    with pair() as (client, server):
        lent = borrow_socket(Lender(client))  # type: ignore[arg-type]  # the function uses nothing else of a transport
        assert lent is not None and lent is not client
        assert lent.fileno() == client.fileno()
        lent.detach()
        client.sendall(b"still here")
        assert server.recv(20) == b"still here"
        assert tcp_socket(Lender(client)) is client  # type: ignore[arg-type]


def test_what_is_gone_or_a_unix_socket_is_not_lent() -> None:
    closed = socket.socket()
    closed.close()
    one, other = socket.socketpair()
    with closing(one), closing(other):
        for sock in (None, closed, one):
            assert borrow_socket(Lender(sock)) is None  # type: ignore[arg-type]
            assert tcp_socket(Lender(sock)) is None  # type: ignore[arg-type]


# ── capabilities ──────────────────────────────────────────────────────────────────────────


@pytest.mark.namespace
def test_with_the_privilege_everything_can_be_had() -> None:
    assert [one.name for one in probe().all()] == ["filters", "pacing", "tcp_info", "tap"]
    assert all(one.available and not one.remedy and one.purpose for one in probe().all()), probe()


PROBE = """
import errno, json, socket, struct
from chaosproxy.net.kernel.capabilities import probe
keep_all = struct.pack("HBBI", 6, 0, 0, 2**32 - 1)
import ctypes
code = ctypes.create_string_buffer(keep_all, 8)
with socket.socket() as sock:
    try: sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 1, ctypes.addressof(code)))
    except OSError as error: refusal = error.errno
    else: refusal = 0
print(json.dumps([refusal, *(one.view() for one in probe().all())]))
"""


@linux
def test_without_the_privilege_it_says_what_is_lacking_and_how_to_get_it() -> None:
    """Old kernels attach filters without the privilege, so the subprocess also tries it without the probe."""
    command = [*without_privileges(), sys.executable, "-c", PROBE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    refusal, filters, pacing, info, tap = json.loads(done.stdout)
    assert pacing["available"] and info["available"], "neither needs a privilege"
    assert "CAP_NET_RAW" in tap["lacking"] and "setcap cap_net_raw+ep" in tap["remedy"]
    assert refusal in (0, errno.EPERM)
    assert filters["available"] == (refusal == 0)
    if refusal:
        assert "CAP_NET_ADMIN" in filters["lacking"]
        for way in ("setcap cap_net_admin+ep", "NET_ADMIN", "unshare"):
            assert way in filters["remedy"]


def test_elsewhere_nothing_can_be_had_and_the_remedy_is_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    found = probe.__wrapped__()
    assert [one.name for one in found.all()] == ["filters", "pacing", "tcp_info", "tap"]
    assert not any(one.available for one in found.all())
    assert all("darwin" in one.lacking and "Linux" in one.remedy for one in found.all())


def test_a_capability_as_json() -> None:
    assert Capability("filters", "to drop").view() == {
        "name": "filters", "available": True, "purpose": "to drop", "lacking": None, "remedy": None,
    }  # fmt: skip
    assert Capability("filters", "to drop", "old kernel", "new kernel").view() == {
        "name": "filters", "available": False, "purpose": "to drop", "lacking": "old kernel", "remedy": "new kernel",
    }  # fmt: skip
