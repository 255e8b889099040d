"""Prometheus metrics, read from the counts of the data plane at each scrape.

The data plane counts in plain integers (`tallies`), so that counting costs it almost nothing. A
`Collector` is registered in a registry that holds no other metrics. At each scrape the registry calls
`collect`, which takes the counts of every proxy as plain values (`control.counts`) and makes one metric
family after another; each group of families has a function in this module, and `observe.exchanges` and
`observe.turns` have those of exchanges and turns.

Invariants:
- Labels are names from the configuration and fixed words, never an address: the number of series
  is bounded by the configuration, not by the clients.
- A scrape changes nothing, and never waits.
- docs/metrics.md lists every family, with the same meaning as its help text here.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as AnyCollector

from chaosproxy import __version__
from chaosproxy.control.counts import Counts, ProxyCounts, proxy_counts
from chaosproxy.endings import CAUSES
from chaosproxy.events import Met
from chaosproxy.faults.base import Direction
from chaosproxy.net.proxy import Proxy
from chaosproxy.observe.exchanges import exchange_metrics
from chaosproxy.observe.gc import GcPauses
from chaosproxy.observe.histogram import histogram
from chaosproxy.observe.turns import turn_metrics
from chaosproxy.observe.watchdog import LAG_BOUNDS, Watchdog
from chaosproxy.observe.writer import LineWriter
from chaosproxy.tallies import Histogram, Side

__all__ = ["Collector", "Registry", "Source", "make_registry"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
SIDES: tuple[Side, ...] = get_args(Side)
HIDDEN: tuple[Met, ...] = ("refused", "unanswered")
"""The results of attempts that only a tap can see."""


class Source(Protocol):
    """The source of the counts, such as the supervisor."""

    def proxies(self) -> Sequence[Proxy]: ...

    def counts(self, taken: tuple[ProxyCounts, ...] | None = None) -> Counts:
        """Return all counts, with those of proxies that are `taken` already."""
        ...


class Collector:
    """Makes metric families from the counts of every proxy, at each scrape."""

    def __init__(
        self, source: Source, pauses: GcPauses, loop_name: str, watchdog: Watchdog | None, log: LineWriter | None
    ) -> None:
        self._source = source
        self._pauses = pauses
        self._loop_name = loop_name
        self._watchdog = watchdog
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, with a sample per proxy, direction or fault."""
        return self.families(self._source.counts())

    async def snapshot(self, rest: Callable[[], Awaitable[None]]) -> Counts:
        """Return all counts; after those of each proxy, `rest` gives the loop to others."""
        taken = []
        for proxy in self._source.proxies():
            taken.append(proxy_counts(proxy))
            await rest()
        return self._source.counts(tuple(taken))

    def families(self, counts: Counts) -> Iterator[Metric]:
        """Yield every metric family of these counts."""
        proxies = counts.proxies
        yield self._build_info()
        yield from _listening(proxies)
        yield from _connections(proxies)
        yield from _attempts(counts)
        yield from _tls(proxies)
        yield from _bytes(proxies)
        yield from turn_metrics(proxies)
        yield from exchange_metrics(proxies)
        yield from _limit(counts)
        yield from _faults(proxies)
        yield from _partitions(counts)
        yield from _tcp(proxies)
        yield from self._pause_metrics()
        yield from self._lag_metrics()
        yield CounterMetricFamily(
            "chaosproxy_log_lines_dropped",
            "Lines of the log that were dropped, because its reader did not take them in time.",
            value=0 if self._log is None else self._log.dropped,
        )

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

    def _lag_metrics(self) -> Iterator[Metric]:
        watchdog = self._watchdog
        lag = Histogram(LAG_BOUNDS) if watchdog is None else watchdog.histogram
        yield histogram(
            "chaosproxy_loop_lag_seconds",
            "Time by which the event loop was late, measured 20 times a second.",
            (),
            [((), lag)],
        )
        yield GaugeMetricFamily(
            "chaosproxy_loop_lag_seconds_max",
            "Longest time by which the event loop was late.",
            value=0.0 if watchdog is None else watchdog.max,
        )


class Registry(CollectorRegistry):
    """A registry that holds only the metrics of chaosproxy."""

    def __init__(self, collector: Collector) -> None:
        super().__init__(auto_describe=False)
        self._collector = collector
        self._others: list[AnyCollector] = []
        """Collectors that read plain numbers alone."""
        super().register(collector)

    def register(self, collector: AnyCollector) -> None:
        """Add a collector that reads plain numbers alone."""
        super().register(collector)
        self._others.append(collector)

    async def snapshot(self, rest: Callable[[], Awaitable[None]]) -> Callable[[], Iterable[Metric]]:
        """Take all counts, and call `rest` after those of each proxy; return the function that makes the families."""
        counts = await self._collector.snapshot(rest)
        return lambda: chain(self._collector.families(counts), *(one.collect() for one in self._others))


def make_registry(
    source: Source,
    pauses: GcPauses,
    loop_name: str,
    *,
    watchdog: Watchdog | None = None,
    log: LineWriter | None = None,
) -> Registry:
    """Return a registry that holds only the metrics of chaosproxy.

    `watchdog` measures the lag of the loop, `log` writes the log of this process; None if there is none.
    """
    return Registry(Collector(source, pauses, loop_name, watchdog, log))


def _listening(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "chaosproxy_listening",
        "1 if clients can use the proxy's address, faults aside; 0 if it is disabled or cannot listen.",
        labels=("proxy",),
    )
    for proxy in proxies:
        family.add_metric((proxy.name,), proxy.is_listening)
    yield family


def _connections(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
    open_now = GaugeMetricFamily("chaosproxy_connections", "Connections open now.", labels=("proxy",))
    opened = CounterMetricFamily("chaosproxy_connections_opened", "Connections of accepted clients.", labels=("proxy",))
    closed = CounterMetricFamily(
        "chaosproxy_connections_closed", "Connections ended, by cause.", labels=("proxy", "cause")
    )
    half_ended = GaugeMetricFamily(
        "chaosproxy_connections_half_ended",
        "Open connections that one side has ended and the other has not.",
        labels=("proxy",),
    )
    failures = CounterMetricFamily(
        "chaosproxy_dial_failures", "Failed attempts to connect to the upstream.", labels=("proxy",)
    )
    too_many = CounterMetricFamily(
        "chaosproxy_too_many_connections",
        "Clients reset at once because the limit of connections was reached.",
        labels=("proxy",),
    )
    for proxy in proxies:
        name = proxy.name
        too_many.add_metric((name,), proxy.too_many)
        open_now.add_metric((name,), proxy.connections)
        opened.add_metric((name,), proxy.opened)
        half_ended.add_metric((name,), proxy.half_ended)
        failures.add_metric((name,), proxy.dial_failures)
        for cause in dict.fromkeys((*CAUSES, *proxy.closed)):
            closed.add_metric((name, cause), proxy.closed.get(cause, 0))
    yield from (open_now, opened, closed, half_ended, failures, too_many)
    yield histogram(
        "chaosproxy_dial_seconds",
        "Time taken to connect to the upstream.",
        ("proxy",),
        [((proxy.name,), proxy.dial) for proxy in proxies],
    )


def _attempts(counts: Counts) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "chaosproxy_connection_attempts", "Connection attempts, by result.", labels=("proxy", "met")
    )
    again = CounterMetricFamily(
        "chaosproxy_syn_retransmits",
        "SYNs retransmitted by clients that a fault leaves unanswered.",
        labels=("proxy",),
    )
    for proxy in counts.proxies:
        name, met_by = proxy.name, proxy.attempts
        reset = met_by.get("reset", 0)
        attempts.add_metric((name, "accepted"), proxy.opened)
        attempts.add_metric((name, "reset"), reset)
        # If attempts are not visible, no sample is better than a false 0.
        if counts.attempts_visible or any(met_by.get(met, 0) for met in HIDDEN):
            for met in HIDDEN:
                attempts.add_metric((name, met), met_by.get(met, 0))
            again.add_metric((name,), proxy.syn_retransmits)
    yield from (attempts, again)
    yield CounterMetricFamily(
        "chaosproxy_tap_missed_packets",
        "Packets of connection attempts that arrived too fast to be counted.",
        value=counts.missed,
    )


def _tls(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
    labels = ("proxy", "side")
    handshakes = CounterMetricFamily(
        "chaosproxy_tls_handshakes", "TLS handshakes with the client or server, by result.", labels=(*labels, "result")
    )
    seconds = []
    for proxy in proxies:
        for side in SIDES:
            where = (proxy.name, side)
            results = {result: proxy.tls_handshakes.get((side, result), 0) for result in ("ok", "failed")}
            if any(results.values()):  # most proxies use no TLS themselves
                for result, count in results.items():
                    handshakes.add_metric((*where, result), count)
                seconds.append((where, proxy.tls_seconds[side]))
    yield handshakes
    yield histogram("chaosproxy_tls_handshake_seconds", "Duration of successful TLS handshakes.", labels, seconds)


def _bytes(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
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
            forwarded.add_metric((proxy.name, direction), proxy.bytes[direction])
            held.add_metric((proxy.name, direction), proxy.held[direction])
            dropped.add_metric((proxy.name, direction), proxy.dropped[direction])
    yield from (forwarded, held, dropped)


def _limit(counts: Counts) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "chaosproxy_max_held_bytes", "Bytes that faults may hold in the whole process.", value=counts.max_held
    )
    yield CounterMetricFamily(
        "chaosproxy_held_limit_reached", "Number of times that faults reached max_held.", value=counts.times_full
    )


def _faults(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
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
        for fault in proxy.faults:
            where = (proxy.name, fault.name)
            active.add_metric(where, fault.is_on)
            connections.add_metric(where, fault.connections)
            chunks.add_metric(where, fault.chunks)
            messages.add_metric(where, fault.messages)
            delays.append((where, fault.delay))
        for name, mode in proxy.modes.items():
            modes.add_metric((proxy.name, name, mode), 1)
    yield from (active, connections, chunks, messages, modes)
    yield histogram(
        "chaosproxy_injected_delay_seconds", "Delay that the fault added to each chunk it has released.", labels, delays
    )


def _partitions(counts: Counts) -> Iterator[Metric]:
    yield GaugeMetricFamily("chaosproxy_partitions_active", "Active partitions.", value=counts.partitions)
    pairs = GaugeMetricFamily(
        "chaosproxy_pair_cut",
        "1 for each pair of nodes where a partition cuts the direction from the first to the second.",
        labels=("from", "to"),
    )
    for sender, receiver in sorted(counts.cut):
        pairs.add_metric((sender, receiver), 1)
    yield pairs


def _tcp(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
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
            sample = proxy.tcp[side]
            if sample:
                where = (proxy.name, side)
                retransmits.add_metric(where, sum(one.retransmits for one in sample))
                unacked.add_metric(where, sum(one.unacked for one in sample))
                rtt.add_metric(where, statistics.median(one.rtt for one in sample))
    yield from (retransmits, unacked, rtt)
