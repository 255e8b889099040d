"""Metrics of HTTP mode: exchanges by method, route and class of status; a requested path is never a label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy.observe.histogram import histogram
from chaosproxy.tallies import ProxyTally, RouteTally

__all__ = ["exchange_metrics"]

_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class Spec(Protocol):
    """The part of a proxy's desired state that these metrics read."""

    @property
    def name(self) -> str: ...
    @property
    def protocol(self) -> str: ...


class Observed(Protocol):
    """The part of a running proxy that these metrics read."""

    @property
    def spec(self) -> Spec: ...
    @property
    def tally(self) -> ProxyTally: ...
    def exchanges_in_flight(self) -> int: ...


def exchange_metrics(proxies: Sequence[Observed]) -> Iterator[Metric]:
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
        if proxy.spec.protocol != "http" and not proxy.tally.routes:
            continue
        in_flight.add_metric((proxy.spec.name,), proxy.exchanges_in_flight())
        not_framed.add_metric((proxy.spec.name,), proxy.tally.not_framed)
        for where, tally in _routes(proxy.spec.name, proxy.tally.routes):
            for status, count in zip(_CLASSES, tally.statuses, strict=True):
                if count:
                    ended.add_metric((*where, status), count)
    yield from (ended, in_flight, not_framed)
    every = [one for proxy in proxies for one in _routes(proxy.spec.name, proxy.tally.routes)]
    yield histogram(
        "chaosproxy_exchange_first_byte_seconds",
        "Time from a request's head to the first byte of its response.",
        labels,
        [(where, tally.first_byte) for where, tally in every],
    )
    yield histogram(
        "chaosproxy_exchange_seconds",
        "Time from a request's head to the last byte of its response.",
        labels,
        [(where, tally.last_byte) for where, tally in every],
    )


def _routes(
    proxy: str, routes: Mapping[tuple[str, str], RouteTally]
) -> Iterable[tuple[tuple[str, str, str], RouteTally]]:
    return [((proxy, method, route), tally) for (method, route), tally in routes.items() if any(tally.statuses)]
