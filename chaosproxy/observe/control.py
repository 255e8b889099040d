"""Metrics of the control server's own connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy.control.web.admission import LIMITS, ControlTally

__all__ = ["ControlCollector"]


class ControlCollector:
    """Makes metric families from the counts of the control server, at each scrape."""

    def __init__(self, tally: ControlTally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        tally = self._tally
        yield GaugeMetricFamily(
            "chaosproxy_control_connections", "Connections to the control port open now.", value=tally.connections
        )
        limited = CounterMetricFamily(
            "chaosproxy_control_connections_limited",
            "Connections to the control port that were refused or closed, by the limit that they exceeded.",
            labels=("limit",),
        )
        for limit in LIMITS:
            limited.add_metric((limit,), tally.limited[limit])
        yield limited
        yield CounterMetricFamily(
            "chaosproxy_control_requests_malformed",
            "Requests to the control port that are not HTTP, or whose body cannot be decoded.",
            value=tally.malformed,
        )

    def describe(self) -> Iterable[Metric]:
        """Return no families: the registry then asks for none at registration."""
        return ()
