"""Metrics of HTTP mode: exchanges by method, route and class of status; a requested path is never a label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy.control.counts import ProxyCounts
from chaosproxy.observe.histogram import histogram

__all__ = ["exchange_metrics"]

_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def exchange_metrics(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
    """Yield every family, with samples of the proxies that are, or were, in HTTP mode."""
    labels = ("proxy", "method", "route")
    ended = CounterMetricFamily(
        "chaosproxy_exchanges", "HTTP exchanges ended, by class of status.", labels=(*labels, "status")
    )
    in_flight = GaugeMetricFamily(
        "chaosproxy_exchanges_in_flight", "HTTP requests without a complete response.", labels=("proxy",)
    )
    not_framed = CounterMetricFamily(
        "chaosproxy_connections_not_framed",
        "Connections in HTTP mode that were not HTTP/1.",
        labels=("proxy",),
    )
    for proxy in proxies:
        if proxy.protocol != "http" and not proxy.routes:
            continue
        in_flight.add_metric((proxy.name,), proxy.in_flight)
        not_framed.add_metric((proxy.name,), proxy.not_framed)
        for one in proxy.routes:
            for status, count in zip(_CLASSES, one.statuses, strict=True):
                if count:
                    ended.add_metric((proxy.name, one.method, one.route, status), count)
    yield from (ended, in_flight, not_framed)
    every = [((proxy.name, one.method, one.route), one) for proxy in proxies for one in proxy.routes]
    yield histogram(
        "chaosproxy_exchange_first_byte_seconds",
        "Time from a request's head to the first byte of its response.",
        labels,
        [(where, one.first_byte) for where, one in every],
    )
    yield histogram(
        "chaosproxy_exchange_seconds",
        "Time from a request's head to the last byte of its response.",
        labels,
        [(where, one.last_byte) for where, one in every],
    )
