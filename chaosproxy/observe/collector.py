"""Prometheus metrics, read from the counts of the data plane at each scrape.

The data plane counts in plain integers (`tallies`), so that counting costs it almost nothing. A
`Collector` is registered in a registry that holds no other metrics. At each scrape the registry calls
`collect`, which reads the tallies of every proxy and makes one metric family after another;
each group of families has a function in this module, and `observe.exchanges` has those of HTTP mode.
`Source` and the Protocols around it are the parts of the supervisor, its proxies and its
partitions that metrics read.

Invariants:
- Labels are names from the configuration and fixed words, never an address: the number of series
  is bounded by the configuration, not by the clients.
- A scrape changes nothing, and never waits.
- docs/metrics.md lists every family, with the same meaning as its help text here.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy import __version__
from chaosproxy.endings import CAUSES
from chaosproxy.events import Met
from chaosproxy.faults.base import Direction
from chaosproxy.observe.exchanges import exchange_metrics
from chaosproxy.observe.gc import GcPauses
from chaosproxy.observe.histogram import histogram
from chaosproxy.tallies import FaultTally, ProxyTally, Side, TcpInfo

__all__ = ["Collector", "Observed", "Spec", "make_registry"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
SIDES: tuple[Side, ...] = get_args(Side)
HIDDEN: tuple[Met, ...] = ("refused", "unanswered")
"""The results of attempts that only a tap can see."""


class Spec(Protocol):
    """The part of a proxy's desired state that metrics read."""

    @property
    def name(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    def fault(self, name: str) -> object | None: ...


class Observed(Protocol):
    """The part of a running proxy that metrics read."""

    @property
    def spec(self) -> Spec: ...
    @property
    def tally(self) -> ProxyTally: ...
    @property
    def connections(self) -> Mapping[int, object]: ...
    def fault_tallies(self) -> dict[str, FaultTally]: ...
    def bytes(self, direction: Direction) -> int: ...
    def held(self, direction: Direction) -> int: ...
    def half_ended(self) -> int: ...
    def dropped(self, direction: Direction) -> int: ...
    def is_active(self, fault: str) -> bool: ...
    def fault_modes(self) -> Mapping[str, str]: ...
    def tcp(self, side: Side) -> Sequence[TcpInfo]: ...
    def exchanges_in_flight(self) -> int: ...


class Partitioned(Protocol):
    """The part of a partition that metrics read."""

    @property
    def is_cut(self) -> bool: ...


class Cuts(Protocol):
    """The partitions, as metrics read them."""

    def all(self) -> Sequence[Partitioned]: ...
    def cut_now(self) -> Iterable[tuple[str, str]]: ...


class Attainable(Protocol):
    """The part of a capability that metrics read."""

    @property
    def available(self) -> bool: ...


class Tapped(Protocol):
    """The part of the tap for hidden connection attempts that metrics read."""

    @property
    def capability(self) -> Attainable: ...
    @property
    def missed(self) -> int: ...


class Source(Protocol):
    """The source of the running proxies and partitions, such as the supervisor."""

    @property
    def partitions(self) -> Cuts: ...
    @property
    def tap(self) -> Tapped: ...
    def proxies(self) -> Sequence[Observed]: ...


class Collector:
    """Reads the tallies of every proxy at each scrape."""

    def __init__(self, source: Source, pauses: GcPauses, loop_name: str) -> None:
        self._source = source
        self._pauses = pauses
        self._loop_name = loop_name

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, with a sample per proxy, direction or fault."""
        proxies = self._source.proxies()
        yield self._build_info()
        yield from _connections(proxies)
        yield from _attempts(proxies, self._source.tap)
        yield from _tls(proxies)
        yield from _bytes(proxies)
        yield from exchange_metrics(proxies)
        yield from _faults(proxies)
        yield from _partitions(self._source.partitions)
        yield from _tcp(proxies)
        yield from self._pause_metrics()

    def describe(self) -> Iterable[Metric]:
        """Return no families: the registry calls this at registration, when there are no proxies yet."""
        return ()

    def _build_info(self) -> Metric:
        family = GaugeMetricFamily(
            "chaosproxy_build_info",
            "Versions of chaosproxy and Python, and the event loop; always 1.",
            labels=("version", "python", "loop"),
        )
        family.add_metric((__version__, platform.python_version(), self._loop_name), 1)
        return family

    def _pause_metrics(self) -> Iterator[Metric]:
        yield histogram(
            "chaosproxy_gc_pause_seconds",
            "Duration of pauses by garbage collection.",
            (),
            [((), self._pauses.histogram)],
        )
        yield GaugeMetricFamily(
            "chaosproxy_gc_pause_seconds_max", "Longest pause by garbage collection.", value=self._pauses.max
        )
        yield GaugeMetricFamily(
            "chaosproxy_gc_pause_seconds_last", "Latest pause by garbage collection.", value=self._pauses.last
        )


def make_registry(source: Source, pauses: GcPauses, loop_name: str) -> CollectorRegistry:
    """Return a registry that holds only the metrics of chaosproxy."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(source, pauses, loop_name))
    return registry


def _connections(proxies: Sequence[Observed]) -> Iterator[Metric]:
    open_now = GaugeMetricFamily("chaosproxy_connections", "Connections open now.", labels=("proxy",))
    opened = CounterMetricFamily("chaosproxy_connections_opened", "Clients accepted.", labels=("proxy",))
    closed = CounterMetricFamily(
        "chaosproxy_connections_closed", "Connections ended, by cause.", labels=("proxy", "cause")
    )
    half_ended = GaugeMetricFamily(
        "chaosproxy_connections_half_ended",
        "Open connections that one side has already ended.",
        labels=("proxy",),
    )
    failures = CounterMetricFamily(
        "chaosproxy_dial_failures", "Failed attempts to connect to the upstream.", labels=("proxy",)
    )
    for proxy in proxies:
        name = proxy.spec.name
        open_now.add_metric((name,), len(proxy.connections))
        opened.add_metric((name,), proxy.tally.opened)
        half_ended.add_metric((name,), proxy.half_ended())
        failures.add_metric((name,), proxy.tally.dial_failures)
        for cause in dict.fromkeys((*CAUSES, *proxy.tally.closed)):
            closed.add_metric((name, cause), proxy.tally.closed[cause])
    yield from (open_now, opened, closed, half_ended, failures)
    yield histogram(
        "chaosproxy_dial_seconds",
        "Time taken to connect to the upstream.",
        ("proxy",),
        [((proxy.spec.name,), proxy.tally.dial) for proxy in proxies],
    )


def _attempts(proxies: Sequence[Observed], tap: Tapped) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "chaosproxy_connection_attempts", "Connection attempts, by result.", labels=("proxy", "met")
    )
    again = CounterMetricFamily(
        "chaosproxy_syn_retransmits",
        "SYNs retransmitted by clients that a fault leaves unanswered.",
        labels=("proxy",),
    )
    for proxy in proxies:
        name, tally = proxy.spec.name, proxy.tally
        attempts.add_metric((name, "accepted"), tally.opened - tally.attempts["reset"])
        attempts.add_metric((name, "reset"), tally.attempts["reset"])
        visible = tap.capability.available  # if attempts are not visible, no sample is better than a false 0
        if visible or any(tally.attempts[met] for met in HIDDEN):
            for met in HIDDEN:
                attempts.add_metric((name, met), tally.attempts[met])
            again.add_metric((name,), tally.syn_retransmits)
    yield from (attempts, again)
    yield CounterMetricFamily(
        "chaosproxy_tap_missed_packets",
        "Packets of connection attempts that arrived too fast to be counted.",
        value=tap.missed,
    )


def _tls(proxies: Sequence[Observed]) -> Iterator[Metric]:
    labels = ("proxy", "side")
    handshakes = CounterMetricFamily(
        "chaosproxy_tls_handshakes", "TLS handshakes with the client or server, by result.", labels=(*labels, "result")
    )
    seconds = []
    for proxy in proxies:
        for side in SIDES:
            where, tally = (proxy.spec.name, side), proxy.tally
            results = {result: tally.tls_handshakes[side, result] for result in ("ok", "failed")}
            if any(results.values()):  # most proxies use no TLS themselves
                for result, count in results.items():
                    handshakes.add_metric((*where, result), count)
                seconds.append((where, tally.tls_seconds[side]))
    yield handshakes
    yield histogram("chaosproxy_tls_handshake_seconds", "Duration of successful TLS handshakes.", labels, seconds)


def _bytes(proxies: Sequence[Observed]) -> Iterator[Metric]:
    labels = ("proxy", "direction")
    forwarded = CounterMetricFamily("chaosproxy_bytes", "Bytes received from the sender.", labels=labels)
    held = GaugeMetricFamily("chaosproxy_held_bytes", "Bytes that faults hold now.", labels=labels)
    dropped = CounterMetricFamily(
        "chaosproxy_packets_dropped",
        "Packets from the sender that the kernel dropped for faults in mode packet.",
        labels=labels,
    )
    for proxy in proxies:
        for direction in DIRECTIONS:
            forwarded.add_metric((proxy.spec.name, direction), proxy.bytes(direction))
            held.add_metric((proxy.spec.name, direction), proxy.held(direction))
            dropped.add_metric((proxy.spec.name, direction), proxy.dropped(direction))
    yield from (forwarded, held, dropped)


def _faults(proxies: Sequence[Observed]) -> Iterator[Metric]:
    labels = ("proxy", "fault")
    active = GaugeMetricFamily(
        "chaosproxy_faults_active", "1 while the fault is active, 0 after it was removed.", labels=labels
    )
    connections = CounterMetricFamily(
        "chaosproxy_fault_connections_touched", "Connections on which the fault acted.", labels=labels
    )
    chunks = CounterMetricFamily(
        "chaosproxy_fault_chunks_touched", "Chunks that the fault changed, delayed or dropped.", labels=labels
    )
    messages = CounterMetricFamily(
        "chaosproxy_fault_messages_touched", "HTTP messages on which the fault acted.", labels=labels
    )
    modes = GaugeMetricFamily(
        "chaosproxy_fault_mode",
        "Always 1; the label is the mode, packet or stream, in which an active fault acts.",
        labels=(*labels, "mode"),
    )
    delays = []
    for proxy in proxies:
        for fault, tally in proxy.fault_tallies().items():
            where = (proxy.spec.name, fault)
            active.add_metric(where, proxy.is_active(fault))
            connections.add_metric(where, tally.connections)
            chunks.add_metric(where, tally.chunks)
            messages.add_metric(where, tally.messages)
            delays.append((where, tally.delay))
        for fault, mode in proxy.fault_modes().items():
            modes.add_metric((proxy.spec.name, fault, mode), 1)
    yield from (active, connections, chunks, messages, modes)
    yield histogram(
        "chaosproxy_injected_delay_seconds", "Delay that the fault added to each chunk it has released.", labels, delays
    )


def _partitions(partitions: Cuts) -> Iterator[Metric]:
    yield GaugeMetricFamily("chaosproxy_partitions_active", "Active partitions.", value=len(partitions.all()))
    pairs = GaugeMetricFamily(
        "chaosproxy_pair_cut",
        "1 for each pair of nodes where a partition cuts the direction from the first to the second.",
        labels=("from", "to"),
    )
    for sender, receiver in sorted(partitions.cut_now()):
        pairs.add_metric((sender, receiver), 1)
    yield pairs


def _tcp(proxies: Sequence[Observed]) -> Iterator[Metric]:
    labels = ("proxy", "side")
    retransmits = GaugeMetricFamily(
        "chaosproxy_tcp_retransmits",
        "Segments retransmitted to the client or server, over the 100 latest open connections.",
        labels=labels,
    )
    unacked = GaugeMetricFamily(
        "chaosproxy_tcp_unacked",
        "Segments that the client or server has not acknowledged, over the 100 latest open connections.",
        labels=labels,
    )
    rtt = GaugeMetricFamily(
        "chaosproxy_tcp_rtt_seconds",
        "Median smoothed round-trip time to the client or server, over the 100 latest open connections.",
        labels=labels,
    )
    for proxy in proxies:
        for side in SIDES:
            sample = proxy.tcp(side)
            if sample:
                where = (proxy.spec.name, side)
                retransmits.add_metric(where, sum(one.retransmits for one in sample))
                unacked.add_metric(where, sum(one.unacked for one in sample))
                rtt.add_metric(where, statistics.median(one.rtt for one in sample))
    yield from (retransmits, unacked, rtt)
