"""The bytes between a sender and a receiver while a fault holds them back: as configured, and as seen."""

from __future__ import annotations

import array
import contextlib
import fcntl
import selectors
import socket
import time
from collections.abc import Mapping
from functools import partial

from bench.checks import Check, number
from bench.peers import Chaosproxy
from bench.report import Section, Table
from bench.session import Session, Set, interleave
from bench.stats import spread

__all__ = ["queue"]

_SIOCOUTQ = 0x5411
_CASES: Mapping[str, tuple[int, Mapping[str, object]]] = {
    "4KiB, 50 kB/s": (4 * 2**10, {"type": "bandwidth", "rate": "50kB/s"}),
    "64KiB, 1 MB/s": (64 * 2**10, {"type": "bandwidth", "rate": "1MB/s"}),
    "64KiB, 100 ms": (64 * 2**10, {"type": "latency", "delay": "100ms"}),
    "64KiB, stall": (64 * 2**10, {"type": "stall"}),
    "1MiB, 10 MB/s": (2**20, {"type": "bandwidth", "rate": "10MB/s"}),
    "1MiB, 100 ms": (2**20, {"type": "latency", "delay": "100ms"}),
}
"""The queue, and the fault on the way to the server."""


def queue(session: Session) -> Section:
    """Measure how much a sender that always sends has in flight, through a fault with a queue of a given size."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        behind = [
            Set(port, {"queue": f"{size}B", "faults": {"it": {**fault, "direction": "upstream"}}})
            for size, fault in _CASES.values()
        ]
        with session.start(Chaosproxy(), *behind) as (_, ports):
            runs = {
                what: partial(_most_in_flight, server, port, session.pace.rate)
                for what, port in zip(_CASES, ports, strict=True)
            }
            seen = interleave("queue", session.pace.fault_rounds, runs)
    return Section(
        "Bytes in flight through a queue of a given size",
        Table(
            ("queue, fault", "most in flight, KiB", "of the queue"),
            [
                (what, number(spread(most).median / 2**10), f"{spread(most).median / _CASES[what][0]:.2f} ×")
                for what, most in seen.items()
            ],
        ),
        [
            Check(
                what=f"{what}: in flight, of the queue",
                measured=spread(one / _CASES[what][0] for one in most),
                unit=" ×",
                at_most=2.5,
            )
            for what, most in seen.items()
        ],
        notes=["Between the kernels of a sender that always sends and of a receiver that always reads."],
        figures=seen,
    )


def _most_in_flight(server: socket.socket, port: int, seconds: float) -> float:
    """Return the most bytes that have left the sender's kernel and have not been received."""
    _drop_clients(server)
    with socket.create_connection(("127.0.0.1", port)) as sender, server.accept()[0] as receiver:
        selector = selectors.DefaultSelector()
        for sock, event in ((sender, selectors.EVENT_WRITE), (receiver, selectors.EVENT_READ)):
            sock.setblocking(False)
            selector.register(sock, event)
        sent = received = most = 0
        chunk = bytes(2**14)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key, _ in selector.select(0.05):
                if key.fileobj is sender:
                    sent += sender.send(chunk)
                else:
                    received += len(receiver.recv(2**18))
            most = max(most, sent - _unsent(sender) - received)
        selector.close()
    return most


def _drop_clients(server: socket.socket) -> None:
    """Close the connections that the benchmark has opened to see whether the proxy listens."""
    server.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            server.accept()[0].close()
    server.settimeout(None)


def _unsent(sock: socket.socket) -> int:
    """Return the bytes in the send buffer of a socket that its peer has not acknowledged."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, _SIOCOUTQ, count)
    return count[0]
