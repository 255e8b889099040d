"""Plain counts of the data plane and the kernel, which metrics read at each scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "DELAY_BOUNDS", "DIAL_BOUNDS", "EXCHANGE_BOUNDS", "FaultTally", "Histogram", "ProxyTally", "RouteTally", "Side",
    "TcpInfo",
]  # fmt: skip

DELAY_BOUNDS = (0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DIAL_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXCHANGE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


Side = Literal["client", "server"]
"""A side of a connection: the socket to the client, or the one to the server."""


class Histogram:
    """Counts of values in seconds, by upper bound; the last count is for values above the last bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_many(self, value: float, times: int) -> None:
        """Add the same value many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def __add__(self, other: Histogram) -> Histogram:
        """Return the sum of two histograms with the same bounds."""
        both = Histogram(self.bounds)
        both.counts = [one + another for one, another in zip(self.counts, other.counts, strict=True)]
        both.sum = self.sum + other.sum
        return both

    def copy(self) -> Histogram:
        """Return a copy with the counts so far."""
        same = Histogram(self.bounds)
        same.counts, same.sum = list(self.counts), self.sum
        return same


class FaultTally:
    """The counts of one fault on one proxy."""

    __slots__ = ("connections", "delay", "messages", "chunks")

    def __init__(self) -> None:
        self.connections = 0
        """Connections on which it acted: it had a stage in at least one pipe, or acted on the new client."""
        self.messages = 0
        """HTTP messages on which it acted."""
        self.chunks = 0
        """Chunks that it changed, delayed or dropped."""
        self.delay = Histogram(DELAY_BOUNDS)
        """Seconds by which it delayed the chunks that it has released."""


class RouteTally:
    """The exchanges of one proxy with one method and route."""

    __slots__ = ("_first_byte", "_last_byte", "at_once", "statuses")

    def __init__(self) -> None:
        self.statuses = [0] * 6
        """Ended exchanges, by the class of their status: `statuses[5]` is 5xx, `statuses[0]` without a response."""
        self.at_once = Histogram(EXCHANGE_BOUNDS)
        """Seconds from the request's head to a response in one piece, whose first and last byte arrive together."""
        self._first_byte = Histogram(EXCHANGE_BOUNDS)
        self._last_byte = Histogram(EXCHANGE_BOUNDS)

    def add(self, status: int, first_byte: float, last_byte: float) -> None:
        """Count an exchange that has ended with that status."""
        self.statuses[status // 100 if status < 600 else 5] += 1
        self._first_byte.add(first_byte)
        self._last_byte.add(last_byte)

    @property
    def first_byte(self) -> Histogram:
        """Seconds from the request's head to the response's first byte."""
        return self.at_once + self._first_byte

    @property
    def last_byte(self) -> Histogram:
        """Seconds from the request's head to the response's last byte."""
        return self.at_once + self._last_byte


class ProxyTally:
    """The counts of one proxy; bytes of open connections are counted in their pipes."""

    __slots__ = (
        "attempts", "bytes_downstream", "bytes_upstream", "closed", "dial", "dial_failures", "dropped_downstream",
        "dropped_upstream", "not_framed", "open_turns", "opened", "routes", "syn_retransmits", "tls_handshakes",
        "tls_seconds", "too_many", "turn_seconds", "turns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.opened = 0
        """Clients accepted."""
        self.attempts: Counter[str] = Counter()
        """Connection attempts that a fault refused, left unanswered or reset, by result."""
        self.syn_retransmits = 0
        """SYNs retransmitted by clients that a fault leaves unanswered."""
        self.too_many = 0
        """Clients reset at once because the limit of connections was reached."""
        self.closed: Counter[str] = Counter()
        """Connections ended, by cause."""
        self.dial_failures = 0
        """Failed attempts to connect to the upstream."""
        self.dial = Histogram(DIAL_BOUNDS)
        """Seconds taken to connect to the upstream."""
        self.bytes_upstream = 0
        """Bytes of ended connections, client to server."""
        self.bytes_downstream = 0
        """Bytes of ended connections, server to client."""
        self.dropped_upstream = 0
        """Packets that the kernel dropped for faults on ended connections, client to server."""
        self.dropped_downstream = 0
        """The same, server to client."""
        self.turns: Counter[str] = Counter()
        """Turns that were `answered`, that `failed`, on which the client `gave_up`, and that were `repeated`; counted
        once a second."""
        self.turn_seconds = Histogram(EXCHANGE_BOUNDS)
        """Seconds from the opening of an answered turn to its answer."""
        self.open_turns = 0
        """Turns that were open at the last count."""
        self.routes: dict[tuple[str, str], RouteTally] = {}
        """HTTP exchanges, by method and route."""
        self.not_framed = 0
        """Connections in HTTP mode that were not HTTP/1."""
        self.tls_handshakes: Counter[tuple[Side, str]] = Counter()
        """TLS handshakes, by side and result, `ok` or `failed`."""
        self.tls_seconds: dict[Side, Histogram] = {"client": Histogram(DIAL_BOUNDS), "server": Histogram(DIAL_BOUNDS)}
        """Duration of successful handshakes in seconds, by side."""


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Some of the kernel's statistics of a TCP socket (tcp(7), linux/tcp.h: struct tcp_info)."""

    unacked: int
    """Segments sent and not yet acknowledged."""
    retransmits: int
    """Segments retransmitted since the connection began."""
    backoff: int
    """The number of times that the retransmission timeout is doubled at present."""
    rtt: float
    """Smoothed round-trip time, in seconds."""
    received_ago: float
    """Seconds since data last arrived; since the connection began if none has."""
